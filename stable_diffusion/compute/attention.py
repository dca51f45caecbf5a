"""Attention (Vaswani et al. 2017), without ever holding the scores of a whole picture where they would be too many."""

from collections.abc import Callable, Sequence

import mlx.core as mx

from .elementwise import LOG2_E, exp2
from .streams import cut, each, joined, on_cpu, shared_out

# Widths of a head that MLX's fused attention takes on Metal in every version from 0.31 on (from its sources; a narrower
# one is filled up with zeros), and on CUDA, where it is cuDNN's, up to the last of them.
FUSED = (64, 80, 128)
# Scores that are held at once. On a CPU as many as stay in its caches; on a GPU, where nothing is fused, 1 GiB of them.
SCORES_ON_CPU, SCORES_ON_GPU = 2**20, 2**28
COLUMNS = 64  # side by side that a CPU takes the largest of


Function = Callable[[mx.array], mx.array]


def attention_to(context: mx.array, keys: Function, values: Function) -> Function:
    """Attention to a context (B, M, D), as a function of queries (B, H, N, d), all of them or some.

    keys, values: make (B, H, M, d) of any rows of the context; they are made here, once.
    """
    rows = shared_out(context)
    k, v = as_keys(each(keys, rows)), as_values(each(values, rows))
    return lambda q: attend(q, k, v)


def attend(q: mx.array, keys: mx.array, values: mx.array) -> mx.array:
    """softmax(q k' / sqrt(d)) v. q (B, H, N, d), and k and v as `as_keys` and `as_values` give them -> (B, H, N, d)."""
    return _on_cpu(q, keys, values) if on_cpu() else _on_gpu(q, keys, values)


def as_keys(pieces: Sequence[mx.array]) -> mx.array:
    """Keys as `attend` takes them, of pieces (B, H, M, d) along M: done once, however many pieces q comes in."""
    k = joined(pieces, axis=2)
    return mx.contiguous(k.reshape(-1, *k.shape[2:])) if on_cpu() else _widened(k)


def as_values(pieces: Sequence[mx.array]) -> mx.array:
    """Values, likewise."""
    if not on_cpu():
        return _widened(joined(pieces, axis=2))
    # A column of ones gives the sums that the weights are divided by.
    v = joined([mx.pad(v, [(0, 0)] * 3 + [(0, 1)], constant_values=1) for v in pieces], axis=2)
    return v.reshape(-1, *v.shape[2:])


def _fused(width: int) -> int | None:
    """The narrowest fused width that a head fits into, if there is one."""
    return next((wide for wide in FUSED if wide >= width), None)


def _widened(y: mx.array) -> mx.array:
    """y (..., d), filled up with zeros where Metal has fused attention only for wider heads."""
    wide = _fused(y.shape[-1])
    if wide is None or not mx.metal.is_available():
        return y
    return mx.pad(y, [(0, 0)] * 3 + [(0, wide - y.shape[-1])])


def _on_gpu(q: mx.array, k: mx.array, v: mx.array) -> mx.array:
    d, scale = q.shape[-1], q.shape[-1] ** -0.5
    if _fused(d) is None:
        rows = max(1, SCORES_ON_GPU // (q.shape[0] * q.shape[1] * k.shape[2]))
        pieces = cut(q, rows, axis=2)
        return joined(
            each(lambda piece: mx.fast.scaled_dot_product_attention(piece, k, v, scale=scale), pieces), axis=2
        )
    return mx.fast.scaled_dot_product_attention(_widened(q), k, v, scale=scale)[..., :d]


def _on_cpu(q: mx.array, k: mx.array, v: mx.array) -> mx.array:
    B, H, N, d = q.shape
    groups, M, _ = k.shape
    q, k = (q * (d**-0.5 * LOG2_E)).reshape(groups, N, d), k.transpose(0, 2, 1)
    rows, together = max(1, SCORES_ON_CPU // M), max(1, SCORES_ON_CPU // (M * N))
    pieces, places = [], []
    for first in range(0, groups, together):
        for piece in cut(q[first : first + together], rows):
            pieces.append(piece)
            places.append(slice(first, first + together))

    def part(piece: mx.array, of: slice) -> mx.array:
        scores = piece @ k[of]
        return exp2(scores - _largest(scores)) @ v[of]

    parts = each(part, pieces, places)
    y = mx.concatenate([y.reshape(-1, d + 1) for y in parts]).reshape(B, H, N, d + 1)
    return y[..., :d] / y[..., d:]


def _largest(scores: mx.array) -> mx.array:
    """The largest of each row (..., M): (..., 1). MLX takes it three times as fast down columns as along a row."""
    M = scores.shape[-1]
    if M % COLUMNS == 0:
        scores = scores.reshape(*scores.shape[:-1], M // COLUMNS, COLUMNS).max(axis=-2)
    return scores.max(axis=-1, keepdims=True)
