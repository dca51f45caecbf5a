"""Convolutions of pictures (B, H, W, C): on a CPU in stripes, on all cores, and with fewer products."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import mlx.core as mx
import mlx.nn as nn

from .streams import each, even, joined, lanes, on_cpu

# On a CPU: the numbers that a stripe of the picture may be unrolled to, and those that are worth a thread of their own,
# where a stripe is a few operations, and where it is eighty.
UNROLLED, WORTH, WORTH_MANY = 8 * 2**20, 2**16, 2**19
# Winograd's algorithm pays from so many pixels and channels on.
PIXELS, CHANNELS = 1024, 64


def same(x: mx.array) -> mx.array:
    return x


def _stripes(rows: int, numbers: int, worth: int, step: int = 1) -> list[tuple[int, int]]:
    """The first and last rows of stripes on a CPU, multiples of step but the last, by what a row is unrolled to."""
    steps = -(-rows // step)
    count = max(-(-rows * numbers // UNROLLED), min(len(lanes()), rows * numbers // worth), 1)
    count = min(steps, even(count))
    return list(pairwise(min(k * steps // count * step, rows) for k in range(count + 1)))


def _striped(
    work: Callable[..., mx.array], x: mx.array, stripes: Sequence[tuple[int, int]], rows: Sequence[tuple[int, int]]
) -> mx.array:
    """`work(piece, beyond)` of the rows that each stripe sees, and how many of them lie above and below the picture."""
    H = x.shape[1]
    pieces = [x[:, max(a, 0) : min(b, H)] for a, b in rows]
    beyond = [(max(-a, 0), max(b - H, 0)) for a, b in rows]
    return joined(each(work, pieces, beyond), axis=1)


class Conv2d(nn.Conv2d):
    """A convolution of what `before` makes of its input, which is not kept."""

    def __call__(self, x: mx.array, before: Callable[[mx.array], mx.array] = same) -> mx.array:
        """x (B, H, W, C) -> (B, H', W', O)."""
        if on_cpu():
            return self._winograd(x, before) if self._fewer_products(x) else self._unrolled(x, before)
        return super().__call__(before(x))

    def of_doubled(self, x: mx.array, size: tuple[int, int] | None = None) -> mx.array:
        """The same of `doubled(x)`, cut to size: of a kernel of 3 x 3 with a bias."""
        _, H, W, _ = x.shape
        if on_cpu() and size in (None, (2 * H, 2 * W)):
            return self._by_quarters(x)
        x = doubled(x)
        return self(x if size is None else x[:, : size[0], : size[1]])

    def _by_quarters(self, x: mx.array) -> mx.array:
        """The same in 16 products for four pixels instead of 36: of the nine that a pixel sees, only four differ.

        One convolution of 2 x 2 for each of the four pixels that a pixel becomes.
        """
        B, H, W, C = x.shape
        quarters = [_seen(half, axis=2) for half in _seen(self.weight, axis=1)]

        def stripe(piece: mx.array, beyond: tuple[int, int]) -> mx.array:
            piece = mx.pad(piece, [(0, 0), beyond, (1, 1), (0, 0)])
            rows = piece.shape[1] - 2
            return _woven(
                [
                    [mx.conv2d(piece[:, i : i + rows + 1, j : j + W + 1], quarters[i][j]) + self.bias for j in (0, 1)]
                    for i in (0, 1)
                ]
            )

        stripes = _stripes(H, B * W * 4 * C * 4, WORTH)
        return _striped(stripe, x, stripes, [(a - 1, b + 1) for a, b in stripes])

    def _unrolled(self, x: mx.array, before: Callable[[mx.array], mx.array]) -> mx.array:
        B, H, W, C = x.shape
        _, size, width, _ = self.weight.shape
        stride, padding = self.stride[0], self.padding[0]
        columns = (W + 2 * self.padding[1] - width) // self.stride[1] + 1
        stripes = _stripes((H + 2 * padding - size) // stride + 1, B * columns * size * width * C, WORTH)
        if len(stripes) == 1:
            return super().__call__(before(x))

        def stripe(piece: mx.array, beyond: tuple[int, int]) -> mx.array:
            piece = mx.pad(before(piece), [(0, 0), beyond, (0, 0), (0, 0)])
            y = mx.conv2d(piece, self.weight, self.stride, (0, self.padding[1]))
            return y + self.bias if "bias" in self else y

        rows = [(a * stride - padding, (b - 1) * stride - padding + size) for a, b in stripes]
        return _striped(stripe, x, stripes, rows)

    def _fewer_products(self, x: mx.array) -> bool:
        B, H, W, C = x.shape
        plain = self.weight.shape[1:3] == (3, 3) and self.stride == (1, 1) and self.padding == (1, 1)
        large = B * H * W >= PIXELS and min(C, self.weight.shape[0]) >= CHANNELS
        return plain and large and x.dtype == mx.float32 == self.weight.dtype

    def _winograd(self, x: mx.array, before: Callable[[mx.array], mx.array]) -> mx.array:
        """F(2 x 2, 3 x 3) of Lavin & Gray 2015: 16 products for four pixels instead of 36, right to 4e-6.

        MLX has it on Metal.
        """
        B, _, W, C = x.shape
        across = -(-W // 2)  # tiles of two pixels
        down = _kernel_lines(*(self.weight[:, i] for i in range(3)))
        kernels = [_kernel_lines(*(line[:, j] for j in range(3))) for line in down]

        def stripe(piece: mx.array, beyond: tuple[int, int]) -> mx.array:
            piece = mx.pad(before(piece), [(0, 0), beyond, (1, 1 + 2 * across - W), (0, 0)])
            down = piece.shape[1] // 2 - 1
            products = []
            lines = _tiles([piece[:, i : i + 2 * down - 1 : 2] for i in range(4)])
            for line, kernel in zip(lines, kernels, strict=True):
                tiles = _tiles([line[:, :, j : j + 2 * across - 1 : 2] for j in range(4)])
                products.append([tile.reshape(-1, C) @ k.T for tile, k in zip(tiles, kernel, strict=True)])
            columns = [_joined(*column) for column in zip(*products, strict=True)]
            quarters = [[y.reshape(B, down, across, -1) for y in _joined(*line)] for line in zip(*columns, strict=True)]
            y = _woven(quarters)[:, :, :W]
            return y + self.bias if "bias" in self else y

        H = x.shape[1]
        stripes = _stripes(H, B * W * 4 * C, WORTH_MANY, step=2)
        y = _striped(stripe, x, stripes, [(a - 1, a + 2 * -(-(b - a) // 2) + 1) for a, b in stripes])
        return y[:, :H]


def _tiles(d: Sequence[mx.array]) -> tuple[mx.array, ...]:
    """What four neighbours contribute, along one side (Lavin & Gray 2015, B in their equation 14)."""
    return d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]


def _kernel_lines(a: mx.array, b: mx.array, c: mx.array) -> tuple[mx.array, ...]:
    """A kernel's three weights as four (G in the same)."""
    ends, middle = 0.5 * (a + c), 0.5 * b
    return a, ends + middle, ends - middle, c


@mx.compile
def _joined(a: mx.array, b: mx.array, c: mx.array, d: mx.array) -> tuple[mx.array, mx.array]:
    """Four products as two pixels (A in the same)."""
    return a + b + c, b - c - d


def _woven(quarters: Sequence[Sequence[mx.array]]) -> mx.array:
    """The upper left, upper right, lower left and lower right pixels of all squares of four, (B, H, W, C) each."""
    B, H, W, C = quarters[0][0].shape
    lines = [mx.concatenate(list(line), axis=-1).reshape(B, H, 2 * W * C) for line in quarters]
    return mx.concatenate(lines, axis=-1).reshape(B, 2 * H, 2 * W, C)


def doubled(x: mx.array) -> mx.array:
    """Every pixel four times: (B, H, W, C) -> (B, 2 H, 2 W, C)."""
    B, H, W, C = x.shape
    return mx.broadcast_to(x[:, :, None, :, None, :], (B, H, 2, W, 2, C)).reshape(B, 2 * H, 2 * W, C)


def _seen(w: mx.array, axis: int) -> list[mx.array]:
    """Of three weights along an axis, the two of the first of two like pixels (before, itself), and of the second."""
    a, b, c = mx.split(w, 3, axis=axis)
    return [mx.concatenate(pair, axis=axis) for pair in ([a, b + c], [a + b, c])]
