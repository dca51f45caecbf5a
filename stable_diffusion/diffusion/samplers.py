"""The walks from noise to picture.

A sampler is a generator: it yields `Ask(x, sigma)`, is sent the clean estimate at x, and yields a `Step` when it has
moved. It never calls a network, so one driver can walk it alone (`walk`) or many of them at once (`lockstep`).
Latents are variance exploding, x = x0 + sigma n. With d = (x - clean) / sigma, a step along the probability-flow ODE
from s to t is x + (t - s) d = clean + (t / s) (x - clean) (Karras et al. 2022, equation 3).
"""

import inspect
import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import mlx.core as mx

from .noise import Noise


@dataclass(frozen=True)
class Ask:
    """A sampler's question: what is the clean picture in x, whose noise level is sigma?"""

    x: mx.array
    sigma: float


@dataclass(frozen=True)
class Step:
    """A sampler has moved: x is now at noise level sigma."""

    index: int
    sigma: float
    x: mx.array
    clean: mx.array  # the estimate at the level that the step came from


Sampler = Generator[Ask | Step, mx.array, None]


def _move(x: mx.array, clean: mx.array, s: float, t: float) -> mx.array:
    """Straight towards the estimate, from level s to level t."""
    return clean + (t / s) * (x - clean)


def _churned(
    x: mx.array,
    s: float,
    n: int,
    draw: Callable[[], mx.array],
    s_churn: float,
    s_tmin: float,
    s_tmax: float,
    s_noise: float,
) -> tuple[mx.array, float]:
    """Lift x from level s to a higher one with fresh noise (Karras et al. 2022, algorithm 2, lines 4 to 6)."""
    gamma = min(s_churn / n, math.sqrt(2) - 1) if s_tmin <= s <= s_tmax else 0.0
    if gamma == 0:
        return x, s
    s_hat = s * (1 + gamma)
    return x + math.sqrt(s_hat**2 - s**2) * s_noise * draw(), s_hat


def euler(
    x: mx.array,
    sigmas: Sequence[float],
    noise: Noise,
    s_churn: float = 0.0,
    s_tmin: float = 0.0,
    s_tmax: float = math.inf,
    s_noise: float = 1.0,
) -> Sampler:
    """Euler's method, first order; with churn, Karras et al. 2022 (2206.00364), algorithm 2 without its correction."""
    n = len(sigmas) - 1
    for i, (s, t) in enumerate(pairwise(sigmas)):
        x, s = _churned(x, s, n, lambda i=i: noise(i, 0), s_churn, s_tmin, s_tmax, s_noise)  # type: ignore[misc]
        clean = yield Ask(x, s)
        x = _move(x, clean, s, t)
        yield Step(i, t, x, clean)


def euler_a(x: mx.array, sigmas: Sequence[float], noise: Noise, eta: float = 1.0) -> Sampler:
    """Ancestral sampling: an Euler step that goes too far down, and noise back up; eta scales that noise.

    With eta 1, each step draws from the posterior of Ho et al. 2020 (equations 6 and 7). It is DDIM with the same eta
    (Song et al. 2021, equations 12 and 16), in variance-exploding form.
    """
    for i, (s, t) in enumerate(pairwise(sigmas)):
        clean = yield Ask(x, s)
        up = min(t, eta * t * math.sqrt(s**2 - t**2) / s)
        x = _move(x, clean, s, math.sqrt(t**2 - up**2))
        if up > 0:
            x = x + up * noise(i, 0)
        yield Step(i, t, x, clean)


def ddim(x: mx.array, sigmas: Sequence[float], noise: Noise, eta: float = 0.0) -> Sampler:
    """DDIM, Song et al. 2021 (2010.02502), equation 12: deterministic unless eta is given; then `euler_a`.

    It ends at noise level 0. diffusers with SD 1.x's `set_alpha_to_one: false` stops at the least trained level
    instead and leaves 0.029 of the noise in the picture.
    """
    return euler_a(x, sigmas, noise, eta)


def heun(
    x: mx.array,
    sigmas: Sequence[float],
    noise: Noise,
    s_churn: float = 0.0,
    s_tmin: float = 0.0,
    s_tmax: float = math.inf,
    s_noise: float = 1.0,
) -> Sampler:
    """Heun's method, second order, two evaluations a step but the last: Karras et al. 2022, algorithm 2."""
    n = len(sigmas) - 1
    for i, (s, t) in enumerate(pairwise(sigmas)):
        x, s = _churned(x, s, n, lambda i=i: noise(i, 0), s_churn, s_tmin, s_tmax, s_noise)  # type: ignore[misc]
        clean = yield Ask(x, s)
        ahead = _move(x, clean, s, t)
        if t > 0:
            there = yield Ask(ahead, t)
            ahead = x + (t - s) / 2 * ((x - clean) / s + (ahead - there) / t)
        x = ahead
        yield Step(i, t, x, clean)


def dpmpp_2m(x: mx.array, sigmas: Sequence[float], noise: Noise) -> Sampler:
    """DPM-Solver++(2M), Lu et al. 2022 (2211.01095), algorithm 2: second order, one evaluation a step."""
    before: tuple[mx.array, float] | None = None  # the last estimate and its log-sigma step
    for i, (s, t) in enumerate(pairwise(sigmas)):
        clean = ahead = yield Ask(x, s)
        h = math.log(s / t) if t else math.inf
        if before and t:
            last, h_last = before
            ahead = clean + (h / (2 * h_last)) * (clean - last)
        x = _move(x, ahead, s, t)
        before = clean, h
        yield Step(i, t, x, clean)


def _lagrange_integral(nodes: Sequence[float], j: int, end: float) -> float:
    """The integral from 0 to end of the polynomial that is 1 at nodes[j] and 0 at the others."""
    polynomial = [1.0]  # coefficients, constant first
    for k, node in enumerate(nodes):
        if k != j:
            scale = nodes[j] - node
            shifted = [0.0, *polynomial]
            polynomial = [(up - node * here) / scale for up, here in zip(shifted, [*polynomial, 0.0], strict=True)]
    return sum(c * end ** (p + 1) / (p + 1) for p, c in enumerate(polynomial))


def lms(x: mx.array, sigmas: Sequence[float], noise: Noise, order: int = 4) -> Sampler:
    """Linear multistep (Adams-Bashforth) in sigma with exact coefficients for uneven steps; order 4 once it can be.

    The order grows from 1 as directions become known, wherever the walk starts. diffusers' LMSDiscrete takes the order
    from the step's place in the whole schedule, and is wrong for image-to-image (its issue 5630).
    """
    directions: list[mx.array] = []  # latest first
    for i, (s, t) in enumerate(pairwise(sigmas)):
        clean = yield Ask(x, s)
        directions = [(x - clean) / s, *directions[: order - 1]]
        nodes = [sigmas[i - k] - s for k in range(len(directions))]  # measured from s, for the sake of precision
        for j, d in enumerate(directions):
            x = x + _lagrange_integral(nodes, j, t - s) * d
        yield Step(i, t, x, clean)


SAMPLERS: dict[str, Callable[..., Sampler]] = {
    "ddim": ddim,
    "dpmpp_2m": dpmpp_2m,
    "euler": euler,
    "euler_a": euler_a,
    "heun": heun,
    "lms": lms,
}


def options_of(sampler: str) -> frozenset[str]:
    """The names of the options that a sampler takes, beyond x, sigmas and noise."""
    return frozenset(list(inspect.signature(SAMPLERS[sampler]).parameters)[3:])
