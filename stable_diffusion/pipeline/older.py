"""The older MLX example's interface: latents in variance-preserving scale."""

import time
from collections.abc import Iterator

import mlx.core as mx

from ..diffusion.samplers import Step
from ..diffusion.schedule import deviation
from ..settings import Settings


def older_settings(
    xl: bool, text: str, n_images: int, steps: int | None, cfg: float | None, negative: str, seed: int | None
) -> Settings:
    """The settings that the older example's arguments stand for; None means the model's default, or the time."""
    return Settings(
        prompt=text,
        negative_prompt=negative,
        n_images=n_images,
        seed=int(time.time()) if seed is None else seed,
        steps=steps,
        cfg=cfg,
        sampler="euler_a" if xl else "euler",
        spacing="trailing",
    )


def variance_preserving(steps: Iterator[Step]) -> Iterator[mx.array]:
    """The latents of each step, at the scale of a picture."""
    for step in steps:
        yield step.x / deviation(step.sigma)
