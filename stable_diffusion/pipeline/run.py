"""A run: everything that one walk from noise to picture is, but the nets."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import mlx.core as mx

from ..diffusion.noise import Noise, perturbed_by, slerped, start_noise, step_noise
from ..diffusion.noising import Inversion
from ..diffusion.ode import raised
from ..diffusion.plan import Plan
from ..diffusion.samplers import CHURN, Sampler, Step, sampler_named
from ..diffusion.schedule import deviation
from ..settings import CompleteSettings, read_place
from ..weights.extras import LoRAUse
from .conditioning import parts_of
from .inputs import NOTHING, Inputs
from .masks import shrunk, unpacked


@dataclass(frozen=True, eq=False)
class Run:
    """A run that has been checked, completed and planned. `StableDiffusion.begin` adds what takes the nets."""

    settings: CompleteSettings
    plan: Plan
    shape: tuple[int, int, int]  # of a latent: (h, w, 4)
    options: Mapping[str, Any]  # of the sampler
    inputs: Inputs = NOTHING
    noise: mx.array | None = None  # (n_images, h, w, 4), instead of the seeds'
    x0: mx.array | None = None  # (1, h, w, 4), the image's latents, once it has begun
    inversion: Inversion | None = None  # the way up from them, where one is wanted
    lora: LoRAUse | None = None  # that lies on the model in this run, besides the model's own
    tagged: tuple[LoRAUse, ...] = ()  # likewise: those that its prompt names

    @property
    def worn(self) -> tuple[LoRAUse, ...]:
        return self.tagged if self.lora is None else (self.lora, *self.tagged)

    @cached_property
    def told(self) -> int:
        """Texts that the net is told in each call, and so many rows for each of its pictures."""
        parts = parts_of(self.settings)
        composes = tuple(part.weight for part in parts) != (1.0,)
        return len(parts) + (composes or self.settings.cfg not in (0, 1))

    @property
    def seeds(self) -> range:
        return range(self.settings.seed, self.settings.seed + self.settings.n_images)

    @property
    def place(self) -> tuple[int, int]:
        """Of the picture in the batch that it was drawn with: (k, n), k from 1."""
        return (1, 1) if self.settings.of_batch is None else read_place(self.settings.of_batch)

    @property
    def step_noise(self) -> Noise:
        """The noise that its sampler adds, from the first of it on."""
        s = self.settings
        return step_noise(self.seeds, self.shape, s.noise_source, self.place, s.step_noise_source, s.step_seed_delta)

    @property
    def calls(self) -> int:
        """How often the network is called, an inversion before the run not counted."""
        return self.plan.calls(self.settings.sampler, **self.options)

    @property
    def hats(self) -> tuple[float, ...]:
        """The levels that churn raises each step's to; none where there is no churn."""
        churn = {name: self.options[name] for name in CHURN - {"s_noise"} if name in self.options}
        return raised(self.plan.sigmas, **churn) if churn.get("s_churn") else ()

    def sampler(self, x: mx.array, noise: Noise) -> Sampler:
        """The run's sampler at a start x. Raises ValueError for options that do not suit it."""
        return sampler_named(self.settings.sampler)(x, self.plan.sigmas, noise, **self.options)

    @property
    def latent_mask(self) -> mx.array | None:
        """The share of each latent that is to be repainted, (h, w, 1)."""
        return None if self.inputs.mask is None else shrunk(self.inputs.mask, *self.shape[:2])[..., None]

    @property
    def original(self) -> mx.array:
        """x0 for each of the n_images."""
        assert self.x0 is not None
        return mx.broadcast_to(self.x0, (self.settings.n_images, *self.shape))

    @cached_property
    def n(self) -> mx.array:
        """The noise that the run starts from, perturbed: (n_images, h, w, 4)."""
        if self.noise is not None:
            n = self.noise
        elif self.settings.start == "inversion" and self.inversion is not None:
            n = (self.inversion.latents[-1] - self.original) / self.plan.start_sigma
        else:
            n = start_noise(self.seeds, self.shape, self.settings.noise_source, self.place)
        s = self.settings
        if s.variation_seed is not None and s.variation_strength:
            n = slerped(n, start_noise([s.variation_seed], self.shape, s.noise_source), s.variation_strength)
        lineage = [(seed, a, unpacked(str(code[0])) if code else None) for seed, a, *code in s.perturb]
        return perturbed_by(n, lineage, s.noise_source)

    @property
    def start(self) -> mx.array:
        """image_weight * x0 + sigma_start * n: noised once, to exactly the level that the first step starts from.

        With a mask, the image's weight is taken away inside it alone. Noise alone is scaled as start_scale says.
        """
        sigma, weight = self.plan.start_sigma, self.settings.image_weight
        noise = sigma * self.n
        if self.x0 is None or (weight == 0 and self.inputs.mask is None):
            return noise if self.settings.start_scale == "sigma" else deviation(sigma) * self.n
        if (mask := self.latent_mask) is not None and weight != 1:
            return (1 - (1 - weight) * mask) * self.x0 + noise
        return weight * self.x0 + noise

    @property
    def first(self) -> Step:
        """The start as a step, with index -1; the image itself where nothing is run."""
        x = self.start if self.plan.steps_run else self.original
        return Step(-1, self.plan.start_sigma, x, x if self.x0 is None else self.original)
