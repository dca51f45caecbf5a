"""Attention (Vaswani et al. 2017), without ever holding the scores of a whole picture where they would be too many."""

import mlx.core as mx
import mlx.nn as nn

from ..parallel import cut, each, joined, on_cpu
from .elementwise import LOG2_E, exp2

# Widths of a head that MLX's fused attention takes on Metal in every version from 0.31 on (from its sources; a narrower
# one is filled up with zeros), and on CUDA, where it is cuDNN's, up to the last of them.
FUSED = (64, 80, 128)
# Scores that are held at once. On a CPU as many as stay in its caches; on a GPU, where nothing is fused, 1 GiB of them.
SCORES_ON_CPU, SCORES_ON_GPU = 2**20, 2**28


def attend(q: mx.array, k: mx.array, v: mx.array) -> mx.array:
    """softmax(q k' / sqrt(d)) v. q (B, H, N, d), k and v (B, H, M, d) -> (B, H, N, d)."""
    return _on_cpu(q, k, v) if on_cpu() else _on_gpu(q, k, v)


def _on_gpu(q: mx.array, k: mx.array, v: mx.array) -> mx.array:
    d, scale = q.shape[-1], q.shape[-1] ** -0.5
    wide = next((width for width in FUSED if width >= d), None)
    if wide is None:
        rows = max(1, SCORES_ON_GPU // (q.shape[0] * q.shape[1] * k.shape[2]))
        pieces = cut(q, rows, axis=2)
        return joined(
            each(lambda piece: mx.fast.scaled_dot_product_attention(piece, k, v, scale=scale), pieces), axis=2
        )
    if wide > d and mx.metal.is_available():
        q, k, v = (mx.pad(y, [(0, 0), (0, 0), (0, 0), (0, wide - d)]) for y in (q, k, v))
    return mx.fast.scaled_dot_product_attention(q, k, v, scale=scale)[..., :d]


def _on_cpu(q: mx.array, k: mx.array, v: mx.array) -> mx.array:
    B, H, N, d = q.shape
    M, groups = k.shape[2], B * H
    q = (q * (d**-0.5 * LOG2_E)).reshape(groups, N, d)
    k = mx.contiguous(k.reshape(groups, M, d)).transpose(0, 2, 1)
    # A column of ones gives the sums that the weights are divided by.
    v = mx.concatenate([v, mx.ones((B, H, M, 1), v.dtype)], axis=-1).reshape(groups, M, d + 1)
    rows, together = max(1, SCORES_ON_CPU // M), max(1, SCORES_ON_CPU // (M * N))
    pieces, places = [], []
    for first in range(0, groups, together):
        for piece in cut(q[first : first + together], rows):
            pieces.append(piece)
            places.append(slice(first, first + together))

    def part(piece: mx.array, of: slice) -> mx.array:
        scores = piece @ k[of]
        return exp2(scores - scores.max(axis=-1, keepdims=True)) @ v[of]

    parts = each(part, pieces, places)
    y = mx.concatenate([y.reshape(-1, d + 1) for y in parts]).reshape(B, H, N, d + 1)
    return y[..., :d] / y[..., d:]


class Attention(nn.Module):
    """Multi-head attention, of x to itself or to a context."""

    def __init__(
        self, dim: int, heads: int, context_dim: int | None = None, bias: bool = False, upcast: bool = False
    ) -> None:
        super().__init__()
        self.to_q = nn.Linear(dim, dim, bias=bias)
        self.to_k = nn.Linear(context_dim or dim, dim, bias=bias)
        self.to_v = nn.Linear(context_dim or dim, dim, bias=bias)
        self.to_out = [nn.Linear(dim, dim)]
        self._heads = heads
        self._upcast = upcast

    def _apart(self, y: mx.array) -> mx.array:
        """(B, N, D) -> (B, heads, N, D / heads)."""
        y = y.reshape(*y.shape[:2], self._heads, -1).transpose(0, 2, 1, 3)
        return y.astype(mx.float32) if self._upcast else y  # SD 2.1's scores overflow half precision

    def seen(self, context: mx.array) -> tuple[mx.array, mx.array]:
        """Keys and values (B, heads, M, D / heads) of a context (B, M, context_dim)."""
        return self._apart(self.to_k(context)), self._apart(self.to_v(context))

    def look(self, x: mx.array, k: mx.array, v: mx.array) -> mx.array:
        """What x (B, N, D) finds in keys and values: (B, N, D)."""
        y = attend(self._apart(self.to_q(x)), k, v)
        return self.to_out[0](y.transpose(0, 2, 1, 3).reshape(x.shape).astype(x.dtype))

    def __call__(self, x: mx.array, context: mx.array | None = None) -> mx.array:
        """x (B, N, D), context (B, M, context_dim) or None for x itself -> (B, N, D)."""
        return self.look(x, *self.seen(x if context is None else context))
