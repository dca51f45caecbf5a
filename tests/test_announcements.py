"""What is said before a run: in plain words first, and with noise levels where somebody asks."""

from pathlib import Path

import pytest
from PIL import Image

from tests.commands import img, txt


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (48, 32), (90, 10, 200)).save("in.png")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--strength", "0.75"], "48 x 32, 3 steps, strength 0.75 (about 24% of your picture stays), seed 1"),
        (["--strength", "0"], "48 x 32, your picture comes back as it is, seed 1"),
        (["--pure-noise"], "48 x 32, 3 steps, from noise alone, without your picture, seed 1"),
        (["-gt", "0.5,1"], "2 strengths, 48 x 32, 2 to 4 steps, seed 1"),
        (["--grid", "cfg=1,2", "cfg_rescale=0,0.5"], "a grid of 4 pictures, 48 x 32, 3 steps, seed 1"),
        (["--n_images", "2", "--strength", "1"],
         "2 pictures, 48 x 32, 4 steps, strength 1 (about 7% of your picture stays), seeds 1 to 2"),
    ],
)  # fmt: skip
def test_the_first_line_says_what_is_made_in_plain_words(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert img("in.png", "a house", "--seed", "1", *words) == 0
    lines = [line for line in capsys.readouterr().err.replace("\r", "\n").splitlines() if line.startswith("sd1: ")]
    assert lines == [f"sd1: {said}"]


def test_variations_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert txt("a house", "--seed", "1", "--perturb", "0.3", "--n_images", "2") == 0
    assert "sd1: 32 x 32, 4 steps, seed 1, 2 variations of 0.3\n" in capsys.readouterr().err


def test_levels_are_shown_to_who_asks(capsys: pytest.CaptureFixture[str]) -> None:
    assert img("in.png", "a house", "--seed", "1", "--strength", "0.5", "-v") == 0
    err = capsys.readouterr().err
    assert "2 of 4 steps from sigma" in err and "sd1: " not in err


def test_no_bar_counts_to_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert img("in.png", "a house", "--strength", "0") == 0
    assert "0step" not in capsys.readouterr().err
