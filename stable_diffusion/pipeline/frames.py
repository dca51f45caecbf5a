"""What a step looks like before it is decoded, and whether it is anything at all."""

from typing import Literal

import mlx.core as mx

from ..diffusion.samplers import Step
from ..diffusion.schedule import deviation

FrameKind = Literal["noisy", "clean"]


def shown(step: Step, kind: FrameKind = "noisy") -> mx.array:
    """The latents (B, h, w, 4) that a frame of a step shows, at the scale of a picture."""
    return step.clean if kind == "clean" else step.x / deviation(step.sigma)


def finite(x: mx.array, doing: str, dtype: mx.Dtype) -> mx.array:
    """x itself. Raises FloatingPointError where it holds what is no number: a black picture would say nothing."""
    if not mx.isfinite(x).all():
        half = dtype == mx.float16
        remedy = "half precision is too small for it: float16=False" if half else "try a smaller cfg, or other weights"
        raise FloatingPointError(f"{doing} gave a NaN or an infinite number; {remedy}")
    return x
