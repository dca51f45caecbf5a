"""A job's page has all that its record has: every step in its place, its settings, and the command that makes it."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import image2image
from stable_diffusion.jobs.recipe import RECIPE, Recipe
from tests.commands import img, made, txt

pytestmark = pytest.mark.usefixtures("opened_once")


@pytest.fixture(autouse=True)
def _in_a_folder_with_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    Image.fromarray(noise).save("in.png")


def data(name: str = "page.html") -> dict[str, Any]:
    """What the page's program reads."""
    text = Path(name).read_text(encoding="utf-8")
    found = re.search(r'<script[^>]*type="application/json"[^>]*>(.*?)</script>', text, re.DOTALL)
    assert found is not None
    read: dict[str, Any] = json.loads(found[1])
    return read


def test_a_pyramid_has_the_way_in_and_both_kinds_of_steps() -> None:
    words = ["--seed", "3", "-gt", "0.5,1", "--triangle-shape", "pyramid", "--html", "page.html"]
    assert img("in.png", "a house", *words) == 0
    page = data()
    assert (page["kind"], page["title"]) == ("pyramid", "a house")
    weak, strong = page["lines"]
    assert [line["strength"] for line in (weak, strong)] == [0.5, 1]
    assert [frame["step"] for frame in weak["frames"]] == [-2, -1, 0, 1, 2]
    labels = [frame["label"] for frame in weak["frames"]]
    assert labels == ["original", "noised", "start", "step 1 of 2", "finished"]
    assert ["clean" in frame for frame in weak["frames"]] == [False, False, False, True, False]
    assert len(strong["frames"]) == 9 and strong["levels"] == sorted(strong["levels"], reverse=True)
    assert {"siMg"} == set(page["chunks"])
    for line in (weak, strong):
        settings = Recipe.from_json(line["texts"][RECIPE]).settings
        assert settings.strength == line["strength"] and settings.seed == 3
        assert line["command"].startswith("image2image in.png 'a house' --model")


def test_a_triangle_begins_with_its_starts_and_a_grid_has_its_places() -> None:
    assert img("in.png", "a", "-gt", "0.5,1", "--html", "page.html") == 0
    assert [line["frames"][0]["step"] for line in data()["lines"]] == [0, 0]
    assert txt("a", "--grid", "cfg=1,3", "seed=1,2", "--html", "grid.html") == 0
    page = data("grid.html")
    assert [(line["row"], line["column"]) for line in page["lines"]] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert (page["rows"], page["columns"], page["original"]) == (["cfg 1", "cfg 3"], ["seed 1", "seed 2"], None)
    assert all(line["command"].startswith("txt2image a ") for line in page["lines"])


def test_a_family_has_its_parent_first() -> None:
    assert txt("a", "--perturb", "0.3", "--n_images", "2", "--html", "page.html", "-sd", "2") == 0
    page = data()
    assert page["kind"] == "family" and [line["row"] for line in page["lines"]] == [0, 1, 2]
    assert page["lines"][0]["heading"] == "parent" and "--variation" not in page["lines"][0]["command"]
    assert "--variation" in page["lines"][1]["command"]
    assert [frame["step"] for frame in page["lines"][0]["frames"]] == [0, 2, 4]


def test_a_page_is_drawn_again_from_the_latents() -> None:
    words = ["--seed", "3", "-gt", "0.5,1", "--save-latents"]
    assert img("in.png", "a house", *words, "--html", "page.html") == 0
    assert image2image.main(["--redraw", "out.safetensors", "--html", "again.html"]) == 0
    assert data("again.html")["lines"] == data()["lines"]
    assert (
        image2image.main(["--redraw", "out.safetensors", "--html", "pyramid.html", "--triangle-shape", "pyramid"]) == 0
    )
    assert [frame["step"] for frame in data("pyramid.html")["lines"][0]["frames"]] == [-2, -1, 0, 1, 2]


def test_without_metadata_a_page_says_nothing_of_how_it_was_made_but_shows_it() -> None:
    assert img("in.png", "a", "-gt", "0.5", "--html", "page.html", "--no-metadata") == 0
    page = data()
    assert page["chunks"] == {} and page["lines"][0]["texts"] == {}


@pytest.mark.parametrize(
    ("name", "words"), [("page.txt", "must end in .html or .htm"), ("in.png/page.html", "in.png is no folder")]
)
def test_a_page_that_cannot_be_written_is_told_first(name: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert img("in.png", "a", "--html", name) == 1
    assert words in capsys.readouterr().err and made() == []
