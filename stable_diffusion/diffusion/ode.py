"""Samplers that solve the probability-flow ODE. Some of them can add noise on the way ("churn").

Latents are variance exploding, x = x0 + sigma n; s and t are the levels before and after a step, and
d = (x - clean) / s is the ODE's direction, dx / dsigma.
"""

import math
from collections.abc import Callable, Generator, Sequence
from itertools import pairwise
from typing import Literal

import mlx.core as mx

from .noise import Noise
from .steps import Ask, Sampler, Step, towards

Move = Generator[Ask, mx.array, tuple[mx.array, mx.array]]  # asks, and returns the new x and the estimate at s
Nearest = Callable[[float], float]


def euler_step(x: mx.array, s: float, t: float) -> Move:
    """Euler's method, first order: Karras et al. 2022 (2206.00364), algorithm 2 without its correction."""
    clean = yield Ask(x, s)
    return towards(x, clean, s, t), clean


def heun_step(x: mx.array, s: float, t: float) -> Move:
    """Heun's method, second order, by the mean of the directions at both ends: Karras et al. 2022, algorithm 2."""
    clean = yield Ask(x, s)
    ahead = towards(x, clean, s, t)
    if t > 0:
        there = yield Ask(ahead, t)
        ahead = x + (t - s) / 2 * ((x - clean) / s + (ahead - there) / t)
    return ahead, clean


def dpm2_step(x: mx.array, s: float, t: float) -> Move:
    """DPM-Solver-2, Lu et al. 2022 (2206.00927), algorithm 1: by the direction half-way, in log sigma, to t."""
    clean = yield Ask(x, s)
    if t == 0:
        return towards(x, clean, s, t), clean
    mid = math.sqrt(s * t)
    half_way = towards(x, clean, s, mid)
    there = yield Ask(half_way, mid)
    return x + (t - s) / mid * (half_way - there), clean


def raised(
    sigmas: Sequence[float],
    s_churn: float = 0.0,
    s_tmin: float = 0.0,
    s_tmax: float = math.inf,
    nearest: Nearest | None = None,
) -> tuple[float, ...]:
    """sigma hat, the level that noise is added up to before each step (Karras et al. 2022, algorithm 2)."""
    most = min(s_churn / max(len(sigmas) - 1, 1), math.sqrt(2) - 1)
    hats = [s * (1 + (most if s_tmin <= s <= s_tmax else 0.0)) for s in sigmas[:-1]]
    if nearest is None:
        return tuple(hats)
    # Rounded before anything is computed from it (C.3.4). Since s is itself a trained level, s_hat is never below it,
    # whose variance would be negative, and never above the highest.
    return tuple(max(s, nearest(hat)) for s, hat in zip(sigmas, hats, strict=False))


def _churning(step: Callable[[mx.array, float, float], Move]) -> Callable[..., Sampler]:
    """A sampler of such steps, which can add noise before each (Karras et al. 2022, algorithm 2)."""

    def sampler(
        x: mx.array,
        sigmas: Sequence[float],
        noise: Noise,
        s_churn: float = 0.0,
        s_tmin: float = 0.0,
        s_tmax: float = math.inf,
        s_noise: float = 1.0,
        nearest: Nearest | None = None,
    ) -> Sampler:
        hats = raised(sigmas, s_churn, s_tmin, s_tmax, nearest)
        for i, ((s, t), s_hat) in enumerate(zip(pairwise(sigmas), hats, strict=True)):
            if s_hat > s:
                x = x + math.sqrt(s_hat**2 - s**2) * s_noise * noise(i, 0)
            x, clean = yield from step(x, s_hat, t)
            yield Step(i, t, x, clean)

    sampler.__doc__ = step.__doc__
    return sampler


euler = _churning(euler_step)
heun = _churning(heun_step)
dpm2 = _churning(dpm2_step)


def dpmpp_2m(x: mx.array, sigmas: Sequence[float], noise: Noise) -> Sampler:
    """DPM-Solver++(2M), Lu et al. 2022 (2211.01095), algorithm 2: second order, one evaluation a step."""
    before: tuple[mx.array, float] | None = None  # the last estimate and its log-sigma step
    for i, (s, t) in enumerate(pairwise(sigmas)):
        clean = ahead = yield Ask(x, s)
        h = math.log(s / t) if t else math.inf
        if before and t:
            last, h_last = before
            ahead = clean + (h / (2 * h_last)) * (clean - last)
        x = towards(x, ahead, s, t)
        before = clean, h
        yield Step(i, t, x, clean)


def _lagrange(nodes: Sequence[float], j: int) -> list[float]:
    """The coefficients, constant first, of the polynomial that is 1 at nodes[j] and 0 at the others."""
    polynomial = [1.0]
    for k, node in enumerate(nodes):
        if k != j:
            scale = nodes[j] - node
            polynomial = [
                (up - node * here) / scale for up, here in zip([0.0, *polynomial], [*polynomial, 0.0], strict=True)
            ]
    return polynomial


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
            x = x + sum(c * (t - s) ** (p + 1) / (p + 1) for p, c in enumerate(_lagrange(nodes, j))) * d
        yield Step(i, t, x, clean)


def _exponential_integral(polynomial: Sequence[float], end: float) -> float:
    """The integral of polynomial(u) e^u from u = 0 to end: p e^u has the primitive (p - p' + p'' - ...) e^u."""

    def at(u: float) -> float:
        total, derivative, sign = 0.0, list(polynomial), 1.0
        while derivative:
            total += sign * sum(c * u**p for p, c in enumerate(derivative))
            derivative = [p * c for p, c in enumerate(derivative)][1:]
            sign = -sign
        return total

    return at(end) * math.exp(end) - at(0.0)


def deis(x: mx.array, sigmas: Sequence[float], noise: Noise, order: int = 3) -> Sampler:
    """DEIS (log-rho Adams-Bashforth), Zhang & Chen 2023 (2204.13902): directions extrapolated in log sigma.

    The last step lands on the estimate. In walks of fewer than 15 steps, the one before it is of order 2 at most, the
    custom of all multistep solvers since DPM-Solver.
    """
    n = len(sigmas) - 1
    directions: list[mx.array] = []  # latest first
    for i, (s, t) in enumerate(pairwise(sigmas)):
        clean = yield Ask(x, s)
        directions = [(x - clean) / s, *directions[: order - 1]]
        if t == 0:
            x = towards(x, clean, s, t)
        else:
            known = min(len(directions), n - i) if n < 15 else len(directions)
            nodes = [math.log(sigmas[i - k] / s) for k in range(known)]
            for j, d in enumerate(directions[: len(nodes)]):
                x = x + s * _exponential_integral(_lagrange(nodes, j), math.log(t / s)) * d
        yield Step(i, t, x, clean)


def _solved(matrix: list[list[float]], right: list[float]) -> list[float]:
    """The solution of a small linear system, by elimination with pivots."""
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    for i in range(len(rows)):
        pivot = max(range(i, len(rows)), key=lambda r: abs(rows[r][i]))
        rows[i], rows[pivot] = rows[pivot], rows[i]
        rows[i] = [value / rows[i][i] for value in rows[i]]
        for r in range(len(rows)):
            if r != i:
                rows[r] = [a - rows[r][i] * b for a, b in zip(rows[r], rows[i], strict=True)]
    return [row[-1] for row in rows]


def unipc(
    x: mx.array, sigmas: Sequence[float], noise: Noise, order: int = 2, variant: Literal["bh1", "bh2"] = "bh2"
) -> Sampler:
    """UniPC, Zhao et al. 2023 (2302.04867), algorithms 1 and 2, data prediction: one evaluation a step serves both.

    The estimate that the next prediction starts from first corrects the last one. The order grows from 1 at the start
    and falls to 1 at the end; 2 with guidance and 3 without are the authors' advice.
    """
    n = len(sigmas) - 1
    estimates: list[mx.array] = []  # latest first, and the log-sigma of each
    lambdas: list[float] = []
    correct: Callable[[mx.array], mx.array] | None = None

    for i, (s, t) in enumerate(pairwise(sigmas)):
        clean = yield Ask(x, s)
        if correct is not None:
            x = correct(clean)
        estimates, lambdas = [clean, *estimates[: order - 1]], [-math.log(s), *lambdas[: order - 1]]
        p = min(order, i + 1, n - i)  # of this step
        if t == 0:
            x, correct = towards(x, clean, s, t), None
        else:
            x, correct = _unipc_step(x, s, t, estimates[:p], lambdas[:p], variant)
        yield Step(i, t, x, clean)


def _unipc_step(
    x: mx.array, s: float, t: float, estimates: list[mx.array], lambdas: list[float], variant: str
) -> tuple[mx.array, Callable[[mx.array], mx.array]]:
    """The prediction at t, and the function that corrects it once the estimate at t is known."""
    p, clean = len(estimates), estimates[0]
    h = -math.log(t) - lambdas[0]
    ratios = [(past - lambdas[0]) / h for past in lambdas[1:]]  # below 0
    slopes = [(past - clean) / r for past, r in zip(estimates[1:], ratios, strict=True)]
    B = -h if variant == "bh1" else math.expm1(-h)

    # phi_k(-h) k!, and the system whose k-th row asks that polynomials of degree k - 1 are integrated exactly.
    phi, factorial, right = math.expm1(-h) / -h - 1, 1, []
    for k in range(1, p + 1):
        right.append(phi * factorial / B)
        factorial *= k + 1
        phi = phi / -h - 1 / factorial
    nodes = [*ratios, 1.0]
    matrix = [[node**k for node in nodes] for k in range(p)]

    straight = towards(x, clean, s, t)
    # The authors' code takes 1/2 for systems of one unknown, which the exact solution is to the order of the method.
    before = [] if p == 1 else [0.5] if p == 2 else _solved([row[:-1] for row in matrix[:-1]], right[:-1])
    after = [0.5] if p == 1 else _solved(matrix, right)

    predicted = straight
    for rho, slope in zip(before, slopes, strict=True):
        predicted = predicted - B * rho * slope

    def correct(there: mx.array) -> mx.array:
        corrected = straight - B * after[-1] * (there - clean)
        for rho, slope in zip(after[:-1], slopes, strict=True):
            corrected = corrected - B * rho * slope
        return corrected

    return predicted, correct
