"""What a step looks like before it is decoded, and whether it is anything at all."""

from collections.abc import Mapping, Sequence

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from ..diffusion.samplers import Step
from ..diffusion.schedule import deviation
from ..diffusion.steps import FrameKind


def shown(step: Step, kind: FrameKind = "noisy") -> mx.array:
    """The latents (B, h, w, 4) that a frame of a step shows, at the scale of a picture."""
    return step.clean if kind == "clean" else step.x / deviation(step.sigma)


def calculated(step: Step) -> Step:
    """The step itself, once its arrays are there, so that any thread can go on with it."""
    mx.eval(step.x, step.clean)
    return step


FULL = "--no-float16 (float16=False)"


def finite(
    x: mx.array,
    doing: str,
    nets: Mapping[str, nn.Module],
    given: mx.array,
    remedy: str = "try other weights",
    beside: Sequence[mx.array] = (),
    in_full: bool = False,
) -> mx.array:
    """x itself. Raises FloatingPointError where it holds what is no number: a black picture would say nothing.

    The sentence says why, as far as it can be found: in the weights of the nets, or in what they were given; else the
    remedy is what a person can try. beside: what is calculated at the same time. in_full: full precision was tried, so
    that half is not to blame.
    """
    fine = mx.isfinite(x).all()
    mx.eval(x, fine, *beside)  # waiting for a GPU but once
    if fine:
        return x
    half, wrong = False, None
    for net, module in nets.items():  # which need not be in memory all at once
        weights: dict[str, mx.array] = dict(tree_flatten(module.parameters()))
        half |= any(tensor.dtype == mx.float16 for tensor in weights.values())
        bad = (name for name, tensor in weights.items() if not mx.isfinite(tensor.astype(mx.float32)).all())
        if wrong is None and (name := next(bad, None)) is not None:
            wrong = net, name, weights[name]
    if wrong is not None:
        net, name, tensor = wrong
        if half and not mx.isnan(tensor).any():  # which may be a large number, in the file
            remedy = f"{name!r} of the {net} is infinite in half precision: {FULL}"
        else:
            remedy = f"the weights hold some themselves, in {name!r} of the {net}: download them again, or name others"
    elif not mx.isfinite(given).all():
        remedy = "what it was given holds some already"
    elif half and not in_full:
        remedy = f"half precision is too small for it: {FULL}"
    raise FloatingPointError(f"{doing} gave a NaN or an infinite number; {remedy}")
