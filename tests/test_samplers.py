import inspect
import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from stable_diffusion import SAMPLERS, SPACINGS
from stable_diffusion.diffusion.denoiser import Denoiser
from stable_diffusion.diffusion.noise import StepNoise
from stable_diffusion.diffusion.samplers import sampler_named
from stable_diffusion.diffusion.schedule import NoiseSchedule
from stable_diffusion.diffusion.walk import walk
from tests.oracles import constant_noise, gaussian, gaussian_end, largest_difference, no_noise
from tests.plans import plan_of

SCHEDULE = NoiseSchedule()
# Deterministic samplers and the least order of the whole walk: lms, deis and unipc begin with a step of order 1, whose
# error of second order stays. Their own rules are tested below.
DETERMINISTIC = {"ddim": 1, "deis": 2, "dpm2": 2, "dpmpp_2m": 2, "euler": 1, "heun": 2, "lms": 2, "unipc": 2}
STOCHASTIC = sorted(SAMPLERS.keys() - DETERMINISTIC.keys())
STRENGTHS = (0.03, 0.3, 0.58, 0.75, 0.999, 1.0)


def last(steps: Iterator) -> mx.array:  # type: ignore[type-arg]
    *_, step = steps
    return step.x


def test_every_sampler_is_either_here_or_stochastic() -> None:
    assert {name for name, method in SAMPLERS.items() if not method.noise} == DETERMINISTIC.keys()


@pytest.mark.parametrize("mode", ["level", "skip", "full"])
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_true_noise_gives_the_picture_back(sampler: str, spacing: str, mode: str) -> None:
    """Noise once: the sigma that noises is the sigma that the first step starts from."""
    x0, n = mx.array([0.7, -0.2, 0.0, 1.4]), mx.array([-1.3, 0.4, 2.5, 0.1])
    for strength in STRENGTHS:
        plan = plan_of(SCHEDULE, spacing, 12, strength, mode)
        start = x0 + plan.start_sigma * n
        if "eta" in SAMPLERS[sampler].takes or sampler in DETERMINISTIC:
            options = {"eta": 0.0} if sampler in STOCHASTIC else {}
            end = last(walk(constant_noise(n), SAMPLERS[sampler](start, plan.sigmas, no_noise, **options)))
        else:  # with fresh noise there is no single true one; that these keep its amount is tested below
            end = last(
                walk(lambda x, sigma: x0[None], SAMPLERS[sampler](start[None], plan.sigmas, StepNoise([1], (4,))))
            )[0]
        assert largest_difference(end, x0) < 1e-5, strength


@pytest.mark.parametrize("sampler", STOCHASTIC)
def test_at_every_step_there_is_as_much_noise_as_the_level_says(sampler: str) -> None:
    """With a perfect estimate, (x - x0) / sigma stays N(0, 1): nothing is added too much, and nothing too little."""
    N = 20_000
    x0, n = mx.linspace(-1, 1, N)[None], mx.random.normal((1, N), key=mx.random.key(2))
    sigmas = SPACINGS["karras"](SCHEDULE, 12)
    steps = list(walk(lambda x, sigma: x0, SAMPLERS[sampler](x0 + sigmas[0] * n, sigmas, StepNoise([1], (N,)))))
    for step in steps[:-1]:
        noise = np.array((step.x - x0) / step.sigma)
        assert noise.mean() == pytest.approx(0, abs=0.03), step.index
        assert noise.std() == pytest.approx(1, abs=0.03), step.index


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_one_step_lands_on_the_estimate(sampler: str) -> None:
    x = mx.array([3.0, -8.0])
    (step,) = walk(gaussian(0.3, 0.5), SAMPLERS[sampler](x, (7.0, 0.0), no_noise))
    assert largest_difference(step.x, gaussian(0.3, 0.5)(x, 7.0)) < 1e-6
    assert (step.index, step.sigma) == (0, 0.0)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_steps_say_where_they_are(sampler: str) -> None:
    sigmas = SPACINGS["karras"](SCHEDULE, 5)
    noise = StepNoise([0], (2,))
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
    assert order - 0.15 < observed < (3 if sampler == "deis" else order + 0.15), observed


def test_lms_is_exact_for_directions_that_are_cubic_in_sigma() -> None:
    """Once it has four directions: the fourth-order Adams-Bashforth rule, on uneven levels."""
    sigmas = [9.0, 7.5, 6.8, 5.0, 4.6, 2.0, 1.5, 0.3, 0.0]
    cubic, integral = np.poly1d([0.3, -1.0, 0.5, 2.0]), np.poly1d([0.3, -1.0, 0.5, 2.0]).integ()
    walker = SAMPLERS["lms"](Float64(1.0), sigmas, no_noise)  # type: ignore[arg-type]
    steps = list(walk(lambda x, sigma: x - sigma * float(cubic(sigma)), walker))
    for before, after in list(pairwise(steps))[2:]:
        moved = after.x.value - before.x.value  # type: ignore[attr-defined]
        assert moved == pytest.approx(float(integral(after.sigma) - integral(before.sigma)), rel=1e-12)


def test_deis_is_exact_for_directions_that_are_quadratic_in_log_sigma() -> None:
    sigmas = [9.0 * 0.8**k for k in range(16)]
    quadratic = np.poly1d([0.3, -1.0, 2.0])

    def integral(sigma: float) -> float:  # of the quadratic in u = log sigma, times e^u
        u = math.log(sigma)
        return float(quadratic(u) - quadratic.deriv()(u) + quadratic.deriv(2)(u)) * sigma

    walker = SAMPLERS["deis"](Float64(1.0), sigmas, no_noise)  # type: ignore[arg-type]
    denoise = lambda x, sigma: x - sigma * float(quadratic(math.log(sigma)))  # noqa: E731
    steps = list(walk(denoise, walker))
    for before, after in list(pairwise(steps))[1:]:
        moved = after.x.value - before.x.value  # type: ignore[attr-defined]
        assert moved == pytest.approx(integral(after.sigma) - integral(before.sigma), rel=1e-11)


# lcm and tcd are not among them: their steps stay large, however many they are, and are exact for distilled nets only.
@pytest.mark.parametrize("sampler", [*sorted(set(STOCHASTIC) - {"lcm", "tcd"}), "ddim", "dpm2", "euler", "heun"])
def test_stochastic_samplers_keep_the_exact_gaussian(sampler: str) -> None:
    """Mean and variance of many walks that start from the marginal at the top and end at the data's."""
    mean, std, N, steps = 0.4, 0.8, 20_000, 300 if SAMPLERS[sampler].order == 1 else 40
    options = {"s_churn": 10.0} if not SAMPLERS[sampler].noise else {}
    options = {"eta": 1.0} if sampler == "ddim" else options
    sigmas = SPACINGS["karras"](SCHEDULE, steps)
    n = mx.random.normal((N,), key=mx.random.key(3))
    start = mean + math.sqrt(std**2 + sigmas[0] ** 2) * n
    noise = StepNoise([5], (N,))
    end = np.array(last(walk(gaussian(mean, std), SAMPLERS[sampler](start[None], sigmas, noise, **options))))
    assert end.mean() == pytest.approx(mean, abs=4 * std / N**0.5)
    assert end.std() == pytest.approx(std, rel=0.03)


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


def known_by_time(x: Float64, sigma: float) -> Float64:
    """The estimate of a net that predicts the noise exactly for x0 ~ N(0, .5^2), and knows only the time."""
    s = SCHEDULE.sigma(SCHEDULE.t(sigma))
    return x - x * (sigma * s * math.sqrt(1 + s**2) / (0.25 + s**2) / math.sqrt(1 + sigma**2))


DRAWS: list[Any] = [Float64(z) for z in (0.9, -1.1, 0.4, 1.3, -0.7, 0.2, -0.5)]


@pytest.mark.parametrize(("sampler", "s_churn"), KARRAS_2022)
def test_churn_is_algorithm_2_of_karras(sampler: str, s_churn: float) -> None:
    sigmas = SPACINGS["karras"](SCHEDULE, 7)
    walker = SAMPLERS[sampler](Float64(sigmas[0]), sigmas, lambda i, k: DRAWS[i], s_churn=s_churn)  # type: ignore[arg-type]
    end: Any = last(walk(known_by_time, walker))  # type: ignore[arg-type]
    assert end.value == pytest.approx(KARRAS_2022[sampler, s_churn], rel=1e-8)


# The same with levels and sigma-hat rounded to the trained grid (Karras et al. 2022, C.3.4; NVlabs/edm): mode D.
ROUNDED = {("euler", 0): 0.3778958064, ("heun", 0): 0.5828496855, ("euler", 1): 0.2587032430,
           ("heun", 1): 0.4750556738, ("euler", 1e9): 0.1358546047, ("heun", 1e9): 0.3840592106}  # fmt: skip

# And with nothing rounded but the time that the net is told: mode B.
TOLD = {("euler", 0): 0.3775156330, ("heun", 0): 0.5827966987, ("euler", 1): 0.3188552625,
        ("heun", 1): 0.5896705759, ("euler", 1e9): 0.1676773903, ("heun", 1e9): 0.4621187929}  # fmt: skip


@pytest.mark.parametrize(("sampler", "s_churn"), ROUNDED)
def test_rounded_levels_are_those_of_karras(sampler: str, s_churn: float) -> None:
    sigmas = plan_of(SCHEDULE, "karras", 7, discretize="schedule").sigmas
    walker = SAMPLERS[sampler](
        Float64(sigmas[0]),  # type: ignore[arg-type]
        sigmas,
        lambda i, k: DRAWS[i],
        s_churn=s_churn,
        nearest=SCHEDULE.nearest,
    )
    end: Any = last(walk(known_by_time, walker))  # type: ignore[arg-type]
    assert end.value == pytest.approx(ROUNDED[sampler, s_churn], rel=1e-8)


@pytest.mark.parametrize(("sampler", "s_churn"), TOLD)
def test_the_time_that_the_net_is_told_can_be_rounded_alone(sampler: str, s_churn: float) -> None:
    def net(x: mx.array, t: mx.array) -> mx.array:
        s = SCHEDULE.sigma(t.item())  # type: ignore[arg-type]
        return s * math.sqrt(1 + s**2) / (0.25 + s**2) * x

    sigmas = SPACINGS["karras"](SCHEDULE, 7)
    noise = [mx.array([z.value]) for z in DRAWS]
    walker = SAMPLERS[sampler](mx.array([sigmas[0]]), sigmas, lambda i, k: noise[i], s_churn=s_churn)
    end = last(walk(Denoiser(net, SCHEDULE, whole_times=True), walker))
    assert end.item() == pytest.approx(TOLD[sampler, s_churn], rel=1e-6)


def test_rounded_churn_never_leaves_the_trained_levels() -> None:
    for s_churn in (0.01, 0.5, 1, 2.9, 1e9):
        asked: list[float] = []

        def denoise(x: mx.array, sigma: float, asked: list[float] = asked) -> mx.array:
            asked.append(sigma)
            return x * 0

        sigmas = plan_of(SCHEDULE, "karras", 7, discretize="schedule").sigmas
        noise = StepNoise([0], (2,))
        walker = SAMPLERS["heun"](mx.ones((1, 2)), sigmas, noise, s_churn=s_churn, nearest=SCHEDULE.nearest)
        end = last(walk(denoise, walker))
        assert mx.isfinite(end).all()
        assert set(asked) <= set(SCHEDULE.sigmas)


@pytest.mark.parametrize("sampler", ["dpmpp_sde", "dpmpp_2m_sde", "dpmpp_3m_sde"])
def test_doubling_the_steps_refines_the_same_path(sampler: str) -> None:
    """With one Brownian path, walks of more and more steps come together; with draws by step they do not."""

    class ByStep:
        def __call__(self, i: int, k: int) -> mx.array:
            return StepNoise([7], (400,))(i, k)

    def ends(noise: object) -> list[mx.array]:
        x = StepNoise([1], (400,))(0, 0) * 8
        walks = ([8.0 * (0.25 / 8) ** (k / n) for k in range(n + 1)] for n in (25, 50, 100))
        return [last(walk(gaussian(0, 1), SAMPLERS[sampler](x, levels, noise))) for levels in walks]  # type: ignore[arg-type]

    def apart(a: mx.array, b: mx.array) -> float:
        return mx.abs(a - b).mean().item()  # type: ignore[return-value]

    coarse, fine, finer = ends(StepNoise([7], (400,)))
    assert apart(fine, finer) < 0.75 * apart(coarse, fine) < 0.1
    coarse, fine, finer = ends(ByStep())
    assert apart(fine, finer) > 0.3


def test_restart_goes_back_up_once_and_never_above_the_start() -> None:
    for start in (14.6, 1.0):
        sigmas = SPACINGS["karras"](SCHEDULE, 12, start)
        asked: list[float] = []

        def denoise(x: mx.array, sigma: float, asked: list[float] = asked) -> mx.array:
            asked.append(sigma)
            return x * 0

        steps = list(walk(denoise, SAMPLERS["restart"](mx.ones((1, 2)), sigmas, StepNoise([0], (2,)))))
        assert [step.sigma for step in steps] == list(sigmas[1:])
        assert asked.count(min(2.0, start)) == (1 if start > 2 else 2)
        assert max(asked) == start


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


def test_a_methods_own_options_are_written_behind_its_name() -> None:
    x, sigmas = mx.array([5.0, -2.0]), SPACINGS["karras"](SCHEDULE, 8)
    by_name = last(walk(gaussian(0.3, 0.5), sampler_named("unipc:order=3,variant=bh1")(x, sigmas, no_noise)))
    by_hand = last(walk(gaussian(0.3, 0.5), SAMPLERS["unipc"](x, sigmas, no_noise, order=3, variant="bh1")))
    plain = last(walk(gaussian(0.3, 0.5), SAMPLERS["unipc"](x, sigmas, no_noise)))
    assert mx.array_equal(by_name, by_hand)
    assert largest_difference(by_name, plain) > 1e-6
    for text, word in (
        ("unipc:order=0", "order: 0 is not from 1 to 100"), ("unipc:variant=bh3", "bh1 or bh2"),
        ("euler:order=2", "has none"),
        ("unipc:order", "no value"), ("eulr", "did you mean"), ("restart:low=-1", "low: -1 is not from 0.0001"),
        ("lms:order=2.5", "whole"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=word):
            sampler_named(text)


@pytest.mark.parametrize("name", SAMPLERS)
def test_what_a_method_is_declared_to_take_is_what_its_function_takes(name: str) -> None:
    method = SAMPLERS[name]
    parameters = set(list(inspect.signature(method.make).parameters)[3:]) - {"solver"}  # which tells two samplers apart
    assert parameters == method.takes | method.options.keys()
    assert not method.takes & method.options.keys()
