"""Samplers that add noise on their way, and so forget their start: samples of the SDE and not of the ODE.

s and t are the levels before and after a step. A step that adds noise goes down to a level below t first, so that the
noise, whose amount `up` is, brings it up to t.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

import mlx.core as mx

from .noise import Noise, increment
from .ode import Move, Nearest, dpm2_step, euler_step, heun_step
from .schedule import NoiseSchedule, deviation
from .steps import Ask, Sampler, Step, towards


def ancestral_levels(s: float, t: float, eta: float) -> tuple[float, float]:
    """(down, up): how far below t to go, and how much noise to add, down^2 + up^2 = t^2.

    With eta 1, `up` is the deviation of the posterior of Ho et al. 2020 (2006.11239), equation 7.
    """
    up = min(t, eta * t * math.sqrt(s**2 - t**2) / s)
    return math.sqrt(t**2 - up**2), up


def dpmpp_2s_step(x: mx.array, s: float, t: float) -> Move:
    """DPM-Solver++(2S), Lu et al. 2022 (2211.01095), algorithm 1: towards the estimate half-way, in log sigma, to t."""
    clean = yield Ask(x, s)
    if t == 0:
        return towards(x, clean, s, t), clean
    mid = math.sqrt(s * t)
    there = yield Ask(towards(x, clean, s, mid), mid)
    return towards(x, there, s, t), clean


def _ancestral(step: Callable[[mx.array, float, float], Move]) -> Callable[..., Sampler]:
    """A sampler whose steps go too far down, and add noise to come back up; eta scales that noise (k-diffusion)."""

    def sampler(x: mx.array, sigmas: Sequence[float], noise: Noise, eta: float = 1.0, s_noise: float = 1.0) -> Sampler:
        for i, (s, t) in enumerate(pairwise(sigmas)):
            down, up = ancestral_levels(s, t, eta)
            x, clean = yield from step(x, s, down)
            if up > 0:
                x = x + up * s_noise * noise(i, 0)
            yield Step(i, t, x, clean)

    sampler.__doc__ = step.__doc__
    return sampler


euler_a = _ancestral(euler_step)  # with the same eta it is DDIM, in variance-exploding form
dpm2_a = _ancestral(dpm2_step)
dpmpp_2s_a = _ancestral(dpmpp_2s_step)


def ddim(
    x: mx.array,
    sigmas: Sequence[float],
    noise: Noise,
    eta: float = 0.0,
    stride: int | None = None,
    schedule: NoiseSchedule = NoiseSchedule(),  # noqa: B008  frozen
) -> Sampler:
    """DDIM, Song et al. 2021 (2010.02502), equations 12 and 16: deterministic unless eta is given.

    It ends at noise level 0. diffusers with SD 1.x's `set_alpha_to_one: false` stops at the least trained level
    instead and leaves 0.029 of the noise in the picture.

    stride: each step goes down so many train times, and what it gives, at variance 1, is taken for a latent at the
    next level, whose time may be another. diffusers' does that, with stride 1000 // n for n steps.
    """
    return euler_a(x, sigmas, noise, eta) if stride is None else _striding(x, sigmas, noise, eta, stride, schedule)


def _striding(
    x: mx.array, sigmas: Sequence[float], noise: Noise, eta: float, stride: int, schedule: NoiseSchedule
) -> Sampler:
    for i, (s, t) in enumerate(pairwise(sigmas)):
        time = round(schedule.t(s) - stride, 6)
        to = schedule.sigma(time) if time >= 0 else 0.0
        down, up = ancestral_levels(s, to, eta)
        x, clean = yield from euler_step(x, s, down)
        if up > 0:
            x = x + up * noise(i, 0)
        x = x * (deviation(t) / deviation(to))
        yield Step(i, t, x, clean)


def ddpm(x: mx.array, sigmas: Sequence[float], noise: Noise) -> Sampler:
    """DDPM, Ho et al. 2020 (2006.11239), algorithm 2 with the posterior's variance, equations 6 and 7."""
    return euler_a(x, sigmas, noise, eta=1.0)


def dpmpp_sde(x: mx.array, sigmas: Sequence[float], noise: Noise, eta: float = 1.0, s_noise: float = 1.0) -> Sampler:
    """DPM-Solver++ (stochastic), K. Crowson's in k-diffusion, after Lu et al. 2022 (2211.01095), with r = 1/2."""
    for i, (s, t) in enumerate(pairwise(sigmas)):
        clean = yield Ask(x, s)
        if t > 0:
            mid = math.sqrt(s * t)
            down, up = ancestral_levels(s, mid, eta)
            half_way = towards(x, clean, s, down)
            if up > 0:
                half_way = half_way + up * s_noise * increment(noise, s, mid, i, 0)
            there = yield Ask(half_way, mid)
            down, up = ancestral_levels(s, t, eta)
            x = towards(x, there, s, down)
            if up > 0:
                x = x + up * s_noise * increment(noise, s, t, i, 1)
        else:
            x = towards(x, clean, s, t)
        yield Step(i, t, x, clean)


def dpmpp_2m_sde(
    x: mx.array,
    sigmas: Sequence[float],
    noise: Noise,
    eta: float = 1.0,
    s_noise: float = 1.0,
    solver: Literal["midpoint", "heun"] = "midpoint",
) -> Sampler:
    """SDE-DPM-Solver++(2M), Lu et al. 2022 (2211.01095), appendix: second order, one evaluation a step."""
    before: tuple[mx.array, float] | None = None  # the last estimate and its log-sigma step
    for i, (s, t) in enumerate(pairwise(sigmas)):
        clean = yield Ask(x, s)
        if t > 0:
            h = math.log(s / t)
            move = -math.expm1(-h * (1 + eta))
            x = (1 - move) * x + move * clean
            if before is not None:
                last, h_last = before
                weight = 0.5 * move if solver == "midpoint" else 1 - move / (h * (1 + eta))
                x = x + (weight * h / h_last) * (clean - last)
            if eta > 0:
                x = x + t * math.sqrt(-math.expm1(-2 * h * eta)) * s_noise * increment(noise, s, t, i, 0)
            before = clean, h
        else:
            x = towards(x, clean, s, t)
        yield Step(i, t, x, clean)


def dpmpp_2m_sde_heun(
    x: mx.array, sigmas: Sequence[float], noise: Noise, eta: float = 1.0, s_noise: float = 1.0
) -> Sampler:
    """SDE-DPM-Solver++(2M) with the correction of Heun's kind."""
    return dpmpp_2m_sde(x, sigmas, noise, eta, s_noise, solver="heun")


def dpmpp_3m_sde(x: mx.array, sigmas: Sequence[float], noise: Noise, eta: float = 1.0, s_noise: float = 1.0) -> Sampler:
    """DPM-Solver++(3M) SDE, K. Crowson's in k-diffusion: third order, one evaluation a step."""
    past: list[tuple[mx.array, float]] = []  # estimates and their log-sigma steps, latest first
    for i, (s, t) in enumerate(pairwise(sigmas)):
        clean = yield Ask(x, s)
        if t > 0:
            h = math.log(s / t)
            h_eta = h * (1 + eta)
            x = math.exp(-h_eta) * x - math.expm1(-h_eta) * clean
            if past:
                phi_2 = math.expm1(-h_eta) / h_eta + 1
                (last, h_1), *older = past
                r0 = h_1 / h
                slope = (clean - last) / r0
                if older:
                    oldest, h_2 = older[0]
                    r1 = h_2 / h
                    bend = (slope - (last - oldest) / r1) / (r0 + r1)
                    x = x + phi_2 * (slope + r0 * bend) - (phi_2 / h_eta - 0.5) * bend
                else:
                    x = x + phi_2 * slope
            if eta > 0:
                x = x + t * math.sqrt(-math.expm1(-2 * h * eta)) * s_noise * increment(noise, s, t, i, 0)
            past = [(clean, h), *past[:1]]
        else:
            x = towards(x, clean, s, t)
        yield Step(i, t, x, clean)


def lcm(x: mx.array, sigmas: Sequence[float], noise: Noise) -> Sampler:
    """Multistep consistency sampling, Luo et al. 2023 (2310.04378), algorithm 3: the estimate, noised anew."""
    for i, (s, t) in enumerate(pairwise(sigmas)):
        clean = yield Ask(x, s)
        x = clean + t * noise(i, 0) if t > 0 else clean
        yield Step(i, t, x, clean)


def tcd(
    x: mx.array,
    sigmas: Sequence[float],
    noise: Noise,
    eta: float = 0.3,
    schedule: NoiseSchedule = NoiseSchedule(),  # noqa: B008  frozen
) -> Sampler:
    """Strategic stochastic sampling, Zheng et al. 2024 (2402.19159), algorithm 4; their gamma is eta here.

    Each step goes along the ODE to the level of train time floor((1 - eta) t'), t' being that of the next level, and
    up to there with fresh noise. Raises ValueError for an eta outside [0, 1].
    """
    if not 0 <= eta <= 1:
        raise ValueError(f"eta is {eta}: with tcd it must be from 0 to 1")
    return _tcd(x, sigmas, noise, eta, schedule)


def _tcd(x: mx.array, sigmas: Sequence[float], noise: Noise, eta: float, schedule: NoiseSchedule) -> Sampler:
    for i, (s, t) in enumerate(pairwise(sigmas)):
        clean = yield Ask(x, s)
        if t > 0 and eta > 0:
            down = schedule.sigma(math.floor((1 - eta) * schedule.t(t) + 1e-6))
            down = min(down, t)
            x = towards(x, clean, s, down) + math.sqrt(t**2 - down**2) * noise(i, 0)
        else:
            x = towards(x, clean, s, t)
        yield Step(i, t, x, clean)


def restart(
    x: mx.array,
    sigmas: Sequence[float],
    noise: Noise,
    s_noise: float = 1.0,
    low: float = 0.1,
    high: float = 2.0,
    steps: int = 9,
    times: int = 1,
    nearest: Nearest | None = None,
) -> Sampler:
    """Restart sampling, Xu et al. 2023 (2306.14878), algorithm 1, with Heun steps.

    Once at the level nearest to `low`, it adds noise back up to `high` and walks down again, `times` times, in `steps`
    steps of Karras's spacing (rounded to trained levels by `nearest`): the noise undoes errors that a walk along the
    ODE would keep. It never goes above the level that the run starts from.
    """
    turn = min(sigmas[1:-1], key=lambda s: abs(s - low), default=math.nan)  # a walk of one step has no such level
    top = min(high if nearest is None else nearest(high), sigmas[0])
    for i, (s, t) in enumerate(pairwise(sigmas)):
        x, clean = yield from heun_step(x, s, t)
        if t == turn and t < top:
            for k in range(times):
                x = x + math.sqrt(top**2 - t**2) * s_noise * noise(i, k)
                roots = top ** (1 / 7), t ** (1 / 7)
                inner = [(roots[0] + j / steps * (roots[1] - roots[0])) ** 7 for j in range(1, steps)]
                if nearest is not None:
                    inner = [s for s in dict.fromkeys(map(nearest, inner)) if t < s < top]
                for a, b in pairwise((top, *inner, t)):
                    x, clean = yield from heun_step(x, a, b)
        yield Step(i, t, x, clean)
