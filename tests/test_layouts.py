"""From a request to its runs: what they are, and that each is completed and planned once."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from stable_diffusion import Settings
from stable_diffusion.jobs.kinds import Children, Grid, Triangle
from stable_diffusion.jobs.layouts import layout_of
from stable_diffusion.jobs.originals import Originals
from stable_diffusion.jobs.recipe import Batch
from stable_diffusion.jobs.request import Request
from stable_diffusion.jobs.view import View
from stable_diffusion.pipeline import Planner

DATA = Path(__file__).parent / "data"
PICTURE = Originals(Image.new("RGB", (64, 48)), name="in.png")
MASKED = Originals(Image.new("RGB", (64, 48)), Image.new("L", (64, 48), 255), "in.png")


@pytest.fixture(scope="module")
def planner() -> Planner:
    return Planner.of(str(DATA / "sd1"))


@pytest.fixture
def completed(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings that were completed, in order."""
    seen: list[Settings] = []
    whole = Planner.completed

    def counted(self: Planner, settings: Settings, *rest: Any) -> Any:
        seen.append(settings)
        return whole(self, settings, *rest)

    monkeypatch.setattr(Planner, "completed", counted)
    return seen


def test_one_picture_is_completed_and_planned_once(planner: Planner, completed: list[Settings]) -> None:
    layout = layout_of(Request(settings=Settings(steps=4)), planner)
    assert len(layout.runs) == len(completed) == 1
    assert layout.sheet is None and layout.base == layout.runs[0].settings


def test_a_grid_of_four_is_completed_once_a_place_and_once_for_what_they_share(
    planner: Planner, completed: list[Settings]
) -> None:
    view = View(kind=Grid((("sampler", ("euler", "heun")), ("cfg", (1.0, 3.0)))))
    layout = layout_of(Request(settings=Settings(steps=4), view=view), planner)
    assert len(layout.runs) == 4 and len(completed) == 5
    assert [(run.settings.sampler, run.settings.cfg) for run in layout.runs] == [
        ("euler", 1.0),
        ("euler", 3.0),
        ("heun", 1.0),
        ("heun", 3.0),
    ]
    assert layout.headings[1] == "sampler euler, cfg 3" and layout.endings[2] == "-row2-column1"
    assert (layout.lines, layout.columns) == (["sampler euler", "sampler heun"], ["cfg 1", "cfg 3"])
    assert list(layout.labels) == [""] * 4  # all of them run the same steps


def test_pictures_have_seeds_that_follow_each_other(planner: Planner) -> None:
    layout = layout_of(Request(settings=Settings(seed=7, n_images=3)), planner)
    assert [run.settings.seed for run in layout.runs] == [7, 8, 9]
    assert all(run.settings.n_images == 1 for run in layout.runs)
    assert layout.endings == ["-seed7", "-seed8", "-seed9"] and layout.sheet == ""


def test_children_share_their_parents_seed_and_lineage(planner: Planner) -> None:
    settings = Settings(seed=7, n_images=2, perturb=((1, 0.5),))
    layout = layout_of(Request(settings=settings, view=View(kind=Children(0.3))), planner)
    assert [run.settings.seed for run in layout.runs] == [7, 7, 7]
    parent, one, other = (run.settings.perturb for run in layout.runs)
    assert parent == ((1, 0.5),) and one != other
    assert all(lineage[0] == (1, 0.5) and lineage[1][1] == 0.3 for lineage in (one, other))
    assert layout.endings == ["-parent", "-child1", "-child2"]
    assert layout.base.perturb == ((1, 0.5),)


def test_variations_keep_to_the_mask(planner: Planner) -> None:
    (run,) = layout_of(Request(inputs=MASKED, variations=((5, 0.3),)), planner).runs
    (entry,) = run.settings.perturb
    seed, amount, *code = entry
    assert (seed, amount) == (5, 0.3) and str(code[0]).startswith("6x8:")


def test_a_triangle_has_a_row_for_each_strength(planner: Planner) -> None:
    view = View(kind=Triangle((0.5, 1.0)), highlight=0.5)
    layout = layout_of(Request(settings=Settings(steps=4), inputs=PICTURE, view=view), planner)
    assert [run.plan.steps_run for run in layout.runs] == [2, 4]
    assert layout.base.strength == 0.75 and layout.sheet == "-triangle"


def test_strengths_have_as_few_digits_as_tell_them_apart(planner: Planner) -> None:
    def headings(*values: float) -> list[str]:
        view = View(kind=Triangle(values))
        return list(layout_of(Request(settings=Settings(steps=4), inputs=PICTURE, view=view), planner).headings)

    assert headings(1 / 3, 2 / 3, 1.0) == ["strength 0.33", "strength 0.67", "strength 1"]
    assert headings(0.331, 0.334) == ["strength 0.331", "strength 0.334"]


def test_a_picture_of_a_batch_is_made_again_with_the_others(planner: Planner) -> None:
    runs = tuple(planner.completed(Settings(seed=seed)) for seed in (1, 2, 3))
    again = Request(settings=runs[1], batch=Batch(runs, 1, 2, 1))
    layout = layout_of(again, planner)
    assert (layout.only, layout.batch_size, len(layout.runs)) == (1, 2, 3)
    changed = layout_of(Request(settings=Settings(seed=9), batch=Batch(runs, 1, 2, 1)), planner)
    assert (changed.only, len(changed.runs)) == (None, 1)  # another picture needs no company


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (Request(settings=Settings(strength=0.5)), "need a picture to start from: use image2image"),
        (Request(settings=Settings(n_images=2), inputs=PICTURE, view=View(kind=Triangle((1.0,)))), "of 1 picture"),
        (Request(settings=Settings(n_images=2), view=View(kind=Grid((("cfg", (1.0,)),)))), "has 1 picture"),
        (Request(inputs=PICTURE, view=View(kind=Triangle((0.2, 1.0)), highlight=0.5)), "the triangle has 0.2, 1"),
        (Request(inputs=Originals(mask=Image.new("L", (64, 64)))), "--perturb or --variation"),
        (
            Request(inputs=Originals(mask=Image.new("L", (64, 48))), view=View(kind=Children(0.1))),
            "the mask is 64 x 48",
        ),
    ],
)
def test_what_cannot_be_laid_out_is_one_sentence(planner: Planner, request_: Request, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        layout_of(request_, planner)


@pytest.mark.parametrize(
    ("rule", "family", "said", "layers"),
    [
        ("clip_skip", "sd1", 2, 1), ("clip_skip", "sd1", 1, 0), ("clip_skip", "xl", 2, 0), ("clip_skip", "xl", 1, 0),
        ("clip_skip", "xl", 3, 1), ("clip_skip", "sd2", 2, 0), ("clip_skip", "sd2", 3, 1),
        ("clip_skip_invoke", "sd1", 2, 1), ("clip_skip_invoke", "sd2", 2, 1), ("clip_skip_invoke", "xl", 3, 0),
    ],
)  # fmt: skip
def test_another_tools_clip_skip_counts_from_each_models_own_layer(
    rule: str, family: str, said: int, layers: int
) -> None:
    request = Request(tool="a tool", settings=Settings(clip_skip=said - 1), by_model=(rule,))
    assert layout_of(request, Planner.of(str(DATA / family))).base.clip_skip == layers


def test_variations_of_a_sheet_keep_to_its_mask_when_it_is_made_again(planner: Planner) -> None:
    mask = Originals(mask=Image.new("L", (64, 64), 255))
    first = layout_of(Request(settings=Settings(n_images=2), inputs=mask, view=View(kind=Children(0.3))), planner)
    again = layout_of(Request(settings=replace(first.base, n_images=2), view=first.view), planner)
    assert [run.settings for run in again.runs] == [run.settings for run in first.runs]
    assert len(again.runs[1].settings.perturb[0]) == 3
