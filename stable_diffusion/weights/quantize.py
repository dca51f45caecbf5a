"""Nets of fewer bits."""

import mlx.nn as nn

GROUP = 32  # weights that share a scale; the widths of all Stable Diffusion nets are multiples of it


def quantize(net: nn.Module, bits: int) -> None:
    """Quantise the linear layers of a net in place; those whose width is no multiple of 32 stay as they are.

    Raises ValueError for a number of bits that MLX does not have.
    """
    if isinstance(bits, bool) or bits not in (2, 3, 4, 6, 8):
        raise ValueError(f"quantize is {bits}: it must be 2, 3, 4, 6 or 8 bits")
    nn.quantize(
        net,
        group_size=GROUP,
        bits=bits,
        class_predicate=lambda _, module: isinstance(module, nn.Linear) and module.weight.shape[-1] % GROUP == 0,
    )
