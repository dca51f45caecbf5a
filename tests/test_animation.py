"""Pictures one after the other: how many, how long, and in their colours."""

import struct
import sys
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image, ImageSequence

from stable_diffusion.pictures.animation import Shot, save_animation

W, H = 64, 48
LOOPING = (".webp", ".gif", ".apng")


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


@pytest.mark.parametrize("ending", [*LOOPING, ".WebP", ".GIF"])
def test_every_picture_is_shown_and_the_last_is_held(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    save_animation([ramp(k) for k in range(5)], path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    each = 120 if ending.lower() == ".gif" else 125  # in hundredths of a second there
    assert [ms for _, ms in frames(path)] == [each, each, each, each, 1500]
    with Image.open(path) as picture:
        assert picture.format == ending[1:].upper().replace("APNG", "PNG")
        assert picture.size == (W, H)
        assert picture.info["loop"] == 0  # for ever


@pytest.mark.parametrize("ending", LOOPING)
def test_the_times_can_be_chosen(tmp_path: Path, ending: str) -> None:
    save_animation([ramp(0), ramp(1), ramp(2)], tmp_path / f"a{ending}", fps=20, hold=3)
    assert [ms for _, ms in frames(tmp_path / f"a{ending}")] == [50, 50, 3000]


@pytest.mark.parametrize(("ending", "mean", "most"), [(".webp", 3, 16), (".gif", 4, 24), (".apng", 0.01, 0)])
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


@pytest.mark.parametrize("ending", LOOPING)
def test_what_moves_leaves_no_trace(tmp_path: Path, ending: str) -> None:
    pictures = []
    for k in range(3):
        pictures.append(Image.new("RGB", (W, H), (20, 60, 120)))
        pictures[-1].paste((250, 240, 30), (16 * k, 16, 16 * k + 16, 32))
    save_animation(pictures, tmp_path / f"a{ending}")
    for (shown, _), picture in zip(frames(tmp_path / f"a{ending}"), pictures, strict=True):
        assert np.abs(shown - np.asarray(picture).astype(int)).mean() < 2


@pytest.mark.parametrize("ending", LOOPING)
def test_pictures_that_are_alike_take_no_less_time(tmp_path: Path, ending: str) -> None:
    save_animation([ramp(0), ramp(1), ramp(1), ramp(1)], tmp_path / f"a{ending}")
    each = 120 if ending == ".gif" else 125
    assert sum(ms for _, ms in frames(tmp_path / f"a{ending}")) == pytest.approx(3 * each + 1500, abs=10)


@pytest.mark.parametrize("ending", LOOPING)
def test_one_picture_is_an_animation(tmp_path: Path, ending: str) -> None:
    save_animation([ramp(2)], tmp_path / f"a{ending}")
    with Image.open(tmp_path / f"a{ending}") as picture:
        assert picture.size == (W, H)
        assert np.abs(np.asarray(picture.convert("RGB")).astype(int) - np.asarray(ramp(2))).mean() < 4


@pytest.mark.parametrize("name", ["a.png", "a.mov", "a", "a.webp.txt"])
def test_other_endings_are_errors(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"must end in \.webp, \.gif, \.apng or \.mp4: name it .*\.webp"):
        save_animation([ramp(0)], tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_nothing_to_show_and_nowhere_to_write_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one picture"):
        save_animation([], tmp_path / "a.gif")
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="file is no folder"):
        save_animation([ramp(0)], tmp_path / "file" / "a.gif")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("ending", LOOPING)
def test_a_save_that_fails_leaves_nothing_and_keeps_what_was_there(tmp_path: Path, ending: str) -> None:
    save_animation([ramp(0), ramp(1)], tmp_path / f"old{ending}")
    before = (tmp_path / f"old{ending}").read_bytes()
    for name in ("old", "new"):
        with pytest.raises((RuntimeError, OverflowError, struct.error)):
            save_animation([ramp(k) for k in range(4)], tmp_path / f"{name}{ending}", fps=-1)
    assert [p.name for p in tmp_path.iterdir()] == [f"old{ending}"]
    assert (tmp_path / f"old{ending}").read_bytes() == before


def test_what_is_held_is_held_and_captions_stand_below(tmp_path: Path) -> None:
    shots = [Shot(ramp(0), "original", held=True), Shot(ramp(1), "step 1 of 2, sigma 1.25"), Shot(ramp(2), "finished")]
    save_animation(shots, tmp_path / "a.webp")
    shown = frames(tmp_path / "a.webp")
    assert [ms for _, ms in shown] == [1500, 125, 1500]
    height, width, _ = shown[0][0].shape
    assert height > H + 12 and width % 2 == height % 2 == 0
    for (frame, _), shot in zip(shown, shots, strict=True):
        left = (width - W) // 2
        assert np.abs(frame[:H, left : left + W] - np.asarray(shot.picture).astype(int)).mean() < 6
        assert (frame[H:].max(axis=-1) < 120).any() and not (frame[H:, :2].max(axis=-1) < 200).any()


def test_pictures_of_other_sizes_stand_in_the_middle(tmp_path: Path) -> None:
    small = Image.new("RGB", (W // 2, H // 2), (20, 60, 120))
    save_animation([ramp(0), small], tmp_path / "a.apng")
    (_, _), (frame, _) = frames(tmp_path / "a.apng")
    assert frame.shape == (H, W, 3)
    assert (frame[H // 4 : -H // 4, W // 4 : -W // 4] == (20, 60, 120)).all() and (frame[:2] == 255).all()


def test_mp4_has_its_frames_as_often_as_they_are_long(tmp_path: Path) -> None:
    save_animation([Shot(ramp(0), held=True), Shot(ramp(2)), Shot(ramp(4))], tmp_path / "a.mp4", fps=4, hold=1)
    about, *shown = imageio_ffmpeg.read_frames(str(tmp_path / "a.mp4"))
    assert (about["size"], about["fps"], len(shown)) == ((W, H), 4.0, 4 + 1 + 4)
    for data, k in ((shown[3], 0), (shown[4], 2), (shown[5], 4)):
        frame = np.frombuffer(data, np.uint8).reshape(H, W, 3).astype(int)
        assert np.abs(frame - np.asarray(ramp(k))).mean() < 8


def test_mp4_without_its_library_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(ValueError, match=r"needs imageio-ffmpeg: pip install imageio-ffmpeg, or name the film \.webp"):
        save_animation([ramp(0)], tmp_path / "a.mp4")
    assert not list(tmp_path.iterdir())
