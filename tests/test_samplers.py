import math
from collections.abc import Iterator
from itertools import pairwise

import mlx.core as mx
import numpy as np
import pytest

from stable_diffusion import SAMPLERS, SPACINGS
from stable_diffusion.diffusion.noise import step_noise
from stable_diffusion.diffusion.plan import make_plan
from stable_diffusion.diffusion.samplers import options_of
from stable_diffusion.diffusion.schedule import NoiseSchedule
from stable_diffusion.diffusion.walk import walk
from tests.oracles import constant_noise, gaussian, gaussian_end, largest_difference, no_noise

SCHEDULE = NoiseSchedule()
DETERMINISTIC = {"euler": 1, "ddim": 1, "heun": 2, "dpmpp_2m": 2, "lms": 2}  # and their orders; lms starts with Euler
STRENGTHS = (0.03, 0.3, 0.58, 0.75, 0.999, 1.0)


def last(steps: Iterator) -> mx.array:  # type: ignore[type-arg]
    *_, step = steps
    return step.x


def test_every_sampler_is_either_here_or_stochastic() -> None:
    assert SAMPLERS.keys() == DETERMINISTIC.keys() | {"euler_a"}


@pytest.mark.parametrize("mode", ["level", "skip", "full"])
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_true_noise_gives_the_picture_back(sampler: str, spacing: str, mode: str) -> None:
    """Noise once: the sigma that noises is the sigma that the first step starts from."""
    x0, n = mx.array([0.7, -0.2, 0.0, 1.4]), mx.array([-1.3, 0.4, 2.5, 0.1])
    for strength in STRENGTHS:
        plan = make_plan(SCHEDULE, spacing, 20, strength, mode)  # type: ignore[arg-type]
        options = {"eta": 0.0} if sampler == "euler_a" else {}  # with fresh noise there is no single true noise
        start = x0 + plan.start_sigma * n
        end = last(walk(constant_noise(n), SAMPLERS[sampler](start, plan.sigmas, no_noise, **options)))
        assert largest_difference(end, x0) < 1e-5, strength


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_one_step_lands_on_the_estimate(sampler: str) -> None:
    x = mx.array([3.0, -8.0])
    (step,) = walk(gaussian(0.3, 0.5), SAMPLERS[sampler](x, (7.0, 0.0), no_noise))
    assert largest_difference(step.x, gaussian(0.3, 0.5)(x, 7.0)) < 1e-6
    assert (step.index, step.sigma) == (0, 0.0)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_steps_say_where_they_are(sampler: str) -> None:
    sigmas = SPACINGS["karras"](SCHEDULE, 5)
    noise = step_noise([0], (2,))
    steps = list(walk(gaussian(0, 1), SAMPLERS[sampler](mx.ones((1, 2)), sigmas, noise)))
    assert [step.index for step in steps] == [0, 1, 2, 3, 4]
    assert [step.sigma for step in steps] == list(sigmas[1:])
    assert all(step.x.shape == step.clean.shape == (1, 2) for step in steps)


class Float64:
    """Just enough of an array, in float64: an order of convergence is not to be seen through float32's rounding."""

    def __init__(self, value: float) -> None:
        self.value = value

    def _with(self, other: object) -> float:
        return other.value if isinstance(other, Float64) else float(other)  # type: ignore[arg-type]

    def __add__(self, other: object) -> "Float64":
        return Float64(self.value + self._with(other))

    def __sub__(self, other: object) -> "Float64":
        return Float64(self.value - self._with(other))

    def __mul__(self, other: object) -> "Float64":
        return Float64(self.value * self._with(other))

    def __truediv__(self, other: object) -> "Float64":
        return Float64(self.value / self._with(other))

    def __rsub__(self, other: float) -> "Float64":
        return Float64(other - self.value)

    __radd__, __rmul__ = __add__, __mul__


@pytest.mark.parametrize(("sampler", "order"), DETERMINISTIC.items())
def test_the_error_falls_with_the_order_of_the_method(sampler: str, order: int) -> None:
    """On a Gaussian, whose ODE has a closed form, from sigma 8 to 0.4 and not into the last step's corner."""
    mean, std, start, end = 0.3, 0.5, 8.0, 0.4
    x = 5.0
    exact = mean + (x - mean) * math.sqrt((std**2 + end**2) / (std**2 + start**2))

    def error(n: int) -> float:
        sigmas = [start * (end / start) ** (k / n) for k in range(n + 1)]
        *_, step = walk(gaussian(mean, std), SAMPLERS[sampler](Float64(x), sigmas, no_noise))  # type: ignore[arg-type]
        return abs(step.x.value - exact)  # type: ignore[attr-defined]

    observed = math.log2(error(640) / error(1280))
    assert observed == pytest.approx(order, abs=0.15), observed


def test_lms_is_exact_for_directions_that_are_cubic_in_sigma() -> None:
    """Once it has four directions: the fourth-order Adams-Bashforth rule, on uneven levels."""
    sigmas = [9.0, 7.5, 6.8, 5.0, 4.6, 2.0, 1.5, 0.3, 0.0]
    cubic, integral = np.poly1d([0.3, -1.0, 0.5, 2.0]), np.poly1d([0.3, -1.0, 0.5, 2.0]).integ()
    walker = SAMPLERS["lms"](Float64(1.0), sigmas, no_noise)  # type: ignore[arg-type]
    steps = list(walk(lambda x, sigma: x - sigma * float(cubic(sigma)), walker))  # type: ignore[arg-type,return-value]
    for before, after in list(pairwise(steps))[2:]:
        moved = after.x.value - before.x.value  # type: ignore[attr-defined]
        assert moved == pytest.approx(float(integral(after.sigma) - integral(before.sigma)), rel=1e-12)


@pytest.mark.parametrize("sampler", ["euler_a", "ddim", "euler", "heun"])
def test_stochastic_samplers_keep_the_exact_gaussian(sampler: str) -> None:
    """Mean and variance of 20,000 walks that start from the marginal at the top and end at the data's."""
    mean, std, N = 0.4, 0.8, 20_000
    options = {"s_churn": 20.0} if sampler in ("euler", "heun") else {"eta": 1.0}
    sigmas = SPACINGS["karras"](SCHEDULE, 400)
    n = mx.random.normal((N,), key=mx.random.key(3))
    start = mean + math.sqrt(std**2 + sigmas[0] ** 2) * n
    noise = step_noise([5], (N,))
    end = np.array(last(walk(gaussian(mean, std), SAMPLERS[sampler](start[None], sigmas, noise, **options))))
    assert end.mean() == pytest.approx(mean, abs=4 * std / N**0.5)
    assert end.std() == pytest.approx(std, rel=0.025)


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_ancestral_noise_is_ddims(eta: float) -> None:
    """One DDIM step by Song et al. 2021, equations 12 and 16, in variance-preserving form."""
    s, t, x, clean, z = 5.0, 3.0, 4.0, 0.5, -0.8
    a, b = 1 / (1 + s**2), 1 / (1 + t**2)  # abar before and after
    sd = eta * math.sqrt((1 - b) / (1 - a)) * math.sqrt(1 - a / b)
    eps = (x * math.sqrt(a) - math.sqrt(a) * clean) / math.sqrt(1 - a)
    wanted = (math.sqrt(b) * clean + math.sqrt(1 - b - sd**2) * eps + sd * z) / math.sqrt(b)
    sampler = SAMPLERS["ddim"](mx.array([x]), (s, t), lambda i, k: mx.array([z]), eta=eta)
    (step,) = walk(lambda x, sigma: mx.array([clean]), sampler)
    assert step.x.item() == pytest.approx(wanted, rel=1e-6)


# Shared reference, section 3.2, mode A (k-diffusion 0.1.1): x0 ~ N(0, .5^2), a net that knows only t, Karras 7 steps.
KARRAS_2022 = {("euler", 0): 0.3777131266, ("heun", 0): 0.5831021672, ("euler", 1): 0.3186503540,
               ("heun", 1): 0.5895021380, ("euler", 1e9): 0.1677240889, ("heun", 1e9): 0.4624352436}  # fmt: skip


@pytest.mark.parametrize(("sampler", "s_churn"), KARRAS_2022)
def test_churn_is_algorithm_2_of_karras(sampler: str, s_churn: float) -> None:
    draws = [0.9, -1.1, 0.4, 1.3, -0.7, 0.2, -0.5]

    def denoise(x: mx.array, sigma: float) -> mx.array:
        s = SCHEDULE.sigma(SCHEDULE.t(sigma))
        return x - sigma * s * math.sqrt(1 + s**2) / (0.25 + s**2) * x / math.sqrt(1 + sigma**2)

    sigmas = SPACINGS["karras"](SCHEDULE, 7)
    walker = SAMPLERS[sampler](mx.array([sigmas[0]]), sigmas, lambda i, k: mx.array([draws[i]]), s_churn=s_churn)
    assert last(walk(denoise, walker)).item() == pytest.approx(KARRAS_2022[sampler, s_churn], rel=2e-6)


def test_churn_stays_within_its_range() -> None:
    sigmas, drawn = SPACINGS["karras"](SCHEDULE, 7), []

    def noise(i: int, k: int) -> mx.array:
        drawn.append(i)
        return mx.zeros((1,))

    list(walk(gaussian(0, 1), SAMPLERS["euler"](mx.ones((1,)), sigmas, noise, s_churn=3, s_tmin=0.4, s_tmax=5)))
    assert drawn == [i for i, s in enumerate(sigmas[:-1]) if 0.4 <= s <= 5]


def test_the_ode_ends_where_the_gaussian_says() -> None:
    x = np.array([20.0, -3.0])
    sigmas = SPACINGS["karras"](SCHEDULE, 100)
    end = last(walk(gaussian(0.3, 0.5), SAMPLERS["heun"](mx.array(x), sigmas, no_noise)))
    assert largest_difference(end, gaussian_end(x, sigmas[0], 0.3, 0.5)) < 2e-3


def test_options_are_those_of_the_signature() -> None:
    assert options_of("euler_a") == {"eta"}
    assert options_of("heun") == {"s_churn", "s_tmin", "s_tmax", "s_noise"}
    assert options_of("dpmpp_2m") == frozenset()
