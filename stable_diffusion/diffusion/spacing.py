"""Which noise levels n steps visit.

A spacing takes `(schedule, n, sigma_max=None, sigma_min=None)` and returns n + 1 floats that fall and end in 0. Given a
sigma_max below the schedule's own, it lays the same n steps from there: that is image-to-image.
"""

import math
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Protocol

from .schedule import NoiseSchedule

Levels = tuple[float, ...]


class Spacing(Protocol):
    """How every entry of SPACINGS is called."""

    def __call__(
        self, schedule: NoiseSchedule, n: int, sigma_max: float | None = None, sigma_min: float | None = None
    ) -> Levels: ...


SPACINGS: dict[str, Spacing] = {}


def _register(rule: Callable[[NoiseSchedule, int, float, float], Iterable[float]]) -> Spacing:
    """Give a rule its defaults, its checks and the final 0, and a name on the command line."""

    def spacing(
        schedule: NoiseSchedule, n: int, sigma_max: float | None = None, sigma_min: float | None = None
    ) -> Levels:
        if n < 1:
            raise ValueError(f"{n} steps: at least 1 is needed")
        top = schedule.sigma_max if sigma_max is None else sigma_max
        bottom = schedule.sigma_min if sigma_min is None else sigma_min
        if not (top > 0 and bottom > 0):
            raise ValueError(f"noise levels must be above 0, not {top} .. {bottom}")
        if top > bottom:
            levels = (*rule(schedule, n, top, bottom), 0.0)
        else:  # a start at or below the least trained level leaves no room for a rule
            levels = tuple(top * (1 - k / n) for k in range(n + 1))
        assert all(s > t for s, t in pairwise(levels)), (rule.__name__, n, top, bottom)
        return levels

    spacing.__name__ = rule.__name__
    spacing.__doc__ = rule.__doc__
    SPACINGS[rule.__name__] = spacing
    return spacing


def _at_times(schedule: NoiseSchedule, top: float, count: float, n: int, times: Iterable[float]) -> list[float]:
    """The levels at train times: whole ones, as nets were trained, where there are as many as steps.

    The start stays exactly where it was asked for: strength is continuous.
    """
    whole = count >= n
    levels = [schedule.sigma(round(t) if whole else t) for t in times]
    return [top, *levels[1:]]


@_register
def trailing(schedule: NoiseSchedule, n: int, top: float, bottom: float) -> list[float]:
    """Equal steps in time from the top, whole times: t = round(T - k T / n) - 1 (Lin et al. 2023, table 2)."""
    count = _count(schedule, top)
    if count < n:  # more steps than train times: fractional times, down to the least level
        return _at_times(schedule, top, count, n, ((count - 1) * (1 - k / n) for k in range(n)))
    width = (count - count / n) - count  # in numpy.arange's arithmetic: where two times are as near, its choice
    return _at_times(schedule, top, count, n, (round(count + k * width) - 1 for k in range(n)))


@_register
def leading(schedule: NoiseSchedule, n: int, top: float, bottom: float) -> list[float]:
    """Equal steps in time up from the bottom: t = k * floor(T / n) + 1. SD 1.x's own rule; it never visits the top."""
    count = _count(schedule, top)
    step = count // n or (count - 1) / n
    offset = 1 if (n - 1) * step + 1 <= count - 1 else 0  # SD's steps_offset, where it stays on the schedule
    return [schedule.sigma(k * step + offset) for k in reversed(range(n))]


@_register
def linspace(schedule: NoiseSchedule, n: int, top: float, bottom: float) -> list[float]:
    """Equal steps in time from the top to the very bottom, whole times (Lin et al. 2023, table 2; diffusers' DDIM).

    diffusers' Euler and Heun leave the times fractional and interpolate sigma, not its logarithm, between them.
    """
    count = _count(schedule, top)
    width = (count - 1) / max(n - 1, 1)
    return _at_times(schedule, top, count, n, (k * width for k in reversed(range(n))))


@_register
def karras(schedule: NoiseSchedule, n: int, top: float, bottom: float) -> list[float]:
    """Equal steps in sigma^(1/7), from sigma_max to sigma_min (Karras et al. 2022, equation 5)."""
    high, low = top ** (1 / 7), bottom ** (1 / 7)
    return [top, *((high + k / (n - 1) * (low - high)) ** 7 for k in range(1, n))]


@_register
def exponential(schedule: NoiseSchedule, n: int, top: float, bottom: float) -> list[float]:
    """Equal steps in log sigma, from sigma_max to sigma_min."""
    return [top, *(top * math.exp(k / (n - 1) * math.log(bottom / top)) for k in range(1, n))]


def _count(schedule: NoiseSchedule, top: float) -> float:
    """How many train times there are from the least level up to this one: 1 .. num_train_steps, perhaps fractional."""
    return schedule.t(top) + 1
