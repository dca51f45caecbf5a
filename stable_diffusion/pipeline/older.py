"""The older MLX example's interface: latents in variance-preserving scale."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import mlx.core as mx

from ..diffusion.samplers import Step
from ..diffusion.schedule import NoiseSchedule, deviation
from ..settings import Settings


@dataclass(frozen=True)
class OlderSampler(NoiseSchedule):
    """The noise schedule with what the example's sampler had besides: its times count from 0, clean, to max_time."""

    @property
    def max_time(self) -> int:
        return self.num_train_steps

    def add_noise(self, x: mx.array, t: mx.array | float, key: mx.array | None = None) -> mx.array:
        """Latents at the noise level of a time in [0, max_time], at the scale of a picture; key: of the noise.

        Without a key the noise is that of MLX's own state, as it was there. Raises ValueError for another time.
        """
        time = float(mx.array(t, mx.float32).item())  # type: ignore[arg-type]
        if not 0 <= time <= self.max_time:
            raise ValueError(f"time {time:g} is outside [0, {self.max_time}]")
        low = min(int(time), self.max_time - 1)
        below, above = (0.0, *self.sigmas)[low : low + 2]
        sigma = below + (time - low) * (above - below)
        return (x + sigma * mx.random.normal(x.shape, key=key)) / deviation(sigma)


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
