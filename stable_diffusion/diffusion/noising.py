"""Three ways from a picture up to its noise. All have the same marginals: at level sigma, x0 + sigma N(0, I).

Each takes the levels of a run, the start first and 0 last, and returns one latent per level, clean to noisy.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import mlx.core as mx

from .denoiser import Estimate
from .noise import key


def ray(x0: mx.array, n: mx.array, sigmas: Sequence[float]) -> list[mx.array]:
    """One noise at every level, x0 + sigma n: the straight line that image-to-image starts from the end of."""
    return [x0 + sigma * n if sigma else x0 for sigma in reversed(sigmas)]


def chain(x0: mx.array, n: mx.array, sigmas: Sequence[float], seeds: Sequence[int]) -> list[mx.array]:
    """Noise added little by little, each time anew, pinned so that it ends at x0 + sigma_start n, bit for bit.

    The chain of Ho et al. 2020 (2006.11239), equation 2, in this form is x0 + W, with W a Brownian motion in the clock
    v = sigma^2; drawn from its end downwards, W_j = W_(j+1) v_j / v_(j+1) + sqrt(v_j (v_(j+1) - v_j) / v_(j+1)) z.
    """
    noisy = [x0 + sigmas[0] * n]
    w = sigmas[0] * n
    for j, (above, sigma) in enumerate(pairwise(sigmas)):
        v_above, v = above**2, sigma**2
        if v == 0:
            noisy.append(x0 + 0 * n)
            continue
        z = mx.stack([mx.random.normal(n.shape[1:], key=key(seed, "chain", j)) for seed in seeds])
        w = w * (v / v_above) + math.sqrt(v * (v_above - v) / v_above) * z
        noisy.append(x0 + w)
    return noisy[::-1]


@dataclass(frozen=True)
class Inversion:
    """The way up along the probability-flow ODE."""

    latents: list[mx.array]  # clean to noisy
    residuals: list[float]  # per step: how far an Euler step back down misses, relative to the latent's size
    fell_back: int  # steps that were taken explicitly, because the iteration did not settle


def invert(
    denoise: Estimate, x0: mx.array, sigmas: Sequence[float], iterations: int = 20, tolerance: float = 1e-6
) -> Inversion:
    """Walk the ODE up from x0, so that Euler steps with the same estimate lead back to it (DDIM inversion).

    Each step solves y_up = y + (sigma_up - sigma) d(y_up, sigma_up), d = (y - clean) / sigma, by fixed-point iteration:
    the reverse of the Euler step down, as exactly as its residual says, where plain DDIM inversion (Song et al. 2021,
    section 4.3), which takes the direction at y, is so to first order only. Where the iteration grows apart instead of
    settling, as it can for few steps and strong guidance, the plain step is taken.
    """
    levels = list(reversed(sigmas))
    y, latents, residuals, fell_back = x0, [x0], [], 0
    for sigma, up in pairwise(levels):

        def step(at: mx.array, level: float, y: mx.array = y, width: float = up - sigma) -> mx.array:
            return y + width * (at - denoise(at, level)) / level

        plain = guess = step(y, sigma) if sigma else step(y, up)
        before, residual = math.inf, math.inf
        for _ in range(iterations):
            new = step(guess, up)
            residual = float(mx.abs(new - guess).max() / mx.abs(new).max())
            if residual > before:
                break
            guess, before = new, residual
            if residual < tolerance:
                break
        if residual > before:
            guess, fell_back = plain, fell_back + 1
            residual = float(mx.abs(step(plain, up) - plain).max() / mx.abs(plain).max())
        y = guess
        latents.append(y)
        residuals.append(residual)
    return Inversion(latents, residuals, fell_back)
