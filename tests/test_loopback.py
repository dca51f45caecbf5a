"""Results that are the next input: each round is the run that one would have typed."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.commands import img, made, same

pytestmark = pytest.mark.usefixtures("opened_once")


@pytest.fixture(autouse=True)
def _in_a_folder_with_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    Image.fromarray(noise).save("in.png")


def test_each_round_is_the_run_from_the_picture_before(capsys: pytest.CaptureFixture[str]) -> None:
    assert img("in.png", "a", "--seed", "4", "--strength", "0.5", "--loopback", "3", "--animate", "film.webp") == 0
    assert made() == ["film.webp", "out-round1.png", "out-round2.png", "out-round3.png", "out.png"]
    said = capsys.readouterr().err
    assert [f"seed {seed}" in said for seed in (4, 5, 6)] == [True] * 3 and said.count("2 steps, strength 0.5") == 3
    assert img("out-round2.png", "a", "--seed", "6", "--strength", "0.5", "-o", "alone.png") == 0
    assert same("alone.png", "out-round3.png") and not same("out-round2.png", "out-round3.png")


def test_its_pictures_and_its_sheet_are_made_again() -> None:
    assert img("in.png", "a", "--seed", "4", "--strength", "0.5", "--loopback", "2") == 0
    assert img("--from", "out-round2.png", "-o", "again.png") == 0
    assert same("again.png", "out-round2.png")
    assert img("--from", "out.png", "-o", "sheet.png") == 0
    assert same("sheet.png", "out.png") and same("sheet-round2.png", "out-round2.png")


def test_its_plan_has_every_round(capsys: pytest.CaptureFixture[str]) -> None:
    assert img("in.png", "a", "--seed", "4", "--strength", "0.5", "--loopback", "2", "--plan") == 0
    out = capsys.readouterr().out
    assert "seed 4" in out and "seed 5" in out and made() == []


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--loopback", "0"], 2, "is not from 1 to 1000"),
        (["--loopback", "2", "--n_images", "2"], 2, "do not go together"),
        (["--loopback", "2", "--grid", "cfg=1,3"], 2, "do not go together"),
    ],
)
def test_what_cannot_go_round_is_told(
    words: list[str], status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        found = img("in.png", "a", *words)
    except SystemExit as stop:
        found = int(str(stop.code))
    assert found == status and said in capsys.readouterr().err
