"""Group normalisation (Wu & He 2018)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import mlx.core as mx
import mlx.nn as nn

from .elementwise import silu
from .kernels import group_lines
from .streams import cut, each, joined, on_cpu

NUMBERS = 2**18  # that a CPU takes the mean of at once


@mx.compile
def _scaled(x: mx.array, scale: mx.array, shift: mx.array) -> mx.array:
    return (x.astype(mx.float32) * scale + shift).astype(x.dtype)


@mx.compile
def _scaled_with_silu(x: mx.array, scale: mx.array, shift: mx.array) -> mx.array:
    y = x.astype(mx.float32) * scale + shift
    return (y * mx.sigmoid(y)).astype(x.dtype)


@dataclass(frozen=True)
class Moments:
    """Of pieces of a picture."""

    values: mx.array  # (pieces, 2, B, C), float32: of each channel its mean, and the sum of the squares around it
    pixels: tuple[int, ...]  # of each piece


class GroupNorm(nn.GroupNorm):
    """Groups as PyTorch forms them.

    On Apple GPUs it is MLX's own: two transpositions and a layer norm over whole pictures. On a CPU that takes one mean
    over a whole picture, and loses digits (2e-4 of 512 x 512 pixels); here each stripe has its own mean and squares,
    joined as Chan et al. 1983 join them, right to 2e-7. On NVIDIA GPUs two kernels do the same.
    """

    def __init__(self, num_groups: int, dims: int, eps: float = 1e-5):
        super().__init__(num_groups, dims, eps=eps, pytorch_compatible=True)

    def of(self, x: mx.array) -> Callable[[mx.array], mx.array]:
        """The norm that x (B, H, W, C) asks for, to be used on any rows of it."""
        if not on_cpu():
            return partial(_scaled, **self._lines(x)) if mx.cuda.is_available() else super().__call__
        scale, shift = self._line(x)
        return lambda part: part * scale + shift

    def __call__(self, x: mx.array) -> mx.array:
        """x (B, H, W, C) -> the same shape."""
        return self.of(x)(x)

    def with_silu(self, x: mx.array) -> Callable[[mx.array], mx.array]:
        """The same, and SiLU after it."""
        if not on_cpu() and mx.cuda.is_available():
            return partial(_scaled_with_silu, **self._lines(x))
        norm = self.of(x)
        return lambda part: silu(norm(part))

    def _lines(self, x: mx.array) -> dict[str, mx.array]:
        """What `_line` finds, by kernels of CUDA: float32, since a kernel of its own has room for that."""
        B, _, _, C = x.shape
        lines = group_lines(x.reshape(B, -1, C), self.weight, self.bias, self.num_groups, self.eps)
        return {name: y[:, None, None] for name, y in zip(("scale", "shift"), lines, strict=True)}

    def _line(self, x: mx.array) -> tuple[mx.array, mx.array]:
        """What each channel is multiplied by, and what is added to it: (B, 1, 1, C) both."""
        scale, shift = self._joined([self.moments(x)])
        return scale.astype(x.dtype), shift.astype(x.dtype)

    def moments(self, x: mx.array) -> Moments:
        """What the norm has to know of a part (B, H, W, C) of a picture."""
        _, _, W, C = x.shape
        pieces = cut(x, max(1, NUMBERS // (W * C))) if on_cpu() else [x]
        return Moments(mx.stack(each(_moments, pieces)), tuple(piece.shape[1] * W for piece in pieces))

    def by_moments(self, parts: Sequence[Moments]) -> Callable[[mx.array], mx.array]:
        """The norm of a picture that these are all parts of, and SiLU, to be used on any rows of it."""
        scale, shift = self._joined(parts)
        return lambda part: silu((part * scale + shift).astype(part.dtype))

    def _joined(self, parts: Sequence[Moments]) -> tuple[mx.array, mx.array]:
        values = joined([part.values for part in parts])
        pixels = [count for part in parts for count in part.pixels]
        pieces, _, B, C = values.shape
        counts = mx.array(pixels)[:, None, None, None]
        means, squares = (values[:, i].reshape(pieces, B, self.num_groups, -1) for i in (0, 1))
        numbers = sum(pixels) * (C // self.num_groups)
        mean = (means * counts).sum(axis=(0, 3)) / numbers  # (B, G)
        apart = mx.square(means - mean[..., None]) * counts
        variance = (squares + apart).sum(axis=(0, 3)) / numbers
        mean, scale = (mx.repeat(y, C // self.num_groups, axis=1) for y in (mean, mx.rsqrt(variance + self.eps)))
        scale = scale * self.weight
        shift = self.bias - mean * scale
        return scale[:, None, None], shift[:, None, None]


def _moments(x: mx.array) -> mx.array:
    """Of each channel of x (B, H, W, C): its mean, and the sum of the squares around it. (2, B, C), float32."""
    x = x.astype(mx.float32)
    mean = x.mean(axis=(1, 2))
    return mx.stack([mean, mx.square(x - mean[:, None, None]).sum(axis=(1, 2))])
