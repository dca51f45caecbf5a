"""Attention in pieces against the formula, in float64 with numpy."""

import mlx.core as mx
import numpy as np
import pytest

from stable_diffusion.compute import attention
from stable_diffusion.compute.attention import as_keys, as_values, attend
from stable_diffusion.compute.streams import cut
from stable_diffusion.models.layers import Attention


def arrays(B: int, H: int, N: int, M: int, d: int, scale: float = 1.0) -> tuple[mx.array, mx.array, mx.array]:
    shapes = ((B, H, N, d), (B, H, M, d), (B, H, M, d))
    q, k, v = (mx.random.normal(shape, key=mx.random.key(i)) for i, shape in enumerate(shapes))
    return scale * q, k, v


def attention_of(q: mx.array, k: mx.array, v: mx.array, pieces: int = 1) -> mx.array:
    size = -(-k.shape[2] // pieces)
    return attend(q, as_keys(cut(k, size, axis=2)), as_values(cut(v, size, axis=2)))


def formula(q: mx.array, k: mx.array, v: mx.array) -> np.ndarray:
    a, b, c = (np.array(y).astype(np.float64) for y in (q, k, v))
    scores = a @ b.swapaxes(-1, -2) / np.sqrt(a.shape[-1])
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return (weights / weights.sum(axis=-1, keepdims=True)) @ c


@pytest.mark.parametrize("at_once", [1, 7, 100, 5000, 2**20])
@pytest.mark.parametrize(("N", "M"), [(1, 1), (33, 33), (50, 77)])
def test_any_pieces_give_the_whole(monkeypatch: pytest.MonkeyPatch, at_once: int, N: int, M: int) -> None:
    monkeypatch.setattr(attention, "SCORES_ON_CPU", at_once)
    q, k, v = arrays(2, 3, N, M, 8)
    assert np.allclose(np.array(attention_of(q, k, v)), formula(q, k, v), atol=2e-6)


@pytest.mark.parametrize("M", [64, 128, 192, 100])
def test_the_largest_score_is_found_in_rows_of_any_length(M: int) -> None:
    q, k, v = arrays(1, 2, 9, M, 8, scale=30.0)
    assert np.allclose(np.array(attention_of(q, k, v)), formula(q, k, v), atol=2e-5)


@pytest.mark.parametrize("pieces", [2, 3, 5])
def test_keys_and_values_come_in_pieces_too(pieces: int) -> None:
    q, k, v = arrays(2, 3, 33, 50, 8)
    assert np.allclose(np.array(attention_of(q, k, v, pieces)), formula(q, k, v), atol=2e-6)


def test_large_scores_do_not_overflow() -> None:
    q, k, v = arrays(1, 2, 20, 30, 8, scale=1000.0)
    assert np.allclose(np.array(attention_of(q, k, v)), formula(q, k, v), atol=1e-4)


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_half_precision_stays_half(dtype: mx.Dtype) -> None:
    q, k, v = arrays(1, 2, 20, 30, 8)
    found = attention_of(q.astype(dtype), k.astype(dtype), v.astype(dtype))
    assert found.dtype == dtype and np.allclose(np.array(found.astype(mx.float32)), formula(q, k, v), atol=3e-2)


@pytest.mark.parametrize("width", [8, 40, 64, 72, 160, 512])
@pytest.mark.parametrize("at_once", [300, 2**28])
def test_widths_that_gpus_fuse_and_those_that_they_do_not(
    monkeypatch: pytest.MonkeyPatch, width: int, at_once: int
) -> None:
    monkeypatch.setattr(attention, "SCORES_ON_GPU", at_once)
    monkeypatch.setattr(mx.metal, "is_available", lambda: True)
    q, k, v = arrays(2, 2, 9, 13, width)
    monkeypatch.setattr(attention, "on_cpu", lambda: False)
    assert np.allclose(np.array(attention_of(q, k, v)), formula(q, k, v), atol=2e-6)


def test_nothing_of_the_size_of_all_scores_is_held() -> None:
    q, k, v = arrays(1, 2, 6144, 6144, 8)
    mx.eval(q, k, v)
    mx.reset_peak_memory()
    before = mx.get_active_memory()
    mx.eval(attention_of(q, k, v))
    assert mx.get_peak_memory() - before < 0.6 * 2 * 6144**2 * 4


def test_upcast_attention_gives_the_input_s_precision() -> None:
    net = Attention(16, 2, upcast=True)
    net.set_dtype(mx.float16)
    assert net(mx.ones((1, 5, 16), mx.float16)).dtype == mx.float16
