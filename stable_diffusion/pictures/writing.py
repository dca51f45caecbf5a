"""Pictures into files: whole or not at all, under names that are free."""

import contextlib
import secrets
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from .images import Picture
from .metadata import Attached

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")  # of the files that can be written


def check_writable(path: Path, endings: Sequence[str] = ENDINGS) -> None:
    """Raise ValueError, in one sentence and before any work is done, for a file that could not be written."""
    folder = path.parent
    if path.suffix.lower() not in endings:
        raise ValueError(
            f"{path} must end in {', '.join(endings[:-1])} or {endings[-1]}: name it {path.name}{endings[0]}"
        )
    if not folder.is_dir():
        raise ValueError(f"the folder {folder} does not exist: make it first")
    try:
        with contextlib.suppress(FileNotFoundError):
            path.lstat()  # finds a name that is too long
        trial = _unfinished(path)
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise ValueError(f"{path} can't be written ({error.strerror})") from None


@contextlib.contextmanager
def written(path: Path) -> Iterator[Path]:
    """A place beside path to write to, which is moved there at the end: under its name is a whole file, or none."""
    unfinished = _unfinished(path)
    try:
        yield unfinished
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def save(picture: Picture, path: Path, attached: Attached | None = None) -> None:
    """Write a picture, whole or not at all, as sRGB: without a profile. What is attached goes into a PNG file alone."""
    if "icc_profile" in picture.info:
        picture = picture.copy()
        del picture.info["icc_profile"]
    with written(path) as unfinished:
        if attached and path.suffix.lower() == ".png":
            picture.save(unfinished, pnginfo=attached.chunks())
        else:
            picture.save(unfinished, quality=95)  # of JPEG and WebP


def _unfinished(path: Path) -> Path:
    return path.with_name(f".unfinished-{secrets.token_hex(4)}{path.suffix}")


def free_stem(path: Path, endings: Iterable[str] = ()) -> Path:
    """path, or the first of path-1, path-2, ... of which no file exists, nor one with an ending before the suffix."""
    k = 0
    while True:
        candidate = path.with_stem(f"{path.stem}-{k}") if k else path
        if not any(candidate.with_stem(candidate.stem + ending).exists() for ending in ("", *endings)):
            return candidate
        k += 1
