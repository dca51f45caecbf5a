from itertools import pairwise
from typing import Any

import pytest

from stable_diffusion import SPACINGS
from stable_diffusion.diffusion.schedule import NoiseSchedule
from stable_diffusion.diffusion.spacing import spacing_named
from tests.plans import plan_of

SCHEDULE = NoiseSchedule()
BELOW = {"leading", "ddim_uniform"}  # by their rules these never visit the top

# n = 10, from k-diffusion, diffusers and ComfyUI: shared reference, sections 0 and 2.2.
TEN_STEPS = {
    "karras": "14.614641 9.102928 5.478392 3.168603 1.749417 .914072 .446918 .201398 .081910 .029167 0",
    "exponential": "14.614641 7.324869 3.671230 1.840024 .922221 .462218 .231664 .116110 .058195 .029167 0",
    "linspace": "14.614641 7.839883 4.609174 2.918307 1.950161 1.344928 .932358 .624977 .368658 .029167 0",
    "trailing": "14.614641 8.302803 5.087763 3.321083 2.276463 1.612886 1.160578 .829860 .569285 .341674 0",
    "leading": "8.390685 5.134431 3.347764 2.292854 1.623692 1.168216 .835653 .574050 .346187 .041314 0",
    "ddim_uniform": "8.390685 5.134431 3.347764 2.292854 1.623692 1.168216 .835653 .574050 .346187 .041314 0",
    "uniform": "14.614641 7.839883 4.609174 2.918307 1.950161 1.344928 .932358 .624977 .368658 .029167 0",
    "sgm_uniform": "14.614641 8.307171 5.092408 3.325069 2.279731 1.615580 1.162865 .831884 .571189 .343705 0",
    "beta": "14.614641 11.542770 7.371844 4.372802 2.615236 1.618279 1.027329 .654885 .395510 .199059 0",
    "align_your_steps": "14.615 6.113514 3.565114 2.393873 1.649956 1.135787 .742518 .445007 .169205 .029 0",
}


@pytest.mark.parametrize("name", TEN_STEPS)
def test_ten_steps_visit_the_reference_levels(name: str) -> None:
    wanted = [float(word) for word in TEN_STEPS[name].split()]
    assert SPACINGS[name](SCHEDULE, 10) == pytest.approx(wanted, abs=2e-6)  # they were computed in float32


@pytest.mark.parametrize("name", SPACINGS)
@pytest.mark.parametrize("n", [1, 2, 3, 7, 50, 999, 1000])
def test_levels_fall_and_end_in_zero(name: str, n: int) -> None:
    levels = SPACINGS[name](SCHEDULE, n)
    assert len(levels) == n + 1
    assert levels[-1] == 0.0
    assert all(s > t for s, t in pairwise(levels))
    assert all(type(s) is float for s in levels)


@pytest.mark.parametrize("name", sorted(SPACINGS.keys() - BELOW))
@pytest.mark.parametrize("n", [1, 2, 7, 30])
@pytest.mark.parametrize("start", [14.0, 3.3333, 0.2, 0.0293, 0.0291671581, 0.01])
def test_a_lower_start_is_visited_exactly(name: str, n: int, start: float) -> None:
    levels = SPACINGS[name](SCHEDULE, n, start)
    assert levels[0] == start
    assert len(levels) == n + 1
    assert all(s > t for s, t in pairwise(levels))


def test_one_step_starts_at_the_top() -> None:
    for name in SPACINGS.keys() - BELOW:
        assert SPACINGS[name](SCHEDULE, 1) == pytest.approx((SCHEDULE.sigma_max, 0.0), rel=3e-5), name
    assert SPACINGS["leading"](SCHEDULE, 1) == (SCHEDULE.sigmas[1], 0.0)  # by its rule


@pytest.mark.parametrize(
    ("name", "n", "times"),  # diffusers 0.42.1: EulerDiscrete (trailing), DDIM (leading with offset 1, linspace)
    [
        ("trailing", 7, [999, 856, 713, 570, 428, 285, 142]),
        ("trailing", 16, [999, 937, 874, 811, 749, 687, 624, 561, 499, 437, 374, 311, 249, 187, 124, 61]),
        ("leading", 7, [853, 711, 569, 427, 285, 143, 1]),
        ("linspace", 7, [999, 832, 666, 500, 333, 166, 0]),
    ],
)
def test_whole_times_are_rounded_as_diffusers_rounds(name: str, n: int, times: list[int]) -> None:
    assert [SCHEDULE.t(s) for s in SPACINGS[name](SCHEDULE, n)[:-1]] == pytest.approx(times, abs=1e-9)


def test_ten_steps_of_the_kl_optimal_spacing_are_comfyuis() -> None:
    wanted = [14.614641, 4.232350, 2.393719, 1.597066, 1.132997, 0.815244, 0.572914, 0.372484, 0.195288, 0.029167, 0]
    assert SPACINGS["kl_optimal"](SCHEDULE, 10) == pytest.approx(wanted, abs=2e-6)


def test_karras_with_20_steps() -> None:
    wanted = """14.614641 11.725365 9.340203 7.383617 5.789412 4.499835 3.464747 2.640840 1.990915 1.483211 1.090786
    .790946 .564721 .396390 .273038 .184168 .121341 .077860 .048481 .029167 0"""
    assert SPACINGS["karras"](SCHEDULE, 20) == pytest.approx([float(w) for w in wanted.split()], abs=2e-6)


def test_lcm_visits_the_times_that_diffusers_visits() -> None:
    """diffusers 0.42.1: LCMScheduler.set_timesteps(4), and (8)."""
    for n, times in ((4, [999, 759, 499, 259]), (8, [999, 879, 759, 639, 499, 379, 259, 139])):
        assert [SCHEDULE.t(s) for s in SPACINGS["lcm"](SCHEDULE, n)[:-1]] == pytest.approx(times, abs=1e-9)


# Shared reference, section 3: the discussion of seven Karras steps on a net of discrete times (k-diffusion PR 23).
SEVEN_STEPS = {
    "karras": ("14.6146 7.0944 3.1686 1.2741 .4469 .1303 .0292", "14.6146 7.0796 3.1667 1.2721 .4471 .1308 .0292",
               (999, 868, 687, 427, 146, 18, 0)),
    "karras:sigma_min=0.107198": ("14.6146 7.9029 4.0277 1.9104 .8289 .3211 .1072",
                                  "14.6146 7.9216 4.0300 1.9103 .8299 .3213 .1072", (999, 890, 746, 549, 299, 90, 12)),
    "karras:sigma_min=0.130308": ("14.6146 8.0451 4.1888 2.0392 .9141 .3692 .1303",
                                  "14.6146 8.0461 4.1878 2.0402 .9136 .3687 .1308", (999, 893, 755, 568, 327, 111, 18)),
    "karras:discard=1": ("14.6146 7.9029 4.0277 1.9104 .8289 .3211 .1072",
                         "14.6146 7.9216 4.0300 1.9103 .8299 .3213 .1072", (999, 890, 746, 549, 299, 90, 12)),
}  # fmt: skip


@pytest.mark.parametrize("name", SEVEN_STEPS)
def test_seven_karras_steps_and_the_trained_levels_nearest_to_them(name: str) -> None:
    levels, rounded, times = SEVEN_STEPS[name]
    plan = plan_of(SCHEDULE, name, 7)
    assert plan.sigmas[:-1] == pytest.approx([float(w) for w in levels.split()], abs=5e-5)
    plan = plan_of(SCHEDULE, name, 7, discretize="schedule")
    assert plan.sigmas[:-1] == pytest.approx([float(w) for w in rounded.split()], abs=5.1e-5)
    assert plan.times == pytest.approx(times, abs=1e-9)


def test_levels_that_become_the_same_are_merged() -> None:
    plan = plan_of(SCHEDULE, "karras", 100, discretize="schedule")
    assert plan.steps_run == 95  # 5 repeat on SD's grid
    assert plan_of(SCHEDULE, "karras", 43, discretize="schedule").steps_run == 43
    assert plan_of(SCHEDULE, "karras", 44, discretize="schedule").steps_run == 43


def test_options_are_written_behind_the_name() -> None:
    rho = spacing_named("karras:rho=3")(SCHEDULE, 5)
    roots = [s ** (1 / 3) for s in rho[:-1]]
    widths = [a - b for a, b in pairwise(roots)]
    assert widths == pytest.approx([widths[0]] * 4, rel=1e-9)
    assert spacing_named("polyexponential:rho=1")(SCHEDULE, 9) == pytest.approx(SPACINGS["exponential"](SCHEDULE, 9))
    assert spacing_named("beta:alpha=1,beta=1")(SCHEDULE, 10) == pytest.approx(
        SPACINGS["trailing"](SCHEDULE, 10), rel=0.01
    )
    for text, word in (("karras:roh=3", "roh"), ("karras:rho", "rho"), ("karas", "karras"), ("zzz", "list")):
        with pytest.raises(ValueError, match=word):
            spacing_named(text)


@pytest.mark.parametrize(
    "text",
    ["karras:rho=0", "karras:rho=nan", "karras:rho=1e9", "beta:alpha=0", "beta:beta=-1", "karras:discard=2",
     "karras:sigma_min=0", "karras:sigma_min=inf", "polyexponential:rho=-1"],
)  # fmt: skip
def test_options_out_of_their_range_are_one_sentence(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not (from|a number|a finite number)"):
        spacing_named(text)


def test_a_low_end_above_the_start_is_one_sentence() -> None:
    for name in SPACINGS:
        with pytest.raises(ValueError, match=r"sigma_min is 20|do not fall"):
            spacing_named(f"{name}:sigma_min=20")(SCHEDULE, 5)
    with pytest.raises(ValueError, match="do not fall"):
        spacing_named("leading:sigma_min=12")(SCHEDULE, 5)


@pytest.mark.parametrize("name", SPACINGS)
@pytest.mark.parametrize("betas", ["linear", "squaredcos_cap_v2", "scaled_linear"])
def test_other_schedules_are_laid_too(name: str, betas: Any) -> None:
    schedule = NoiseSchedule(betas, 1e-4, 0.02)
    for strength in (0.001, 0.0011, 0.0015, 0.01, 0.5, 1.0):
        assert plan_of(schedule, name, 7, strength, "full").steps_run == 7


def test_lcm_stays_on_its_grid_from_a_lower_start() -> None:
    """diffusers 0.42.1: LCMScheduler.set_timesteps(4, original_inference_steps=50, strength=...)."""
    for t, times in ((499, [499, 379, 259, 139]), (739, [739, 559, 379, 199])):
        levels = SPACINGS["lcm"](SCHEDULE, 4, SCHEDULE.sigma(t))
        assert [SCHEDULE.t(s) for s in levels[:-1]] == pytest.approx(times, abs=1e-6)


def test_levels_can_be_chosen_by_hand() -> None:
    plan = plan_of(SCHEDULE, "karras", 3, sigmas=[9.0, 2.5, 0.5])
    assert (plan.sigmas, plan.steps) == ((9.0, 2.5, 0.5, 0.0), 3)
    assert plan_of(SCHEDULE, "karras", 3, sigmas=[9, 2.5, 0.5, 0], start_step=1).sigmas == (2.5, 0.5, 0.0)
    assert plan_of(SCHEDULE, "karras", 3, 0.7, "skip", sigmas=[9, 2.5, 0.5]).sigmas == (2.5, 0.5, 0.0)
    for levels, word in (
        ([2.0, 3.0], "2 to 3"),
        ([2.0, 2.0], "2 to 2"),
        ([3.0, -1.0], "-1"),
        ([], "empty"),
        ([0.0], "empty"),
    ):
        with pytest.raises(ValueError, match=word):
            plan_of(SCHEDULE, "karras", 3, sigmas=levels)
    with pytest.raises(ValueError, match="strength mode skip"):
        plan_of(SCHEDULE, "karras", 3, 0.7, "level", sigmas=[9, 2.5, 0.5])


def test_the_low_end_can_be_raised() -> None:
    # Karras with 7 steps down to 0.107198 is Karras with 8 less its last but one: reference, section 3, list C.
    raised = SPACINGS["karras"](SCHEDULE, 7, sigma_min=SPACINGS["karras"](SCHEDULE, 8)[-3])
    wanted = [14.6146, 7.9029, 4.0277, 1.9104, 0.8289, 0.3211, 0.1072, 0]
    assert raised == pytest.approx(wanted, abs=5e-5)


@pytest.mark.parametrize("name", SPACINGS)
def test_more_steps_than_trained_levels_go_between_them(name: str) -> None:
    for start in (None, 0.0292, 1.0):
        levels = SPACINGS[name](SCHEDULE, 2500, start)
        assert len(levels) == 2501
        assert all(s > t for s, t in pairwise(levels))


def test_no_steps_or_no_noise_is_an_error_that_says_so() -> None:
    with pytest.raises(ValueError, match="0 steps"):
        SPACINGS["karras"](SCHEDULE, 0)
    with pytest.raises(ValueError, match="above 0"):
        SPACINGS["karras"](SCHEDULE, 3, sigma_min=0.0)
