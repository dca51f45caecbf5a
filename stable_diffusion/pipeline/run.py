"""A run that has been checked and can be walked."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import mlx.core as mx

from ..diffusion.noise import start_noise, wandered
from ..diffusion.noising import Inversion
from ..diffusion.plan import Plan
from ..settings import CompleteSettings


def shrunk(mask: mx.array, h: int, w: int) -> mx.array:
    """A mask (H, W) of pixels as one of latents (h, w): the share of each of them."""
    H, W = mask.shape
    return mask.reshape(h, H // h, w, W // w).mean(axis=(1, 3))


@dataclass(frozen=True, eq=False)
class Run:
    """Everything that a run is, but the nets. What is large is made when it is first asked for."""

    settings: CompleteSettings
    plan: Plan
    shape: tuple[int, int, int]  # of a latent: (h, w, 4)
    x0: mx.array | None  # (1, h, w, 4), the image's latents
    image: mx.array | None  # (H, W, 3) in [-1, 1]
    mask: mx.array | None  # (H, W) in [0, 1]
    noise: mx.array | None  # (n_images, h, w, 4), instead of the seeds'
    invert: Callable[["Run"], Inversion]

    @property
    def seeds(self) -> range:
        return range(self.settings.seed, self.settings.seed + self.settings.n_images)

    @property
    def latent_mask(self) -> mx.array | None:
        """The share of each latent that is to be repainted, (h, w, 1)."""
        return None if self.mask is None else shrunk(self.mask, *self.shape[:2])[..., None]

    @cached_property
    def inversion(self) -> Inversion:
        """The way up from the image along the model's own ODE, told settings.source_prompt. Calls the network."""
        return self.invert(self)

    @cached_property
    def n(self) -> mx.array:
        """The noise that the run starts from, perturbed: (n_images, h, w, 4)."""
        if self.noise is not None:
            n = self.noise
        elif self.settings.start == "inversion" and self.plan.steps_run:
            n = (self.inversion.latents[-1] - self.images_latents) / self.plan.start_sigma
        else:
            n = start_noise(self.seeds, self.shape)
        return wandered(n, self.settings.perturb)

    @property
    def images_latents(self) -> mx.array:
        """x0 for each of the n_images."""
        assert self.x0 is not None
        return mx.broadcast_to(self.x0, (self.settings.n_images, *self.shape))

    @property
    def start(self) -> mx.array:
        """image_weight * x0 + sigma_start * n: noised once, to exactly the level that the first step starts from.

        With a mask, the image's weight is taken away inside it alone.
        """
        noise, weight = self.plan.start_sigma * self.n, self.settings.image_weight
        if self.x0 is None or (weight == 0 and self.mask is None):
            return noise
        if (mask := self.latent_mask) is not None and weight != 1:
            return (1 - (1 - weight) * mask) * self.x0 + noise
        return weight * self.x0 + noise
