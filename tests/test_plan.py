import mlx.core as mx
import pytest

from stable_diffusion import SAMPLERS
from stable_diffusion.diffusion.schedule import NoiseSchedule
from stable_diffusion.diffusion.spacing import SPACINGS
from stable_diffusion.diffusion.walk import walk
from tests.plans import plan_of

SCHEDULE = NoiseSchedule()
STRENGTHS = (0.05, 0.3, 0.5, 0.7, 0.75, 0.99, 1.0)

# Shared reference, section 1.1: what diffusers' Euler runs, but for a first step that it drops below 1.
STEPS_RUN = {10: (1, 3, 5, 7, 7, 9, 10), 20: (1, 6, 10, 14, 15, 19, 20), 50: (2, 15, 25, 35, 37, 49, 50)}


@pytest.mark.parametrize("steps", STEPS_RUN)
@pytest.mark.parametrize("mode", ["level", "skip"])
def test_steps_run_are_the_floor_of_steps_times_strength_but_at_least_one(steps: int, mode: str) -> None:
    plans = [plan_of(SCHEDULE, "trailing", steps, strength, mode) for strength in STRENGTHS]
    assert tuple(plan.steps_run for plan in plans) == STEPS_RUN[steps]


@pytest.mark.parametrize(
    ("steps", "strength", "run"), [(50, 0.58, 29), (90, 0.7, 63), (100, 0.29, 29), (49, 1 / 49, 1)]
)
def test_floating_point_does_not_eat_a_step(steps: int, strength: float, run: int) -> None:
    assert plan_of(SCHEDULE, "trailing", steps, strength).steps_run == run


def test_level_starts_at_the_level_of_the_strengths_time() -> None:
    for spacing in SPACINGS.keys() - {"leading", "ddim_uniform"}:
        for strength in STRENGTHS:
            plan = plan_of(SCHEDULE, spacing, 20, strength)
            # Align Your Steps' own table begins with the highest level, rounded.
            exact = 3e-5 if spacing.startswith("align") and strength == 1 else 0
            wanted = SCHEDULE.sigma(strength * 1000 - 1)
            assert plan.start_sigma == pytest.approx(wanted, rel=exact), (spacing, strength)
            assert plan.strength == pytest.approx(strength, abs=1e-9)


def test_strength_is_continuous_up_to_one() -> None:
    for spacing in SPACINGS.keys() - {"leading", "ddim_uniform"}:
        almost, full = (plan_of(SCHEDULE, spacing, 50, s, "full") for s in (1 - 1e-9, 1.0))
        assert almost.start_sigma == pytest.approx(full.start_sigma, rel=3e-5)
        assert full.sigmas == SPACINGS[spacing](SCHEDULE, 50)


def test_skip_runs_the_last_of_all_levels() -> None:
    whole = SPACINGS["karras"](SCHEDULE, 20)
    plan = plan_of(SCHEDULE, "karras", 20, 0.5, "skip")
    assert plan.sigmas == whole[10:]
    assert plan.strength == pytest.approx((SCHEDULE.t(whole[10]) + 1) / 1000)
    assert plan.strength != pytest.approx(0.5, abs=0.05)  # quantised: the plan says what it truly is


@pytest.mark.parametrize("strength", [0.001, 0.04, 0.3, 1.0])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_full_runs_all_steps_from_there(spacing: str, strength: float) -> None:
    assert plan_of(SCHEDULE, spacing, 50, strength, "full").steps_run == 50


@pytest.mark.parametrize("mode", ["level", "skip", "full"])
def test_strength_zero_runs_nothing(mode: str) -> None:
    plan = plan_of(SCHEDULE, "trailing", 20, 0.0, mode, image_weight=1.0)
    assert (plan.sigmas, plan.times, plan.steps_run, plan.start_sigma) == ((0.0,), (), 0, 0.0)
    assert plan.image_left == 1.0
    assert plan.calls("heun") == 0
    assert "comes back as it is" in str(plan)


def test_start_step_leaves_out_the_first_steps() -> None:
    whole = SPACINGS["karras"](SCHEDULE, 8)
    for k in range(9):
        assert plan_of(SCHEDULE, "karras", 8, start_step=k).sigmas == whole[k:]


def test_at_strength_one_a_little_of_the_image_is_left() -> None:
    plan = plan_of(SCHEDULE, "trailing", 20, 1.0, image_weight=1.0)
    assert plan.image_left == pytest.approx(0.0682649, abs=1e-7)
    assert plan_of(SCHEDULE, "trailing", 20, 1.0, image_weight=0.0).image_left == 0


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("strength", [0.0, 0.1, 0.55, 1.0])
def test_the_count_of_calls_is_the_count_that_happens(sampler: str, strength: float) -> None:
    plan, happened = plan_of(SCHEDULE, "karras", 11, strength), 0

    def denoise(x: mx.array, sigma: float) -> mx.array:
        nonlocal happened
        happened += 1
        return x * 0.5

    list(walk(denoise, SAMPLERS[sampler](mx.ones((2,)), plan.sigmas, lambda i, k: mx.ones((2,)))))
    assert plan.calls(sampler) == happened
    n = plan.steps_run
    if n > 1:
        assert happened == {"n": n, "2n - 1": 2 * n - 1, "2n + 17": 2 * n + 17}[SAMPLERS[sampler].calls]
    else:
        assert happened == n


def test_a_plan_reads_in_one_line() -> None:
    plan = plan_of(SCHEDULE, "trailing", 20, 0.75, image_weight=1.0)
    assert str(plan) == "15 of 20 steps from sigma 4.0817 (time 749.0), 23.8% of the image left, as strength 0.75"
    assert str(plan_of(SCHEDULE, "trailing", 20)) == "20 of 20 steps from sigma 14.6146 (time 999.0)"
    assert str(plan_of(SCHEDULE, "trailing", 4, 0.5, image_weight=0.0)).endswith("from noise alone")


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ({"strength": 1.01}, "1.01"),
        ({"strength": -0.1}, "-0.1"),
        ({"start_step": 21}, "21"),
        ({"start_step": -1}, "-1"),
        ({"strength": 0.5, "start_step": 3}, "leave it out where strength is given"),
        ({"strength": 0.5, "strength_mode": "half"}, "half"),
        ({"spacing": "karas"}, "karas"),
    ],
)
def test_what_cannot_be_planned_is_an_error_that_says_why(more: dict[str, object], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        plan_of(SCHEDULE, **more)  # type: ignore[arg-type]
