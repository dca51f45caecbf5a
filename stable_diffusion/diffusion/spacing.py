"""Which noise levels n steps visit.

A spacing takes `(schedule, n, sigma_max=None, sigma_min=None)` and returns n + 1 floats that fall and end in 0. Given
a sigma_max below the schedule's own, it lays the same n steps from there: that is image-to-image. Some take options,
which may also be written behind the name: "karras:rho=5,sigma_min=0.1".
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from ..values import Kind, number
from .incomplete_beta import beta_quantile
from .registry import chosen
from .schedule import NoiseSchedule

Levels = tuple[float, ...]
Lay = Callable[..., Levels]  # as a spacing is called


@dataclass(frozen=True)
class Spacing:
    """A rule, with its defaults, its checks and the final 0."""

    rule: Callable[..., Iterable[float]]
    options: Mapping[str, Kind]

    def __call__(
        self,
        schedule: NoiseSchedule,
        n: int,
        sigma_max: float | None = None,
        sigma_min: float | None = None,
        **options: float,
    ) -> Levels:
        """The levels of n steps. Raises ValueError for what cannot be laid."""
        if n < 1:
            raise ValueError(f"{n} steps: at least 1 is needed")
        top = schedule.sigma_max if sigma_max is None else sigma_max
        bottom = schedule.sigma_min if sigma_min is None else sigma_min
        if not (0 < top < math.inf and 0 < bottom < math.inf):
            raise ValueError(f"noise levels must be above 0 and finite, not {top:g} and {bottom:g}")
        if sigma_min is not None and bottom >= top:
            raise ValueError(f"sigma_min is {bottom:g}: it must be below the start, which is {top:g}")
        # A start at or below the least level leaves no room for a rule.
        levels = (*self.rule(schedule, n, top, bottom, **options), 0.0) if top > bottom else _evenly(top, n)
        if not all(s > t for s, t in pairwise(levels)):
            name = self.rule.__name__
            raise ValueError(f"the levels of {n} {name} steps from {top:g} do not fall: choose other options")
        return levels

    @property
    def about(self) -> str:
        """What it does, in one line."""
        return (self.rule.__doc__ or "").splitlines()[0]


SPACINGS: dict[str, Spacing] = {}
FOR_ALL = {"sigma_min": number(1e-6, 1e6), "discard": number(0, 1)}  # the options that every spacing has
RHO = number(0.1, 100)
SHAPE = number(0.05, 100)


def spacing_named(text: str) -> Lay:
    """The spacing of a name, or of a name and options, "name:option=number,...".

    Every spacing has the options sigma_min, the lowest level above 0, and discard=1, which lays one level more and
    leaves out the last but one (A1111's "discard penultimate sigma"). Raises ValueError for what is unknown.
    """
    spacing, options = chosen("spacing", text, SPACINGS)
    discard = options.pop("discard", 0.0) >= 0.5
    lay = partial(spacing, **options)
    return partial(_discarding, lay) if discard else lay


def _discarding(lay: Lay, schedule: NoiseSchedule, n: int, sigma_max: float | None = None, **options: float) -> Levels:
    levels = lay(schedule, n + 1, sigma_max, **options)
    return (*levels[:-2], 0.0)


def by_hand(levels: Sequence[float]) -> Levels:
    """Levels that somebody chose, as a spacing's: falling, with the final 0 if it is not there.

    Raises ValueError for levels that rise, repeat or are negative.
    """
    levels = tuple(float(s) for s in levels)
    levels = levels if levels and levels[-1] == 0 else (*levels, 0.0)
    if len(levels) < 2:
        raise ValueError("the noise levels are empty: give at least one above 0")
    for s, t in pairwise(levels):
        if not math.isfinite(s) or t < 0 or not s > t:
            raise ValueError(f"the noise levels go from {s:g} to {t:g}: they must fall, and stay above 0 until the end")
    return levels


def _evenly(top: float, n: int) -> Levels:
    return tuple(top * (1 - k / n) for k in range(n + 1))


def _register(**options: Kind) -> Callable[[Callable[..., Iterable[float]]], Spacing]:
    """Make a spacing of a rule, and give it a name on the command line; options: its own, by name."""

    def register(rule: Callable[..., Iterable[float]]) -> Spacing:
        SPACINGS[rule.__name__] = Spacing(rule, {**FOR_ALL, **options})
        return SPACINGS[rule.__name__]

    return register


def _count(schedule: NoiseSchedule, top: float) -> float:
    """How many train times there are from the least level up to this one: 1 .. num_train_steps, perhaps fractional."""
    return schedule.t(top) + 1


def _at_times(schedule: NoiseSchedule, top: float, bottom: float, times: Sequence[float], whole: bool = True) -> Levels:
    """The levels at train times, none below bottom: at whole ones, as nets were trained, unless that repeats one.

    The start stays exactly where it was asked for: strength is continuous.
    """
    rounded = [round(t) for t in times[1:]]
    if whole and all(a > b for a, b in pairwise([times[0], *rounded])):
        times = [times[0], *rounded]
    lowest = schedule.t(bottom) if bottom > schedule.sigma_min else 0.0
    if lowest > 0:  # the same times, squeezed into what is left
        last = times[-1]
        times = (
            [lowest + (t - last) * (times[0] - lowest) / (times[0] - last) for t in times] if len(times) > 1 else times
        )
    return (top, *(schedule.sigma(t) for t in times[1:]))


@_register()
def trailing(schedule: NoiseSchedule, n: int, top: float, bottom: float) -> Levels:
    """Equal steps in time from the top, whole times: t = round(T - k T / n) - 1 (Lin et al. 2023, table 2)."""
    count = _count(schedule, top)
    if count < n:  # more steps than train times: down to the least level, which stays above 0
        return _at_times(schedule, top, bottom, [(count - 1) * (1 - k / n) for k in range(n)])
    width = (count - count / n) - count  # in numpy.arange's arithmetic: where two times are as near, its choice
    return _at_times(schedule, top, bottom, [count - 1, *(round(count + k * width) - 1 for k in range(1, n))])


@_register()
def leading(schedule: NoiseSchedule, n: int, top: float, bottom: float) -> Levels:
    """Equal steps in time up from the bottom: t = k * floor(T / n) + 1. SD 1.x's own rule; it never visits the top."""
    count = _count(schedule, top)
    step = count // n or (count - 1) / n
    offset = 1 if (n - 1) * step + 1 <= count - 1 else 0  # SD's steps_offset, where it stays on the schedule
    times = [k * step + offset for k in reversed(range(n))]
    return _at_times(schedule, schedule.sigma(times[0]), bottom, times)


@_register()
def linspace(schedule: NoiseSchedule, n: int, top: float, bottom: float) -> Levels:
    """Equal steps in time from the top to the very bottom, whole times (Lin et al. 2023, table 2; diffusers' DDIM).

    diffusers' Euler and Heun leave the times fractional and interpolate sigma, not its logarithm, between them.
    """
    last = _count(schedule, top) - 1
    width = last / max(n - 1, 1)
    return _at_times(schedule, top, bottom, [last, *(k * width for k in reversed(range(n - 1)))])


@_register()
def uniform(schedule: NoiseSchedule, n: int, top: float, bottom: float) -> Levels:
    """Equal steps in time from the top to the very bottom, fractional times: k-diffusion's, A1111's "normal"."""
    last = _count(schedule, top) - 1
    return _at_times(schedule, top, bottom, [last, *(last * (1 - k / (n - 1)) for k in range(1, n))], whole=False)


@_register()
def sgm_uniform(schedule: NoiseSchedule, n: int, top: float, bottom: float) -> Levels:
    """Equal steps in time from the top, fractional times, the last level left out: Stability's generative-models."""
    last = _count(schedule, top) - 1
    return _at_times(schedule, top, bottom, [last * (1 - k / n) for k in range(n)], whole=False)


@_register()
def ddim_uniform(schedule: NoiseSchedule, n: int, top: float, bottom: float) -> Levels:
    """Every T / n-th time from 1, rounded down: ComfyUI's "ddim_uniform", which never visits the top.

    ComfyUI's own gives a step more than asked where T is no multiple of n; this gives n.
    """
    count = _count(schedule, top)
    times = [min(1 + k * count / n, count - 1) for k in reversed(range(n))]
    whole: list[float] = [math.floor(t) for t in times]
    if any(a <= b for a, b in pairwise(whole)):
        whole = [(k + 1) * (count - 1) / n for k in reversed(range(n))]
    return _at_times(schedule, schedule.sigma(whole[0]), bottom, whole, whole=False)


@_register()
def lcm(schedule: NoiseSchedule, n: int, top: float, bottom: float) -> Levels:
    """Some of the 50 times that latent consistency models were distilled at (Luo et al. 2023; as diffusers chooses).

    More steps than there are such times below the start are laid as `trailing` lays them.
    """
    width = schedule.num_train_steps / 50
    grid = [width * (k + 1) - 1 for k in range(50) if width * (k + 1) - 1 <= schedule.t(top) + 1e-6][::-1]
    if n > len(grid):
        return SPACINGS["trailing"](schedule, n, top, bottom)[:-1]
    return _at_times(schedule, top, bottom, [schedule.t(top), *(grid[k * len(grid) // n] for k in range(1, n))])


@_register(rho=RHO)
def karras(schedule: NoiseSchedule, n: int, top: float, bottom: float, rho: float = 7.0) -> Levels:
    """Equal steps in sigma^(1 / rho), from sigma_max to sigma_min (Karras et al. 2022, equation 5)."""
    high, low = top ** (1 / rho), bottom ** (1 / rho)
    return (top, *((high + k / (n - 1) * (low - high)) ** rho for k in range(1, n)))


@_register()
def exponential(schedule: NoiseSchedule, n: int, top: float, bottom: float) -> Levels:
    """Equal steps in log sigma, from sigma_max to sigma_min."""
    return (top, *(top * math.exp(k / (n - 1) * math.log(bottom / top)) for k in range(1, n)))


@_register(rho=RHO)
def polyexponential(schedule: NoiseSchedule, n: int, top: float, bottom: float, rho: float = 1.0) -> Levels:
    """log sigma falls as a polynomial of order rho, from sigma_max to sigma_min (k-diffusion); rho 1 is exponential."""
    return (top, *(bottom * math.exp((1 - k / (n - 1)) ** rho * math.log(top / bottom)) for k in range(1, n)))


@_register()
def kl_optimal(schedule: NoiseSchedule, n: int, top: float, bottom: float) -> Levels:
    """Equal steps in arctan sigma (Sabour et al. 2024, 2404.14507, the closed form for a Gaussian)."""
    high, low = math.atan(top), math.atan(bottom)
    return (top, *(math.tan(high + k / (n - 1) * (low - high)) for k in range(1, n)))


@_register(alpha=SHAPE, beta=SHAPE)
def beta(schedule: NoiseSchedule, n: int, top: float, bottom: float, alpha: float = 0.6, beta: float = 0.6) -> Levels:
    """Times at the quantiles of a beta distribution, more of them at both ends (Lee et al. 2024, 2407.12173).

    As in ComfyUI; A1111 and diffusers take the quantiles of sigma instead of time, which is another thing.
    """
    last = _count(schedule, top) - 1
    return _at_times(
        schedule, top, bottom, [last, *(last * beta_quantile(1 - k / n, alpha, beta) for k in range(1, n))]
    )


def _tabled(schedule: NoiseSchedule, table: Sequence[float], top: float, bottom: float, n: int) -> Levels:
    """n levels, evenly along a table whose logarithm is linear in between, from the place where it is at top."""
    logs = [math.log(s) for s in table]

    def at(u: float) -> float:
        i = min(int(u), len(logs) - 2)
        return math.exp(logs[i] + (u - i) * (logs[i + 1] - logs[i]))

    def place(sigma: float) -> float:
        i = next((i for i, s in enumerate(table[1:]) if s <= sigma), len(table) - 2)
        return min(max(i + (math.log(sigma) - logs[i]) / (logs[i + 1] - logs[i]), 0.0), len(table) - 1.0)

    if top <= table[-1]:
        return _evenly(top, n)[:-1]
    start, end = place(top), place(bottom) if bottom > schedule.sigma_min else len(table) - 1.0
    if math.isclose(top, table[0], rel_tol=1e-4):  # it is the highest trained level, rounded
        start, top = 0.0, table[0]
    return (top, *(at(start + k / (n - 1) * (end - start)) for k in range(1, n)))


@_register()
def align_your_steps(schedule: NoiseSchedule, n: int, top: float, bottom: float) -> Levels:
    """The levels that Sabour et al. 2024 (2404.14507) optimised for Stable Diffusion 1.5."""
    return _tabled(
        schedule, (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029), top, bottom, n
    )


@_register()
def align_your_steps_xl(schedule: NoiseSchedule, n: int, top: float, bottom: float) -> Levels:
    """The levels that Sabour et al. 2024 (2404.14507) optimised for Stable Diffusion XL."""
    return _tabled(
        schedule, (14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029), top, bottom, n
    )
