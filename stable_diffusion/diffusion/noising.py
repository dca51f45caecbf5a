"""Three ways from a picture up to its noise. All have the same marginals: at level sigma, x0 + sigma N(0, I).

Each takes the levels of a run, the start first and 0 last, and returns one latent per level, clean to noisy.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Literal

import mlx.core as mx

from .denoiser import Estimate
from .noise import key

NoisingKind = Literal["ray", "chain", "inversion"]


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

    Each step solves y_up = y + (sigma_up - sigma) d(y_up, sigma_up), d = (y - clean) / sigma, by accelerated
    fixed-point iteration: the reverse of the Euler step down, as exactly as its residual says, where plain DDIM
    inversion (Song et al. 2021, section 4.3), which takes the direction at y, is so to first order only. Where the
    residual has not fallen to a tenth in all the iterations, as it can be for few steps and strong guidance, the plain
    step is taken.
    """
    levels = list(reversed(sigmas))
    y, latents, residuals, fell_back = x0, [x0], [], 0
    for sigma, up in pairwise(levels):

        def step(at: mx.array, level: float, y: mx.array = y, width: float = up - sigma) -> mx.array:
            return y + width * (at - denoise(at, level)) / level

        plain = step(y, sigma) if sigma else step(y, up)
        found, first, residual = _fixed_point(partial(step, level=up), plain, iterations, tolerance)
        if residual > max(tolerance, first / 10):
            found, residual, fell_back = plain, first, fell_back + 1
        y = found
        latents.append(y)
        residuals.append(residual)
    return Inversion(latents, residuals, fell_back)


def _fixed_point(
    g: Callable[[mx.array], mx.array], y: mx.array, iterations: int, tolerance: float, depth: int = 3
) -> tuple[mx.array, float, float]:
    """The best y = g(y) that is found from a first guess, the residual of that guess, and the one of what was found.

    Anderson's acceleration (1965; Walker & Ni 2011): of the last `depth` moves, the combination that would have left
    the smallest residual. A residual is the largest difference of y and g(y), relative to the largest of g(y).
    """
    best, first, least = y, math.inf, math.inf
    images: list[mx.array] = []  # g at the guesses so far, and how far off each of these was
    misses: list[mx.array] = []
    for k in range(max(1, iterations)):
        image = g(y)
        miss = image - y
        residual = float(mx.abs(miss).max() / mx.abs(image).max())
        first = residual if k == 0 else first
        if residual < least:
            best, least = image if iterations else y, residual
        if not tolerance <= residual < math.inf:
            break
        images, misses = [*images[-depth:], image], [*misses[-depth:], miss]
        y = image
        if len(misses) > 1:
            moves = mx.stack([(b - a).flatten() for a, b in pairwise(misses)])
            steps = mx.stack([(b - a).flatten() for a, b in pairwise(images)])
            size = float(mx.square(moves).sum())
            if 0 < size < math.inf:
                gram = moves @ moves.T / size + 1e-6 * mx.eye(len(misses) - 1)
                weights = mx.linalg.solve(gram, (moves @ miss.flatten() / size)[:, None], stream=mx.cpu)
                y = image - (weights.T @ steps).reshape(image.shape)
        mx.eval(y)
    return best, first, least
