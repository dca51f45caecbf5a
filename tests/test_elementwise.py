"""exp, SiLU and GELU against float64."""

import math

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from stable_diffusion import backend
from stable_diffusion.compute.elementwise import exp2, geglu, silu

X = mx.concatenate([mx.linspace(-200, 90, 100_001), mx.linspace(-1, 1, 100_001), mx.array([0.0, -0.0, 1e-30, -1e-30])])
vectorised = pytest.mark.skipif(not backend.compiles, reason="MLX compiles nothing here")


def exact(x: mx.array) -> np.ndarray:
    return np.array(x).astype(np.float64)


@vectorised
def test_exp2_is_right_to_two_units_in_the_last_place() -> None:
    x = mx.clip(X, -126, 90)
    apart = np.abs(exact(exp2(x)) / 2 ** exact(x) - 1)
    assert apart.max() < 2.4e-7


@vectorised
def test_exp2_of_what_is_too_small_is_next_to_nothing() -> None:
    assert (exact(exp2(mx.array([-126.6, -127.0, -1e4, -1e9, -1e12]))) == 0).all()


@vectorised
@pytest.mark.parametrize("value", [-1e13, -1e20, -1e38, -math.inf])
def test_exp2_of_what_is_beyond_it_is_nothing_or_no_number(value: float) -> None:
    found = float(exp2(mx.array([value]))[0])
    assert found == 0 or math.isnan(found)


def test_silu_is_right() -> None:
    x = exact(X)
    true = x / (1 + np.exp(-x))
    assert np.abs(exact(silu(X)) - true).max() < 8e-6  # of 90: one unit in the last place
    near = np.abs(x) < 20
    assert (np.abs(exact(silu(X)) - true)[near] <= 3e-6 * np.abs(true[near])).all()


def test_geglu_is_right() -> None:
    gate = X[mx.array(np.flatnonzero(np.abs(np.array(X)) < 40))]
    times = mx.random.normal(gate.shape, key=mx.random.key(0))
    g = exact(gate)
    true = exact(times) * g * 0.5 * np.array([math.erfc(-v / math.sqrt(2)) for v in g])
    assert (np.abs(exact(geglu(times, gate)) - true) <= 5e-7 * np.abs(g * exact(times)) + 1e-30).all()


@vectorised
def test_large_numbers_are_themselves_or_nothing_up_to_the_limits() -> None:
    x, gate = (mx.array([limit, limit / 1e3, -limit / 1e3, -limit]) for limit in (5e11, 1e6))
    assert np.allclose(exact(silu(x)), np.maximum(exact(x), 0), rtol=1e-6, atol=0)
    assert np.allclose(exact(geglu(mx.ones(4), gate)), np.maximum(exact(gate), 0), rtol=1e-6, atol=0)


def test_halves_of_an_array_are_taken() -> None:
    whole = mx.random.normal((3, 5, 8), key=mx.random.key(0))
    x, gate = mx.split(whole, 2, axis=-1)
    assert mx.allclose(geglu(x, gate), x * nn.gelu(gate), atol=1e-5)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_stays_none(value: float) -> None:
    x = mx.array([value, 1.0])
    assert not math.isfinite(float(silu(x)[0]))
    if math.isnan(value):
        assert all(math.isnan(float(y[0])) for y in (silu(x), geglu(x, x), exp2(x)))


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_half_precision_is_mlx_s_own(dtype: mx.Dtype) -> None:
    x = mx.random.normal((100,), key=mx.random.key(0)).astype(dtype)
    assert mx.array_equal(silu(x), nn.silu(x)) and silu(x).dtype == dtype
    assert mx.array_equal(geglu(x, x), x * nn.gelu(x)) and geglu(x, x).dtype == dtype


def test_without_a_compiler_they_are_mlx_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "compiles", False)
    x = mx.random.normal((100,), key=mx.random.key(0))
    assert mx.array_equal(silu(x), nn.silu(x)) and mx.array_equal(geglu(x, x), x * nn.gelu(x))
    assert mx.allclose(exp2(-mx.abs(x)), mx.exp(-mx.abs(x) * math.log(2)))
