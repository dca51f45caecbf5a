"""Files into pictures: any kind and mode, upright, in sRGB."""

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageCms, ImageOps, PngImagePlugin, UnidentifiedImageError

from ..devices import DEVICE, is_device
from .images import Picture

try:
    import pillow_heif
except ImportError:  # the extra `heic`
    HEIC = False
else:
    pillow_heif.register_heif_opener()
    HEIC = True

Result = TypeVar("Result")

PngImagePlugin.MAX_TEXT_CHUNK = 2**24  # of a text or a profile, unpacked; Pillow's own limit of 1 MiB refuses pixels
PngImagePlugin.MAX_TEXT_MEMORY = 2**26

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
LAB = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))

HOLE = 0.005  # the share of a picture that must be wholly transparent to be taken for a hole


def read_picture(path: str | Path) -> Picture:
    """A picture file of any mode as RGB, upright; colours under transparent pixels are used as they are.

    The colours of an embedded profile (Display P3, Adobe RGB, CMYK, ...) are converted to sRGB, relative
    colorimetric with black point compensation; a profile that is damaged is ignored, with a warning.
    Raises ValueError, in one sentence, for a file that is missing or is no picture.
    """
    return _read(path, _rgb)


def read_mask(path: str | Path) -> Picture:
    """A picture file as a mask, grey: white is to be repainted. Raises ValueError as `read_picture` does.

    Where a mask is transparent it counts as black, so that white strokes may lie on nothing; but if all that is opaque
    is black, its transparent part is the hole that is to be repainted. Values of 0 and 1 alone are taken for black and
    white, with a warning.
    """

    def mask(picture: Picture, deep: bool) -> Picture:
        grey, alpha = _rgb(picture, deep).convert("L"), _alpha(picture)
        if alpha is not None:
            opaque = Image.composite(grey, Image.new("L", grey.size), alpha)
            grey = opaque if opaque.getextrema()[1] >= 128 else ImageOps.invert(alpha)  # type: ignore[operator]
        low, high = grey.getextrema()
        if (low, high) == (0, 1):
            warnings.warn(f"the mask {str(path)!r} has values of 0 and 1 of 255: 1 is taken for white", stacklevel=4)
            grey = grey.point(lambda value: 255 * value)
        return grey

    return _read(path, mask)


def read_transparency(path: str | Path, any_at_all: bool = False) -> Picture | None:
    """The hole in a picture file as a mask: its transparent part, or None where it has none. Raises the same.

    Rounded corners, soft shadows and stray pixels are no hole: at least half a per cent of the picture must be wholly
    transparent, and more of it wholly than partly; with any_at_all everything that is not opaque counts. Warns of
    transparency that is not taken.
    """

    def transparency(picture: Picture, deep: bool) -> Picture | None:
        alpha = _alpha(picture)
        if alpha is None or alpha.getextrema()[0] == 255:
            return None
        values = np.asarray(alpha)
        wholly, partly = float((values == 0).mean()), float(((values > 0) & (values < 255)).mean())
        if any_at_all or (wholly >= HOLE and wholly > partly):
            return ImageOps.invert(alpha)
        warnings.warn(
            f"{wholly + partly:.2%} of {str(path)!r} is transparent, in edges, shadows or specks: it is painted as a "
            "whole; --alpha repaints just these",
            stacklevel=4,
        )
        return None

    return _read(path, transparency)


def _alpha(picture: Picture) -> Picture | None:
    """How opaque a picture is, or None where it does not say."""
    if "A" not in picture.getbands() and "transparency" not in picture.info:
        return None
    return picture.convert("RGBA").getchannel("A")


def _read(path: str | Path, use: Callable[[Picture, bool], Result]) -> Result:
    """Open a picture file, upright, and make something of it; `deep`: its values of more than 8 bits have 16."""
    if is_device(path):  # which might never end
        raise ValueError(f"{str(path)!r} {DEVICE}")
    try:
        with Image.open(path) as opened:
            picture = ImageOps.exif_transpose(opened)
            picture.load()
            return use(picture, opened.format == "PNG" or opened.mode.startswith("I;16"))
    except FileNotFoundError:
        raise ValueError(f"there is no picture {str(path)!r}") from None
    except IsADirectoryError:
        raise ValueError(f"{str(path)!r} is a folder, not a picture") from None
    except PermissionError:
        raise ValueError(f"the picture {str(path)!r} can't be read (permission denied)") from None
    except UnidentifiedImageError:
        if Path(path).suffix.lower() in (".heic", ".heif", ".hif") and not HEIC:
            raise ValueError(f"{str(path)!r} is HEIC, which takes one more library: pip install pillow-heif") from None
        raise ValueError(f"{str(path)!r} is not a picture, or of a kind that is not known here") from None
    except Exception as error:  # Pillow's readers raise whatever a damaged file makes them stumble over
        raise ValueError(f"the picture {str(path)!r} can't be read ({error})") from None


def _rgb(picture: Picture, deep: bool) -> Picture:
    """Any mode to RGB, in sRGB; deep: values of more than 8 bits are known to have 16."""
    profile = picture.info.get("icc_profile")
    if picture.mode.startswith(("I", "F")):  # Pillow's own conversion cuts these off at 255
        values = np.nan_to_num(np.asarray(picture, dtype=np.float64))
        largest = values.max()
        white = 65535 if deep else next((white for white in (1, 255, 65535) if largest <= white), largest)
        picture = Image.fromarray(np.clip(values * (255 / white) + 0.5, 0, 255).astype(np.uint8))
    if picture.mode == "P":  # a palette may hold its transparency as one of its colours
        picture = picture.convert("RGBA")
    if picture.mode in ("RGBA", "LA", "1"):
        picture = picture.convert({"RGBA": "RGB"}.get(picture.mode, "L"))
    if profile and (converted := _to_srgb(picture, profile)):
        return converted
    if picture.mode == "LAB":
        return _converted(picture, LAB)
    return Image.fromarray(np.asarray(picture.convert("RGB")))  # without what the file said of it


def _to_srgb(picture: Picture, profile: bytes) -> Picture | None:
    """The colours of a profile in sRGB; None, and a warning, where the profile cannot be used."""
    try:
        return _converted(picture, ImageCms.ImageCmsProfile(io.BytesIO(profile)))
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        warnings.warn("the picture's colour profile is damaged, or not of its kind: it is ignored", stacklevel=6)
        return None


def _converted(picture: Picture, profile: ImageCms.ImageCmsProfile) -> Picture:
    intent, flags = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION
    made = ImageCms.profileToProfile(picture, profile, SRGB, intent, outputMode="RGB", flags=flags)
    assert made is not None
    return Image.fromarray(np.asarray(made))
