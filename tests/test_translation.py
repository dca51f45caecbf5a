"""Another tool's settings, with models of each family."""

from pathlib import Path

import pytest

from stable_diffusion.exchange.a1111 import read_parameters
from stable_diffusion.jobs.layouts import layout_of
from stable_diffusion.jobs.request import Request
from stable_diffusion.jobs.translation import RULES, for_model
from stable_diffusion.pipeline import Planner
from stable_diffusion.settings import Settings

DATA = Path(__file__).parent / "data"
XL = (14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029, 0)


def planned(rule: str, family: str, told: Settings, **changes: object) -> Settings:
    request = Request(tool="a tool", settings=told, by_model=(rule,))
    return layout_of(request, Planner.of(str(DATA / family))).base


@pytest.mark.parametrize(
    ("family", "spacing"), [("sd1", "align_your_steps"), ("sd2", "align_your_steps"), ("xl", "align_your_steps_xl")]
)
@pytest.mark.parametrize("written", ["Align Your Steps", "align_your_steps", "AYS"])
def test_align_your_steps_has_a_table_for_xl(family: str, spacing: str, written: str) -> None:
    found = read_parameters(f"a\nSteps: 11, Sampler: DPM++ 2M, Schedule type: {written}, Seed: 5")
    assert found.by_model == ("align_your_steps",)
    assert planned("align_your_steps", family, Settings(**found.settings)).spacing == spacing


def test_the_table_for_xl_is_its_own() -> None:
    told = Settings(spacing="align_your_steps", steps=11)
    request = Request(tool="a tool", settings=told, by_model=("align_your_steps",))
    assert layout_of(request, Planner.of(str(DATA / "xl"))).runs[0].plan.sigmas == pytest.approx(XL)


def test_options_and_other_spacings_stay() -> None:
    assert planned("align_your_steps", "xl", Settings(spacing="align_your_steps:sigma_min=0.1")).spacing == (
        "align_your_steps_xl:sigma_min=0.1"
    )
    for spacing in ("karras", "align_your_steps_xl"):
        assert planned("align_your_steps", "xl", Settings(spacing=spacing)).spacing == spacing


@pytest.mark.parametrize(
    ("family", "sampler", "spacing", "scale"),
    [
        ("sd1", "euler", "leading", "unit"),  # as its scheduler_config.json has it
        ("xl", "euler", "leading", "unit"),
        ("xl", "ddim", "linspace", "sigma"),  # which has its own
        ("xl", "DPM++ 2M", "leading", "unit"),
    ],
)
def test_a_models_own_spacing_is_its_configs(family: str, sampler: str, spacing: str, scale: str) -> None:
    s = planned("own_spacing", family, Settings(sampler=sampler, spacing="linspace", start_scale="sigma"))
    assert (s.spacing, s.start_scale) == (spacing, scale)


def test_what_has_been_changed_since_means_what_it_says() -> None:
    told = Settings(clip_skip=1, spacing="align_your_steps")
    for rule in RULES:
        description = Planner.of(str(DATA / "xl")).description
        changed = Settings(clip_skip=2, spacing="karras")
        assert for_model(changed, told, (rule,), description) == changed
