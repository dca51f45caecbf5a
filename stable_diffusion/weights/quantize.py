"""Nets of fewer bits."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.nn as nn

from .checkpoint import CheckpointError

GROUP = 32  # weights that share a scale; the widths of all Stable Diffusion nets are multiples of it
BITS = (2, 3, 4, 6, 8)
# Kinds of 4 and 8 bits that are floats: MLX's name, bits, and weights that share a scale.
FLOATS = {"mxfp4": (4, 32), "mxfp8": (8, 32), "nvfp4": (4, 16)}


def quantize(net: nn.Module, kind: int | str) -> None:
    """Quantise the linear layers of a net in place; those whose width is no multiple of 32 stay as they are.

    kind: a number of bits, or the name of a kind of floats. Raises ValueError for one that MLX does not have.
    """
    if isinstance(kind, bool) or kind not in (*BITS, *FLOATS):
        raise ValueError(f"quantize is {kind}: it must be 2, 3, 4, 6 or 8 bits, or {', '.join(FLOATS)}")
    nn.quantize(
        net,
        **_arguments(kind),
        class_predicate=lambda path, module: isinstance(module, nn.Linear) and module.weight.shape[-1] % GROUP == 0,
    )


def _arguments(kind: int | str) -> dict[str, Any]:
    if isinstance(kind, int):
        return {"group_size": GROUP, "bits": kind}
    bits, group = FLOATS[kind]
    return {"group_size": group, "bits": bits, "mode": kind}


def prepare(net: nn.Module, config: Mapping[str, Any], source: Path) -> None:
    """Give a net the quantised layers that its config.json says it was saved with. Raises CheckpointError."""
    said = config.get("mlx_quantization")
    if said is None:
        return
    try:
        kind, layers = said["kind"], set(said["layers"])
        known = {path for path, module in net.named_modules() if isinstance(module, nn.Linear)}
        if kind not in (*BITS, *FLOATS) or not layers <= known:
            raise ValueError(f"{kind!r} of {len(layers)} layers is not known here")
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{source}: its mlx_quantization can't be read ({error})") from None
    nn.quantize(net, **_arguments(kind), class_predicate=lambda path, _: path in layers)
