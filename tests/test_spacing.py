from itertools import pairwise

import pytest

from stable_diffusion import SPACINGS
from stable_diffusion.diffusion.schedule import NoiseSchedule

SCHEDULE = NoiseSchedule()

# n = 10, from k-diffusion, diffusers and ComfyUI: shared reference, sections 0 and 2.2.
TEN_STEPS = {
    "karras": "14.614641 9.102928 5.478392 3.168603 1.749417 .914072 .446918 .201398 .081910 .029167 0",
    "exponential": "14.614641 7.324869 3.671230 1.840024 .922221 .462218 .231664 .116110 .058195 .029167 0",
    "linspace": "14.614641 7.839883 4.609174 2.918307 1.950161 1.344928 .932358 .624977 .368658 .029167 0",
    "trailing": "14.614641 8.302803 5.087763 3.321083 2.276463 1.612886 1.160578 .829860 .569285 .341674 0",
    "leading": "8.390685 5.134431 3.347764 2.292854 1.623692 1.168216 .835653 .574050 .346187 .041314 0",
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


@pytest.mark.parametrize("name", sorted(SPACINGS.keys() - {"leading"}))
@pytest.mark.parametrize("n", [1, 2, 7, 30])
@pytest.mark.parametrize("start", [14.0, 3.3333, 0.2, 0.0293, 0.0291671581, 0.01])
def test_a_lower_start_is_visited_exactly(name: str, n: int, start: float) -> None:
    levels = SPACINGS[name](SCHEDULE, n, start)
    assert levels[0] == start
    assert len(levels) == n + 1
    assert all(s > t for s, t in pairwise(levels))


def test_one_step_starts_at_the_top() -> None:
    for name in SPACINGS.keys() - {"leading"}:
        assert SPACINGS[name](SCHEDULE, 1) == (SCHEDULE.sigma_max, 0.0), name
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
