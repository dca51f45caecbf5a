"""Pictures of every kind in, arrays, sheets, and files that are whole or not there."""

import contextlib
import multiprocessing
import os
import stat
import sys
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from PIL import Image

from stable_diffusion.pictures import images
from stable_diffusion.pictures.animation import save_animation
from stable_diffusion.pictures.images import contact_sheet, fitted, to_array, to_picture
from stable_diffusion.pictures.reading import read_mask, read_picture, read_transparency
from stable_diffusion.pictures.writing import ENDINGS, check_writable, save
from stable_diffusion.whole import clear_unfinished, free_stem, written

RAMP = np.linspace(0, 255, 12 * 16).round().astype(np.uint8).reshape(12, 16)
COLOURS = np.stack([RAMP, RAMP[::-1], RAMP[:, ::-1]], axis=-1)


def pixels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture).astype(int)


def assert_pixels(picture: Image.Image, expected: np.ndarray, within: int = 0) -> None:
    assert picture.mode == "RGB"
    assert pixels(picture).shape == expected.shape
    largest = abs(pixels(picture) - expected.astype(int)).max()
    assert largest <= within, f"the largest difference is {largest}"


def grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[..., None], 3, axis=-1)


# Reading


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_a_png_of_any_mode_is_read_with_its_colours(tmp_path: Path, mode: str) -> None:
    picture = Image.fromarray(COLOURS).convert(mode)
    picture.save(tmp_path / "a.png")
    assert_pixels(read_picture(tmp_path / "a.png"), pixels(picture.convert("RGB")))


@pytest.mark.parametrize("ending", ["jpg", "webp", "tiff", "bmp", "gif"])
def test_a_picture_of_other_formats_is_read(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    Image.new("RGB", (16, 12), (200, 100, 50)).save(path)
    assert_pixels(read_picture(path), np.full((12, 16, 3), (200, 100, 50)), within=3)


def test_a_cmyk_picture_is_read_as_rgb(tmp_path: Path) -> None:
    Image.fromarray(COLOURS).convert("CMYK").save(tmp_path / "a.tiff")
    assert_pixels(read_picture(tmp_path / "a.tiff"), COLOURS, within=1)


def test_colours_under_transparent_pixels_are_used_as_they_are(tmp_path: Path) -> None:
    alpha = np.zeros((12, 16, 1), dtype=np.uint8)
    Image.fromarray(np.concatenate([COLOURS, alpha], axis=-1)).save(tmp_path / "rgba.png")
    Image.fromarray(np.concatenate([RAMP[..., None], alpha], axis=-1)).save(tmp_path / "la.png")
    assert_pixels(read_picture(tmp_path / "rgba.png"), COLOURS)
    assert_pixels(read_picture(tmp_path / "la.png"), grey(RAMP))


@pytest.mark.parametrize("transparency", [7, bytes([0] * 256)], ids=["one colour", "a table"])
def test_a_transparent_palette_keeps_its_colours(tmp_path: Path, transparency: int | bytes) -> None:
    picture = Image.fromarray(COLOURS).quantize(256)
    picture.save(tmp_path / "a.png", transparency=transparency)
    assert "transparency" in Image.open(tmp_path / "a.png").info
    assert_pixels(read_picture(tmp_path / "a.png"), pixels(picture.convert("RGB")))


@pytest.mark.parametrize("ending", ["png", "tiff"])
@pytest.mark.parametrize("scale", [257, 1], ids=["bright", "nearly black"])
def test_sixteen_bits_are_scaled_and_not_cut_off(tmp_path: Path, ending: str, scale: int) -> None:
    values = RAMP.astype(np.uint16) * scale
    Image.fromarray(values).save(tmp_path / f"a.{ending}")
    assert_pixels(read_picture(tmp_path / f"a.{ending}"), grey((values / 257 + 0.5).astype(int)))


def test_sixteen_bits_in_the_other_byte_order_are_read(tmp_path: Path) -> None:
    Image.frombytes("I;16B", (16, 12), (RAMP.astype(">u2") * 257).tobytes()).save(tmp_path / "a.tiff")
    assert_pixels(read_picture(tmp_path / "a.tiff"), grey(RAMP))


@pytest.mark.parametrize(
    ("dtype", "white"), [(np.int32, 255), (np.int32, 65535), (np.int32, 10**9), (np.float32, 1), (np.float32, 255)]
)
def test_numbers_of_32_bits_are_read_by_their_largest_value(tmp_path: Path, dtype: type, white: int) -> None:
    Image.fromarray((RAMP / 255 * white).astype(dtype)).save(tmp_path / "a.tiff")
    assert_pixels(read_picture(tmp_path / "a.tiff"), grey(RAMP), within=1)


def test_floats_that_are_no_numbers_are_black(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), np.nan, dtype=np.float32)).save(tmp_path / "a.tiff")
    assert_pixels(read_picture(tmp_path / "a.tiff"), np.zeros((4, 4, 3)))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_camera_held_any_way_gives_the_upright_picture(tmp_path: Path, orientation: int) -> None:
    # How the upright picture lies in the file, for each value of EXIF's tag 274.
    lying = {
        1: COLOURS,
        2: COLOURS[:, ::-1],
        3: COLOURS[::-1, ::-1],
        4: COLOURS[::-1],
        5: COLOURS.swapaxes(0, 1),
        6: np.rot90(COLOURS),
        7: COLOURS.swapaxes(0, 1)[::-1, ::-1],
        8: np.rot90(COLOURS, -1),
    }[orientation]
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(np.ascontiguousarray(lying)).save(tmp_path / "a.png", exif=exif)
    assert_pixels(read_picture(tmp_path / "a.png"), COLOURS)


def test_a_file_that_is_no_picture_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder.png").mkdir()
    for name, words in (
        ("missing.png", "there is no picture"),
        ("text.png", "not a picture"),
        ("empty.png", "not a picture"),
        ("folder.png", "is a folder"),
        ("nu\0ll.png", "can't be read"),
    ):
        with pytest.raises(ValueError, match=words) as caught:
            read_picture(tmp_path / name)
        assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore")  # Pillow has some to say
@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "tiff", "gif", "bmp", "ppm"])
def test_a_damaged_picture_is_one_sentence_or_a_picture(tmp_path: Path, ending: str) -> None:
    path, rng = tmp_path / f"a.{ending}", np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"can't be read|not a picture"):
        read_picture(path)
    for _ in range(60):
        damaged = np.frombuffer(whole, dtype=np.uint8).copy()
        damaged[rng.integers(0, 150, 5)] = rng.integers(0, 256, 5)
        path.write_bytes(damaged.tobytes())
        with contextlib.suppress(ValueError):
            assert read_picture(path).mode == "RGB"


# Sizes


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (7, 9), (50, 70), (64, 64), (130, 61), (300, 8), (1, 200)])
@pytest.mark.parametrize(("width", "height"), [(None, None), (32, None), (None, 44), (64, 24), (108, 100)])
def test_sides_are_always_multiples_of_8(
    size: tuple[int, int], width: int | None, height: int | None, inside: bool
) -> None:
    made = fitted(Image.new("RGB", size), width, height, inside)
    assert made.width % 8 == 0 and made.height % 8 == 0 and made.width >= 8 and made.height >= 8
    if width and height:
        within = (width // 8 * 8, height // 8 * 8)
        assert made.width <= within[0] and made.height <= within[1]
        assert inside or made.size == within


def test_a_picture_that_fits_is_left_alone() -> None:
    picture = Image.fromarray(COLOURS).resize((64, 32))
    assert fitted(picture) is picture
    assert fitted(picture, 64) is picture
    assert fitted(picture, 64, 32) is picture


def test_one_side_makes_the_other_follow() -> None:
    picture = Image.new("RGB", (400, 200))
    assert fitted(picture, width=64).size == (64, 32)
    assert fitted(picture, height=64).size == (128, 64)
    assert fitted(picture, 64, 64).size == (64, 64)
    assert fitted(picture, 64, 64, inside=True).size == (64, 32)


@pytest.mark.parametrize(("width", "height"), [(None, None), (64, None), (None, 96), (64, 64), (128, 64), (64, 128)])
@pytest.mark.parametrize("inside", [False, True])
def test_nothing_is_stretched(width: int | None, height: int | None, inside: bool) -> None:
    x, y = np.meshgrid(np.arange(203) - 101, np.arange(151) - 75)
    disc = Image.fromarray(grey(np.where(x**2 + y**2 < 30**2, 255, 0).astype(np.uint8)))
    made = pixels(fitted(disc, width, height, inside))[..., 0] / 255
    across, down = made[made.shape[0] // 2].sum(), made[:, made.shape[1] // 2].sum()
    assert abs(across - down) < 1.5, f"a disc became {across:.1f} x {down:.1f}"


def test_resampling_is_lanczos() -> None:
    picture = Image.fromarray(COLOURS).resize((200, 100), Image.Resampling.NEAREST)
    assert_pixels(fitted(picture, 64, 32), pixels(picture.resize((64, 32), Image.Resampling.LANCZOS)))


def test_a_size_beyond_reason_is_an_error() -> None:
    for size, width, height in (((1, 30000), 128, None), ((32, 32), 2**16, 2**16), ((32, 32), 10**20, None)):
        with pytest.raises(ValueError, match="too large"):
            fitted(Image.new("RGB", size), width, height)


# Arrays


def test_all_256_values_come_back_exactly() -> None:
    values = grey(np.arange(256, dtype=np.uint8).reshape(16, 16))
    array = to_array(Image.fromarray(values))
    assert array.dtype == mx.float32 and array.min().item() == -1 and array.max().item() == 1
    assert_pixels(to_picture(array / 2 + 0.5), values)


def test_rounding_is_to_the_nearest_value() -> None:
    made = to_picture(mx.broadcast_to(mx.array([[0.4, 1.6, 254.4, 254.6]])[..., None] / 255, (1, 4, 3)))
    assert pixels(made)[0, :, 0].tolist() == [0, 2, 254, 255]


# Sheets


def test_a_sheet_leaves_the_places_empty_that_no_picture_fills() -> None:
    colours = [(10 * k, 0, 200) for k in range(5)]
    sheet = pixels(contact_sheet([Image.new("RGB", (8, 16), colour) for colour in colours], rows=2, gap=2))
    assert sheet.shape == (2 * 18 + 2, 3 * 10 + 2, 3)
    for k in range(6):
        y, x = 2 + 18 * (k // 3), 2 + 10 * (k % 3)
        expected = colours[k] if k < 5 else (255, 255, 255)
        assert (sheet[y : y + 16, x : x + 8] == expected).all()


@pytest.mark.parametrize(("n", "rows", "shape"), [(3, 7, (3, 1)), (2, 10**9, (2, 1)), (5, 4, (3, 2)), (1, 1, (1, 1))])
def test_a_sheet_has_no_row_without_a_picture(n: int, rows: int, shape: tuple[int, int]) -> None:
    sheet = contact_sheet([Image.new("RGB", (8, 8))] * n, rows, gap=0)
    assert (sheet.height // 8, sheet.width // 8) == shape


# Files


@pytest.mark.parametrize("name", ["a.png", "a.PNG", "a.jpg", "a.JPeG", "a.webp", "a.tiff", "a.bmp", "ü 日本 😀.png"])
def test_a_picture_is_written_in_the_format_of_its_ending(tmp_path: Path, name: str) -> None:
    check_writable(tmp_path / name)
    save(Image.new("RGB", (16, 16), (200, 100, 50)), tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert_pixels(read_picture(tmp_path / name), np.full((16, 16, 3), (200, 100, 50)), within=3)


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "tif", "bmp", "gif"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_interrupted_save_leaves_nothing_and_keeps_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, ending: str
) -> None:
    path = tmp_path / f"a.{ending}"
    path.write_bytes(b"mine")

    def half(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[:50])
        raise error

    monkeypatch.setattr(Path, "write_bytes", half)
    picture = Image.new("RGB", (64, 64), "red")
    with pytest.raises((KeyboardInterrupt, OSError)) as caught:
        save_animation([picture, picture], path) if ending == "gif" else save(picture, path)
    assert isinstance(caught.value, KeyboardInterrupt) or f"a.{ending} can't be written (No space" in str(caught.value)
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == [f"a.{ending}"] and path.read_bytes() == b"mine"


def test_a_disk_that_is_full_only_in_the_end_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="can't be written"):
        save(Image.new("RGB", (8, 8)), tmp_path / "a.jpg")
    assert list(tmp_path.iterdir()) == []


def _save_many(folder: Path, number: int) -> list[str]:
    picture = Image.new("RGB", (8, 8), (number, 0, 0))
    return [save(picture, folder / "out.png", overwrite=False).name for _ in range(20)]


def test_pictures_of_many_processes_under_one_name_are_all_there(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        names = [name for some in pool.starmap(_save_many, [(tmp_path, n) for n in range(4)]) for name in some]
    assert len(set(names)) == 80 and sorted(names) == sorted(p.name for p in tmp_path.iterdir())
    reds = [Image.open(tmp_path / name).getpixel((0, 0))[0] for name in names]  # type: ignore[index]
    assert [reds.count(n) for n in range(4)] == [20] * 4


def test_a_link_that_leads_nowhere_is_somebodys(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to(tmp_path / "gone.png")
    assert save(Image.new("RGB", (8, 8)), tmp_path / "a.png", overwrite=False).name == "a-1.png"
    assert (tmp_path / "a.png").is_symlink() and not (tmp_path / "gone.png").exists()


def test_a_file_system_without_links_loses_nothing_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", no_links)
    names = [save(Image.new("RGB", (8, 8)), tmp_path / "a.png", overwrite=False).name for _ in range(3)]
    assert names == ["a.png", "a-1.png", "a-2.png"] == sorted((p.name for p in tmp_path.iterdir()), key=names.index)


def test_what_dead_processes_left_unfinished_is_removed(tmp_path: Path) -> None:
    with written(tmp_path / "a.png") as mine:
        mine.put(b"x")
        prefix, _, token = mine.at.name.rpartition(f"-{os.getpid()}-")
        for name in (f"{prefix}-{2**22 + 1}-{token}", ".unfinished-other-1-x.png", f"{prefix}-x-y.png"):
            (tmp_path / name).write_bytes(b"x")
        clear_unfinished(tmp_path)
        assert mine.at.exists()
    left = sorted(p.name for p in tmp_path.iterdir())
    assert left == sorted(["a.png", ".unfinished-other-1-x.png", f"{prefix}-x-y.png"])


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_permissions_follow_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        save(Image.new("RGB", (8, 8)), tmp_path / "a.png")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.png").stat().st_mode) == 0o666 & ~umask


def test_a_free_name_is_found_beside_existing_files(tmp_path: Path) -> None:
    path = tmp_path / "a.b.png"
    assert free_stem(path) == path
    path.touch()
    assert free_stem(path).name == "a.b-1.png"
    (tmp_path / "a.b-1-seed7.png").touch()
    assert free_stem(path).name == "a.b-1.png"
    assert free_stem(path, ["-seed6", "-seed7"]).name == "a.b-2.png"


def test_what_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name, words in (
        ("a.txt", "name it a.txt.png"),
        ("a.psd", "must end in .png"),
        ("v1.5", "name it v1.5.png"),
        ("file/a.png", "file is no folder"),
        ("a" * 300 + ".png", "too long"),
    ):
        with pytest.raises(ValueError, match=words):
            check_writable(tmp_path / name)
    for name in ("a.png", "new/folder/a.png"):  # which is made when there is something to put into it
        check_writable(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(sys.platform != "linux", reason="a folder that not even root can write to")
def test_a_folder_that_cannot_be_written_to_is_told_at_once() -> None:
    with pytest.raises(ValueError, match="can't be written"):
        check_writable(Path("/proc/a.png"))


def test_all_endings_are_formats_that_are_there() -> None:
    assert set(ENDINGS) <= Image.registered_extensions().keys()


def test_masks_are_grey_and_white_is_to_be_repainted(tmp_path: Path) -> None:
    Image.new("RGB", (16, 8), "white").save(tmp_path / "m.png")
    mask = read_mask(tmp_path / "m.png")
    assert mask.mode == "L"
    assert mx.array_equal(images.to_mask(mask), mx.ones((8, 16)))
    with pytest.raises(ValueError, match="there is no picture"):
        read_mask(tmp_path / "no.png")


def test_the_transparent_part_of_a_picture_is_a_mask(tmp_path: Path) -> None:
    picture = Image.new("RGBA", (16, 8), (10, 20, 30, 255))
    picture.save(tmp_path / "opaque.png")
    assert read_transparency(tmp_path / "opaque.png") is None
    picture.paste((200, 100, 50, 0), (0, 0, 8, 8))
    picture.paste((200, 100, 50, 155), (8, 0, 10, 8))
    picture.save(tmp_path / "hole.png")
    mask = read_transparency(tmp_path / "hole.png")
    assert mask is not None
    assert [mask.getpixel((x, 3)) for x in (0, 7, 8, 10, 15)] == [255, 255, 100, 0, 0]
    assert read_picture(tmp_path / "hole.png").getpixel((0, 0)) == (200, 100, 50)
    Image.new("RGB", (8, 8)).save(tmp_path / "rgb.png")
    assert read_transparency(tmp_path / "rgb.png") is None


def test_a_composition_keeps_the_originals_pixels_exactly() -> None:
    rng = np.random.default_rng(0)
    painted, original = (Image.fromarray(rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)) for _ in range(2))
    grey = np.zeros((8, 8), dtype=np.uint8)
    grey[:, 4:], grey[:, 6:] = 128, 255
    made = np.asarray(images.composed(painted, original, Image.fromarray(grey))).astype(int)
    assert (made[:, :4] == np.asarray(original)[:, :4]).all()
    assert (made[:, 6:] == np.asarray(painted)[:, 6:]).all()
    between = (np.asarray(original).astype(int) + np.asarray(painted).astype(int)) / 2
    assert np.abs(made - between)[:, 4:6].max() <= 1
