"""Pictures one after the other: how many, how long, and in their colours."""

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from stable_diffusion.pictures.animation import ENDINGS, save_animation

W, H = 64, 48


def ramp(k: int) -> Image.Image:
    """Red grows to the right and green downwards; blue says which picture it is."""
    y, x = np.mgrid[:H, :W]
    return Image.fromarray(np.stack([x * 4, y * 5, np.full_like(x, 40 * k)], axis=-1).astype(np.uint8))


def frames(path: Path) -> list[tuple[np.ndarray, int]]:
    """The pictures as they are shown, and for how many milliseconds each."""
    shown = []
    with Image.open(path) as picture:
        for frame in ImageSequence.Iterator(picture):
            rgb = np.asarray(frame.convert("RGB")).astype(int)
            shown.append((rgb, int(frame.info["duration"])))  # Pillow knows it once the frame is loaded
    return shown


@pytest.mark.parametrize("ending", [*ENDINGS, ".WebP", ".GIF"])
def test_every_picture_is_shown_and_the_last_is_held(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    save_animation([ramp(k) for k in range(5)], path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert [ms for _, ms in frames(path)] == [150, 150, 150, 150, 1500]
    with Image.open(path) as picture:
        assert picture.format == ending[1:].upper()
        assert picture.size == (W, H)
        assert picture.info["loop"] == 0  # for ever


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_times_can_be_chosen(tmp_path: Path, ending: str) -> None:
    save_animation([ramp(0), ramp(1), ramp(2)], tmp_path / f"a{ending}", seconds=0.05, hold=3)
    assert [ms for _, ms in frames(tmp_path / f"a{ending}")] == [50, 50, 3000]


@pytest.mark.parametrize(("ending", "mean", "most"), [(".webp", 3, 16), (".gif", 4, 24)])
def test_colours_survive(tmp_path: Path, ending: str, mean: float, most: int) -> None:
    pictures = [ramp(k) for k in range(5)]
    save_animation(pictures, tmp_path / f"a{ending}")
    for (shown, _), picture in zip(frames(tmp_path / f"a{ending}"), pictures, strict=True):
        off = np.abs(shown - np.asarray(picture).astype(int))
        assert off.mean() < mean, f"on average {off.mean():.1f} off"
        assert off.max() <= most, f"at most {off.max()} off"


def test_each_picture_of_a_gif_has_its_own_palette(tmp_path: Path) -> None:
    # One of each has more colours than a palette, and the two have none in common.
    rng = np.random.default_rng(0)
    dark, bright = (rng.integers(low, low + 40, (H, W, 3), dtype=np.uint8) for low in (0, 200))
    save_animation([Image.fromarray(dark), Image.fromarray(bright)], tmp_path / "a.gif")
    for (shown, _), picture in zip(frames(tmp_path / "a.gif"), (dark, bright), strict=True):
        assert np.abs(shown - picture.astype(int)).mean() < 4


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_moves_leaves_no_trace(tmp_path: Path, ending: str) -> None:
    pictures = []
    for k in range(3):
        pictures.append(Image.new("RGB", (W, H), (20, 60, 120)))
        pictures[-1].paste((250, 240, 30), (16 * k, 16, 16 * k + 16, 32))
    save_animation(pictures, tmp_path / f"a{ending}")
    for (shown, _), picture in zip(frames(tmp_path / f"a{ending}"), pictures, strict=True):
        assert np.abs(shown - np.asarray(picture).astype(int)).mean() < 2


@pytest.mark.parametrize("ending", ENDINGS)
def test_pictures_that_are_alike_take_no_less_time(tmp_path: Path, ending: str) -> None:
    save_animation([ramp(0), ramp(1), ramp(1), ramp(1)], tmp_path / f"a{ending}")
    assert sum(ms for _, ms in frames(tmp_path / f"a{ending}")) == 150 + 150 + 150 + 1500


@pytest.mark.parametrize("ending", ENDINGS)
def test_one_picture_is_an_animation(tmp_path: Path, ending: str) -> None:
    save_animation([ramp(2)], tmp_path / f"a{ending}")
    with Image.open(tmp_path / f"a{ending}") as picture:
        assert picture.size == (W, H)
        assert np.abs(np.asarray(picture.convert("RGB")).astype(int) - np.asarray(ramp(2))).mean() < 4


@pytest.mark.parametrize("name", ["a.png", "a.mp4", "a", "a.webp.txt"])
def test_other_endings_are_errors(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"must end in \.webp or \.gif: name it .*\.webp"):
        save_animation([ramp(0)], tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_nothing_to_show_and_nowhere_to_write_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one picture"):
        save_animation([], tmp_path / "a.gif")
    with pytest.raises(ValueError, match="does not exist"):
        save_animation([ramp(0)], tmp_path / "missing" / "a.gif")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_save_that_fails_leaves_nothing_and_keeps_what_was_there(tmp_path: Path, ending: str) -> None:
    save_animation([ramp(0), ramp(1)], tmp_path / f"old{ending}")
    before = (tmp_path / f"old{ending}").read_bytes()
    for name in ("old", "new"):
        with pytest.raises((RuntimeError, OverflowError, struct.error)):
            save_animation([ramp(k) for k in range(4)], tmp_path / f"{name}{ending}", seconds=-1)
    assert [p.name for p in tmp_path.iterdir()] == [f"old{ending}"]
    assert (tmp_path / f"old{ending}").read_bytes() == before
