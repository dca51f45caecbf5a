"""Nets of fewer bits."""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_unflatten

from ..models.layers import Beside
from ..values import whole
from .checkpoint import CheckpointError

GROUP = 32  # weights that share a scale; the widths of all Stable Diffusion nets are multiples of it
BITS = (2, 3, 4, 6, 8)
# Kinds of 4 and 8 bits that are floats: MLX's name, bits, and weights that share a scale.
FLOATS = {"mxfp4": (4, 32), "mxfp8": (8, 32), "nvfp4": (4, 16)}


# Few weights that all else goes through: in 4 bits they do three quarters of the harm (`bench quantized --layers`).
WHOLE = re.compile(r"(.*\.)?(proj_in|proj_out|time_embedding\..*|add_embedding\..*|text_projection)")


def quantize(net: nn.Module, kind: int | str) -> None:
    """Quantise the linear layers of a net in place, but those where it costs most, and of no multiple of 32 numbers.

    kind: a number of bits, or the name of a kind of floats. Raises ValueError for one that MLX does not have.
    """
    if isinstance(kind, bool) or kind not in (*BITS, *FLOATS):
        raise ValueError(f"quantize is {kind}: it must be 2, 3, 4, 6 or 8 bits, or {', '.join(FLOATS)}")
    fitting = (path for path, module in net.named_modules() if quantisable(module))
    in_bits(net, kind, {path for path in fitting if not WHOLE.fullmatch(path)})


def quantisable(module: nn.Module) -> bool:
    """Can a layer be kept in fewer bits?"""
    return isinstance(module, nn.Linear) and module.weight.shape[-1] % GROUP == 0


def in_bits(net: nn.Module, kind: int | str, layers: Collection[str]) -> None:
    """Keep just these layers of a net, by their paths, in fewer bits."""
    nn.quantize(net, **_arguments(kind), class_predicate=lambda path, _: path in layers)


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
        kind, layers, beside = said["kind"], set(said["layers"]), dict(said.get("beside", {}))
        known = {path for path, module in net.named_modules() if isinstance(module, nn.Linear)}
        if kind not in (*BITS, *FLOATS) or not layers <= known or not beside.keys() <= layers:
            raise ValueError(kind)
        in_bits(net, kind, layers)
        modules = dict(net.named_modules())
        for path, about in beside.items():
            layer = Beside(modules[path])
            rows, columns = layer.shape
            layer.downs = [mx.zeros((whole(1, 2**16).strictly().read(str(r)), columns)) for r in about["ranks"]]
            layer.ups = [mx.zeros((rows, down.shape[0])) for down in layer.downs]
            if about["difference"]:
                layer.difference = mx.zeros((rows, columns))
            if about["shift"]:
                layer.shift = mx.zeros((rows,))
            net.update_modules(tree_unflatten([(path, layer)]))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise CheckpointError(
            f"{source}: its mlx_quantization is not as this package writes it: save it again"
        ) from None


def said_of(net: nn.Module) -> dict[str, Any] | None:
    """What a config.json says of a net's quantised layers, and of what lies beside them; None: it has none."""
    modules = dict(net.named_modules())
    beside = {path: module for path, module in modules.items() if isinstance(module, Beside)}
    layers = {
        path.removesuffix(".base"): module for path, module in modules.items() if isinstance(module, nn.QuantizedLinear)
    }
    if not layers:
        return None
    one = next(iter(layers.values()))
    return {
        "kind": one.bits if one.mode == "affine" else one.mode,
        "layers": sorted(layers),
        "beside": {
            path: {
                "ranks": [d.shape[0] for d in layer.downs],
                "difference": "difference" in layer,
                "shift": "shift" in layer,
            }
            for path, layer in sorted(beside.items())
        },
    }
