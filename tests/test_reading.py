"""Files into pictures: their colours, their transparency, and masks as people draw them."""

import io
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from stable_diffusion.pictures import reading
from stable_diffusion.pictures.reading import read_mask, read_picture, read_transparency
from stable_diffusion.pictures.writing import save

XYZ = tuple[float, float, float]


def matrix_profile(red: XYZ, green: XYZ, blue: XYZ) -> bytes:
    """An ICC profile of RGB with these primaries (at D50) and a gamma of 2.2, by hand: three columns, one curve."""

    def fixed(value: float) -> bytes:
        return round(value * 65536).to_bytes(4, "big", signed=True)

    def xyz(values: XYZ) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(map(fixed, values))

    curve = b"curv\0\0\0\0\0\0\0\1" + int(2.2 * 256).to_bytes(2, "big") + b"\0\0"
    text = b"desc\0\0\0\0\0\0\0\5test\0" + bytes(78 + 3)
    tags = {
        b"desc": text, b"wtpt": xyz((0.9642, 1.0, 0.8249)), b"rXYZ": xyz(red), b"gXYZ": xyz(green), b"bXYZ": xyz(blue),
        b"rTRC": curve, b"gTRC": curve, b"bTRC": curve, b"cprt": b"text\0\0\0\0none\0\0\0\0",
    }  # fmt: skip
    at, table, data = 128 + 4 + 12 * len(tags), len(tags).to_bytes(4, "big"), b""
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        table += name + (at + len(data)).to_bytes(4, "big") + len(content).to_bytes(4, "big")
        data += content
    head = bytearray(128)
    head[8:12] = b"\x02\x10\0\0"
    head[12:24] = b"mntrRGB XYZ "
    head[36:40] = b"acsp"
    head[68:80] = fixed(0.9642) + fixed(1.0) + fixed(0.8249)
    profile = bytes(head) + table + data
    return len(profile).to_bytes(4, "big") + profile[4:]


# Display P3's primaries, adapted to D50 (Apple's own profile has these numbers).
P3 = matrix_profile((0.51512, 0.2412, -0.00105), (0.29198, 0.69225, 0.04189), (0.1571, 0.06657, 0.78407))


def test_display_p3_is_converted_to_srgb(tmp_path: Path) -> None:
    """A colour that both can show, by hand: sRGB (200, 100, 60) is about (187, 106, 70) in P3."""
    srgb = np.array([200, 100, 60]) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.7141]])
    p3 = np.array([[0.51512, 0.29198, 0.1571], [0.2412, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]])
    there = (np.linalg.solve(p3, to_xyz @ linear) ** (1 / (563 / 256)) * 255).round()
    assert abs(there - [200, 100, 60]).max() > 8
    Image.new("RGB", (8, 8), tuple(map(int, there))).save(tmp_path / "a.png", icc_profile=P3)
    picture = read_picture(tmp_path / "a.png")
    assert abs(np.asarray(picture).astype(int) - [200, 100, 60]).max() <= 2
    assert "icc_profile" not in picture.info


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "tiff", "bmp"])
def test_no_output_carries_a_profile(tmp_path: Path, ending: str) -> None:
    Image.new("RGB", (8, 8), (200, 100, 60)).save(tmp_path / "a.png", icc_profile=P3)
    save(read_picture(tmp_path / "a.png"), tmp_path / f"b.{ending}")
    with Image.open(tmp_path / "a.png") as other:
        save(other, tmp_path / f"c.{ending}")  # whatever is saved, and however it was made
    for name in ("b", "c"):
        with Image.open(tmp_path / f"{name}.{ending}") as saved:
            assert "icc_profile" not in saved.info


def test_srgbs_own_profile_changes_nothing(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png", icc_profile=profile)
    assert np.abs(np.asarray(read_picture(tmp_path / "a.png")).astype(int) - pixels).max() <= 1


@pytest.mark.parametrize("mode", ["RGBA", "P", "PA", "L", "LA", "1", "CMYK", "I;16"])
def test_a_profile_on_any_mode_is_a_picture(tmp_path: Path, mode: str) -> None:
    """With a profile of its own kind or of another: it is used, or told to be ignored, and never an error."""
    picture = Image.new("RGB", (8, 8), (200, 100, 60))
    picture = picture.convert("L").convert("I;16") if mode == "I;16" else picture.convert(mode)
    ending = "tiff" if mode in ("CMYK", "I;16") else "png"
    if mode == "PA":
        picture, ending = picture.convert("RGBA"), "png"
    picture.save(tmp_path / f"a.{ending}", icc_profile=P3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = read_picture(tmp_path / f"a.{ending}")
    assert made.mode == "RGB" and made.size == (8, 8)


@pytest.mark.parametrize("profile", [b"nonsense", P3[:200], bytes(500)])
def test_a_damaged_profile_is_ignored_and_told(tmp_path: Path, profile: bytes) -> None:
    Image.new("RGB", (8, 8), (200, 100, 60)).save(tmp_path / "a.png", icc_profile=profile)
    with pytest.warns(UserWarning, match="colour profile is damaged"):
        assert read_picture(tmp_path / "a.png").getpixel((0, 0)) == (200, 100, 60)


def test_lab_pictures_have_their_colours(tmp_path: Path) -> None:
    lab = ImageCms.profileToProfile(
        Image.new("RGB", (8, 8), (200, 100, 60)),
        ImageCms.createProfile("sRGB"),
        ImageCms.createProfile("LAB"),
        outputMode="LAB",
    )
    assert lab is not None
    lab.save(tmp_path / "a.tiff")
    assert np.abs(np.asarray(read_picture(tmp_path / "a.tiff")).astype(int) - [200, 100, 60]).max() <= 4


def test_large_texts_are_no_reason_to_refuse_the_pixels(tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("comment", "x" * 1_500_000, zip=True)
    info.add_itxt("XML:com.adobe.xmp", "y" * 1_500_000, zip=True)
    Image.new("RGB", (8, 8), "red").save(tmp_path / "a.png", pnginfo=info)
    assert read_picture(tmp_path / "a.png").getpixel((0, 0)) == (255, 0, 0)


# Transparency


def picture_with(alpha: np.ndarray, path: Path) -> Path:
    Image.fromarray(np.dstack([np.full((*alpha.shape, 3), 90, np.uint8), alpha.astype(np.uint8)])).save(path)
    return path


def rounded() -> np.ndarray:
    """A screenshot of a window: round corners of 20 pixels, their edges soft."""
    y, x = np.mgrid[0:600, 0:800]
    outside = np.hypot(np.maximum(20 - np.minimum(x, 799 - x), 0), np.maximum(20 - np.minimum(y, 599 - y), 0)) - 20
    return np.clip(255 - 255 * np.clip(outside, 0, 1), 0, 255)


def shadow() -> np.ndarray:
    """A window in its shadow: a margin of 60 pixels that fades out."""
    y, x = np.mgrid[0:400, 0:500]
    inside = np.minimum(np.minimum(x, 499 - x), np.minimum(y, 399 - y))
    return np.where(inside >= 60, 255, inside * 2)


def speck() -> np.ndarray:
    alpha = np.full((100, 100), 255)
    alpha[50, 50] = 254
    return alpha


@pytest.mark.parametrize("alpha", [rounded, shadow, speck])
def test_edges_shadows_and_specks_are_no_holes_and_told(tmp_path: Path, alpha: object) -> None:
    path = picture_with(alpha(), tmp_path / "a.png")  # type: ignore[operator]
    with pytest.warns(UserWarning, match="is transparent, in edges, shadows or specks"):
        assert read_transparency(path) is None
    assert read_transparency(path, any_at_all=True) is not None


@pytest.mark.parametrize("feather", [0, 6])
def test_a_hole_is_a_hole(tmp_path: Path, feather: int) -> None:
    y, x = np.mgrid[0:100, 0:100]
    alpha = np.clip((np.hypot(x - 50, y - 50) - 20) * (255 / feather if feather else 1e9), 0, 255)
    mask = read_transparency(picture_with(alpha, tmp_path / "a.png"))
    assert mask is not None and mask.getpixel((50, 50)) == 255 and mask.getpixel((0, 0)) == 0


def test_an_opaque_picture_says_nothing(tmp_path: Path) -> None:
    path = picture_with(np.full((8, 8), 255), tmp_path / "a.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_transparency(path) is None


# Masks


@pytest.mark.parametrize("under", [0, 255])
def test_white_strokes_on_nothing_are_white_on_black(tmp_path: Path, under: int) -> None:
    pixels = np.full((16, 16, 4), under, np.uint8)
    pixels[..., 3] = 0
    pixels[8:, 8:] = 255
    Image.fromarray(pixels).save(tmp_path / "m.png")
    mask = np.asarray(read_mask(tmp_path / "m.png"))
    assert (mask[8:, 8:] == 255).all() and (mask[:8] == 0).all()


def test_a_hole_in_black_is_what_is_repainted(tmp_path: Path) -> None:
    pixels = np.zeros((16, 16, 4), np.uint8)
    pixels[:8, :, 3] = 255
    Image.fromarray(pixels).save(tmp_path / "m.png")
    mask = np.asarray(read_mask(tmp_path / "m.png"))
    assert (mask[8:] == 255).all() and (mask[:8] == 0).all()


def test_a_mask_of_zeros_and_ones_is_taken_for_black_and_white_and_told(tmp_path: Path) -> None:
    Image.fromarray(np.eye(8, dtype=np.uint8)).save(tmp_path / "m.png")
    with pytest.warns(UserWarning, match="1 is taken for white"):
        assert np.array_equal(np.asarray(read_mask(tmp_path / "m.png")), 255 * np.eye(8))


def test_a_profile_in_a_jpeg_is_used_too(tmp_path: Path) -> None:
    data = io.BytesIO()
    Image.new("RGB", (16, 16), (187, 106, 70)).save(data, "JPEG", icc_profile=P3, quality=100, subsampling=0)
    (tmp_path / "a.jpg").write_bytes(data.getvalue())
    assert np.asarray(read_picture(tmp_path / "a.jpg"))[0, 0, 0] > 192


def test_pipes_and_devices_are_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path / "pipe.png", Path("/dev/zero")):
        for read in (read_picture, read_mask, read_transparency):
            with pytest.raises(ValueError, match="a device or a pipe"):
                read(path)


def test_heic_is_read_where_its_library_is_there_and_else_the_remedy_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reading.HEIC:
        Image.new("RGB", (64, 64), (200, 100, 60)).save(tmp_path / "a.heic", quality=100)
        assert np.abs(np.asarray(read_picture(tmp_path / "a.heic")).astype(int) - [200, 100, 60]).max() <= 6
    monkeypatch.setattr(reading, "HEIC", False)
    (tmp_path / "b.heic").write_bytes(b"no picture at all")
    with pytest.raises(ValueError, match="pip install pillow-heif"):
        read_picture(tmp_path / "b.heic")
