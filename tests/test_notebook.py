"""What a notebook shows, which asks each value for a picture or a table."""

import io
import subprocess
import sys
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from PIL import Image

from stable_diffusion import Settings, StableDiffusion
from stable_diffusion.jobs.model import Model
from stable_diffusion.jobs.recipe import Recipe
from stable_diffusion.jobs.record import KeptStep, Record, Row

SD1 = Path(__file__).parent / "data" / "sd1"
SETTINGS = Settings(prompt="a house", steps=4, cfg=1.0, sampler="euler", seed=1)


@pytest.fixture(scope="module")
def sd() -> StableDiffusion:
    return StableDiffusion(str(SD1), float16=False)


@pytest.fixture(scope="module")
def image() -> mx.array:
    return mx.array(np.random.default_rng(0).uniform(-1, 1, (48, 64, 3)).astype(np.float32))


def picture(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def test_a_plan_is_a_table_of_its_steps(sd: StableDiffusion) -> None:
    plan = sd.plan(SETTINGS)
    html = plan._repr_html_()
    assert str(plan) in html and html.count("<tr>") == 1 + 4
    assert all(f"{sigma:.4f}" in html for sigma in plan.sigmas)


def test_a_step_says_where_it_is(sd: StableDiffusion) -> None:
    for step in sd.sample(SETTINGS):
        html = step._repr_html_()
        assert f"<td>{step.index}</td><td>{step.sigma:.4f}</td><td>1 x 8 x 8 x 4</td>" in html


def test_lists_of_steps_are_pictures(sd: StableDiffusion, image: mx.array) -> None:
    rows = sd.triangle(SETTINGS, image, [0.5, 1])
    assert [len(row) for row in rows] == [3, 5] and isinstance(rows, list)
    with picture(rows._repr_png_()) as sheet, picture(rows[0]._repr_png_()) as strip:
        assert sheet.width > 5 * 64 and sheet.height > 2 * 48
        assert 3 * 64 < strip.width < 4 * 100 and 48 < strip.height < 2 * 48
    with picture(sd.noising(SETTINGS, image)._repr_png_()) as strip:
        assert strip.width > 3 * 64
    grid = sd.grid(SETTINGS, ("seed", [1, 2]))
    with picture(grid[0][0]._repr_png_()) as strip:
        assert strip.width > 5 * 64


def test_a_record_is_a_table_of_its_rows(sd: StableDiffusion) -> None:
    recipe = Recipe(sd.completed(SETTINGS), Model())
    rows = [Row("cfg <1>", "", steps=[KeptStep(-1, 2.5), KeptStep(0, 0.0)]), Row("never came", "")]
    html = Record(recipe, "grid", rows)._repr_html_()
    assert "<td>cfg &lt;1&gt;</td><td>2</td><td>2.5000</td><td>0.0000</td>" in html and "never came" not in html


def test_progress_is_a_bar_that_changes_nothing(sd: StableDiffusion, capsys: pytest.CaptureFixture[str]) -> None:
    quiet, loud = (list(sd.sample(SETTINGS, progress=progress)) for progress in (False, True))
    assert "4/4" in capsys.readouterr().err
    assert all(mx.array_equal(a.x, b.x) for a, b in zip(quiet, loud, strict=True))


def test_importing_it_warns_of_nothing() -> None:
    # As in a notebook without widgets, where the Hub's library warns of the bar that it would like to draw.
    code = """
import sys, types
sys.modules["IPython"] = types.SimpleNamespace(get_ipython=object)
sys.modules["ipykernel.zmqshell"] = types.ModuleType("zmqshell")
import %s
"""
    for module, warned in (("huggingface_hub.utils.tqdm", True), ("stable_diffusion", False)):
        words = [sys.executable, "-W", "always::UserWarning", "-c", code % module]
        done = subprocess.run(words, capture_output=True, text=True, cwd=Path(__file__).parents[1])
        assert done.returncode == 0 and ("Warning" in done.stderr) == warned, done.stderr
