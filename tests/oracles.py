"""Exact denoisers: test doubles for a network that is perfectly trained."""

import math
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np

Denoise = Callable[[mx.array, Any], mx.array]


def constant_noise(n: mx.array) -> Denoise:
    """The estimate of a net that always predicts the true noise n."""
    return lambda x, sigma: x - sigma * n


def gaussian(mean: float, std: float) -> Denoise:
    """The best estimate of x0 ~ N(mean, std^2) from x0 + sigma n."""
    return lambda x, sigma: mean + std**2 / (std**2 + sigma**2) * (x - mean)


def gaussian_end(x: np.ndarray, sigma: float, mean: float, std: float) -> np.ndarray:
    """Where the probability-flow ODE takes x from level sigma to 0: x - mean shrinks as the marginal's spread does."""
    return mean + (x - mean) * std / math.sqrt(std**2 + sigma**2)


def largest_difference(a: object, b: object) -> float:
    """The largest elementwise difference of two arrays of one shape."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    assert a.shape == b.shape, (a.shape, b.shape)
    return float(np.abs(a - b).max())


def no_noise(i: int, k: int) -> mx.array:
    raise AssertionError(f"a deterministic sampler drew noise {k} of step {i}")
