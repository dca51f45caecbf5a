"""Pictures into files."""

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from ..whole import unfinished_name, written
from .images import Picture
from .metadata import Attached

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")  # of the files that can be written
# What somebody who names a picture or a film may end it with.
MEDIA = {*ENDINGS, ".gif", ".apng", ".mp4", ".mov", ".avif", ".heic", ".psd"}
CARRYING = (".png", ".jpg", ".jpeg", ".webp")  # of those that carry what is attached


def check_writable(path: Path, endings: Sequence[str] = ENDINGS) -> None:
    """Raise ValueError, in one sentence and before any work is done, for a file that could not be written."""
    folder = path.parent
    if path.suffix.lower() not in endings:
        # What ends like another kind of picture or film gets another ending; anything else is part of the name.
        named = path.with_suffix(endings[0]) if path.suffix.lower() in MEDIA else path.with_name(path.name + endings[0])
        raise ValueError(f"{path} must end in {', '.join(endings[:-1])} or {endings[-1]}: name it {named.name}")
    if path.parts[0].startswith("~"):
        raise ValueError(f"{path} can't be written: there is no user {path.parts[0][1:]!r}")
    there = next((place for place in (folder, *folder.parents) if place.exists()), folder)  # the rest will be made
    if not there.is_dir():
        raise ValueError(f"{path} can't be written: {there} is no folder")
    try:
        with contextlib.suppress(FileNotFoundError):
            path.lstat()  # finds a name that is too long
        trial = unfinished_name(there / path.name)
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise ValueError(f"{path} can't be written ({error.strerror})") from None


def save(picture: Picture, path: Path, attached: Attached | None = None, overwrite: bool = True) -> Path:
    """Write a picture, whole or not at all, as sRGB: without a profile. What is attached goes into files that can
    carry it: all of it into PNG, the texts into JPEG and WebP.

    Returns where it lies: see `written`.
    """
    if "icc_profile" in picture.info:
        picture = picture.copy()
        del picture.info["icc_profile"]
    more: dict[str, Any] = {"quality": 95}
    if attached and path.suffix.lower() == ".png":
        more = {"pnginfo": attached.chunks()}
    elif attached and path.suffix.lower() in CARRYING:
        more["exif"] = attached.exif()
    data = io.BytesIO()  # first into memory: Pillow does not notice a full disk
    picture.save(data, Image.registered_extensions()[path.suffix.lower()], **more)
    with written(path, overwrite) as unfinished:
        unfinished.put(data.getvalue())
    return unfinished.path
