"""Randomness by key: every use of a seed has a key of its own, so that nothing depends on what was drawn before.

The key of a use is a hash of the seed and the use's name. Image k of a batch is the picture of seed + k alone, and a
changed start leaves the noise of the sampler's steps as it was.
"""

import hashlib
import math
from collections.abc import Callable, Sequence

import mlx.core as mx

Noise = Callable[[int, int], mx.array]  # (step, draw) -> N(0, 1), shaped like x
Perturbations = tuple[tuple[int, float], ...]  # (seed, amount), in the order in which they are applied


def key(seed: int, *use: str | int) -> mx.array:
    """The random key of one use of a seed, e.g. `key(7, "step", 3, 0)`."""
    digest = hashlib.blake2b(repr((seed, *use)).encode(), digest_size=8).digest()
    return mx.random.key(int.from_bytes(digest, "big"))


def perturbed(n: mx.array, other: mx.array, amount: float) -> mx.array:
    """n' = sqrt(1 - a^2) n + a other: two N(0, 1) in, an N(0, 1) out, correlated sqrt(1 - a^2) with n.

    The step of a preconditioned Crank-Nicolson walk (Cotter et al. 2013): however often it is taken, the result is
    exactly N(0, I), which slerp and a plain mix are not. amount in [0, 1].
    """
    return math.sqrt(1 - amount**2) * n + amount * other


def start_noise(seeds: Sequence[int], shape: tuple[int, ...], perturb: Perturbations = ()) -> mx.array:
    """The noise that images start from: (len(seeds), *shape), row k of seeds[k] alone, then perturbed in order."""

    def draw(seed: int) -> mx.array:
        return mx.random.normal(shape, key=key(seed, "start"))

    n = mx.stack([draw(seed) for seed in seeds])
    for seed, amount in perturb:
        n = perturbed(n, draw(seed), amount)
    return n


def step_noise(seeds: Sequence[int], shape: tuple[int, ...]) -> Noise:
    """The noise that a sampler adds on its way: `noise(i, k)` is draw k of step i, (len(seeds), *shape)."""

    def noise(i: int, k: int) -> mx.array:
        return mx.stack([mx.random.normal(shape, key=key(seed, "step", i, k)) for seed in seeds])

    return noise
