"""Pictures into files: whole or not at all, under names that are free."""

import contextlib
import hashlib
import io
import os
import platform
import secrets
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

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
        trial = _unfinished(there / path.name)
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise ValueError(f"{path} can't be written ({error.strerror})") from None


class Unfinished:
    """A file that is being written: beside its place, until it is whole."""

    def __init__(self, wanted: Path) -> None:
        self.at = _unfinished(wanted)  # where to write
        self.path = wanted  # where it lies in the end

    def put(self, data: bytes) -> None:
        """Write all of it."""
        self.at.write_bytes(data)


@contextlib.contextmanager
def written(path: Path, overwrite: bool = True) -> Iterator[Unfinished]:
    """A file beside path to write to, which is moved there at the end: under its name is a whole file, or none.

    Without overwrite it goes to the first name that is free at that moment, path, path-1, ..., and no other process can
    take the same: `path` of what is yielded says which. Raises OSError that names the file where it can't be written.
    """
    unfinished = Unfinished(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield unfinished
        with unfinished.at.open("rb+") as file:
            os.fsync(file.fileno())  # a disk may be full, and say so only now
        if overwrite:
            unfinished.at.replace(path)
        else:
            unfinished.path = _claimed(unfinished.at, path)
    except OSError as error:
        unfinished.at.unlink(missing_ok=True)
        raise OSError(f"{path} can't be written ({error.strerror or error})") from None
    except BaseException:
        unfinished.at.unlink(missing_ok=True)
        raise


def _claimed(unfinished: Path, path: Path) -> Path:
    """Move a whole file to the first free name. A link is made or refused in one instant, whoever else wants it."""
    while True:
        free = free_stem(path)
        try:
            os.link(unfinished, free)
        except FileExistsError:
            if not free.exists():  # a link that leads nowhere: it is somebody's all the same
                path = free.with_stem(free.stem + "-1")
            continue
        except OSError:  # a file system without links: the name is taken by an empty file first
            try:
                os.close(os.open(free, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                continue
            unfinished.replace(free)
            return free
        unfinished.unlink()
        return free


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


_HERE = hashlib.sha256(platform.node().encode()).hexdigest()[:6]  # a folder may be shared by machines


def _unfinished(path: Path) -> Path:
    return path.with_name(f".unfinished-{_HERE}-{os.getpid()}-{secrets.token_hex(4)}{path.suffix}")


def clear_unfinished(folder: Path) -> None:
    """Remove what processes of this machine that are gone have left behind unfinished."""
    for path in folder.glob(f".unfinished-{_HERE}-*-*"):
        number = path.name.split("-")[2]
        if number.isdigit() and not _is_alive(int(number)):
            with contextlib.suppress(OSError):
                path.unlink()


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # somebody else's
        pass
    return True


def free_stem(path: Path, endings: Iterable[str] = ()) -> Path:
    """path, or the first of path-1, path-2, ... of which no file exists, nor one with an ending before the suffix."""
    k = 0
    while True:
        candidate = path.with_stem(f"{path.stem}-{k}") if k else path
        if not any(candidate.with_stem(candidate.stem + ending).exists() for ending in ("", *endings)):
            return candidate
        k += 1
