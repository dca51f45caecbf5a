"""The older MLX example's interface: latents in variance-preserving scale."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import mlx.core as mx

from ..diffusion.samplers import Step
from ..settings import Settings

if TYPE_CHECKING:
    from .stable_diffusion import StableDiffusion


def generate_latents(
    self: "StableDiffusion",
    text: str,
    n_images: int = 1,
    num_steps: int | None = None,
    cfg_weight: float | None = None,
    negative_text: str = "",
    latent_size: tuple[int, int] | None = None,
    seed: int | None = None,
) -> Iterator[mx.array]:
    """The latents (n_images, h, w, 4) after each step of text-to-image, in variance-preserving scale.

    The last of them can be decoded. None means the model's default, and for the seed the time.
    """
    f = self.description.vae.factor
    height, width = (None, None) if latent_size is None else (latent_size[0] * f, latent_size[1] * f)
    settings = _settings(self, text, n_images, num_steps, cfg_weight, negative_text, seed)
    return _variance_preserving(self.sample(replace(settings, height=height, width=width)))


def generate_latents_from_image(
    self: "StableDiffusion",
    image: mx.array,
    text: str,
    n_images: int = 1,
    strength: float = 0.8,
    num_steps: int | None = None,
    cfg_weight: float | None = None,
    negative_text: str = "",
    seed: int | None = None,
) -> Iterator[mx.array]:
    """The same for image-to-image. Strength 0 yields the image's own latents."""
    settings = _settings(self, text, n_images, num_steps, cfg_weight, negative_text, seed)
    settings = replace(settings, strength=strength)
    if self.plan(settings, image).steps_run == 0:
        x0 = self.encode(image)
        return iter((mx.broadcast_to(x0, (n_images, *x0.shape[1:])),))
    return _variance_preserving(self.sample(settings, image))


def _settings(
    sd: "StableDiffusion",
    text: str,
    n_images: int,
    steps: int | None,
    cfg: float | None,
    negative: str,
    seed: int | None,
) -> Settings:
    return Settings(
        prompt=text,
        negative_prompt=negative,
        n_images=n_images,
        seed=int(time.time()) if seed is None else seed,
        steps=steps,
        cfg=cfg,
        sampler="euler_a" if len(sd.description.texts) == 2 else "euler",
        spacing="trailing",
    )


def _variance_preserving(steps: Iterator[Step]) -> Iterator[mx.array]:
    for step in steps:
        yield step.x / (step.sigma**2 + 1) ** 0.5
