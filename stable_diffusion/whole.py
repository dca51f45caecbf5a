"""Files and folders, whole or not at all, under names that are free."""

import contextlib
import hashlib
import os
import platform
import secrets
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path


class Unfinished:
    """A file that is being written: beside its place, until it is whole."""

    def __init__(self, wanted: Path) -> None:
        self.at = unfinished_name(wanted)  # where to write
        self.path = wanted  # where it lies in the end

    def put(self, data: bytes) -> None:
        """Write all of it."""
        self.at.write_bytes(data)


@contextlib.contextmanager
def written(path: Path, overwrite: bool = True, here: bool = False) -> Iterator[Unfinished]:
    """A file beside path to write to, which is moved there at the end: under its name is a whole file, or none.

    Without overwrite it goes to the first name that is free at that moment, path, path-1, ..., and no other process can
    take the same: `path` of what is yielded says which. here: to path and nowhere else; raises FileExistsError where
    that has been taken by then. Raises OSError that names the file where it can't be written.
    """
    unfinished = Unfinished(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield unfinished
        with unfinished.at.open("rb+") as file:
            os.fsync(file.fileno())  # a disk may be full, and say so only now
        if here:
            _taken(unfinished.at, path)
        elif overwrite:
            unfinished.at.replace(path)
        else:
            unfinished.path = _claimed(unfinished.at, path)
    except FileExistsError:
        unfinished.at.unlink(missing_ok=True)
        raise
    except OSError as error:
        unfinished.at.unlink(missing_ok=True)
        raise OSError(f"{path} can't be written ({error.strerror or error})") from None
    except BaseException:
        unfinished.at.unlink(missing_ok=True)
        raise


def _claimed(unfinished: Path, path: Path) -> Path:
    """Move a whole file to the first free name."""
    while True:
        free = free_stem(path)
        try:
            _taken(unfinished, free)
        except FileExistsError:
            if not free.exists():  # a link that leads nowhere: it is somebody's all the same
                path = free.with_stem(free.stem + "-1")
            continue
        return free


def _taken(unfinished: Path, path: Path) -> None:
    """Move a whole file to a name, whoever else wants it: a link is made or refused in one instant.

    Raises FileExistsError where the name is taken.
    """
    try:
        os.link(unfinished, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links: the name is taken by an empty file first
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
        unfinished.replace(path)
    else:
        unfinished.unlink()


@contextlib.contextmanager
def folder_beside(path: Path) -> Iterator[Path]:
    """A folder beside path to work in, which is gone in the end, with what lies in it. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    clear_unfinished(path.parent)
    place = unfinished_name(path)
    place.mkdir()
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


_HERE = hashlib.sha256(platform.node().encode()).hexdigest()[:6]  # a folder may be shared by machines


def unfinished_name(path: Path) -> Path:
    """A name beside path that nobody else takes, and that is cleared away once its process is gone."""
    return path.with_name(f".unfinished-{_HERE}-{os.getpid()}-{secrets.token_hex(4)}{path.suffix}")


def clear_unfinished(folder: Path) -> None:
    """Remove what processes of this machine that are gone have left behind unfinished."""
    for path in folder.glob(f".unfinished-{_HERE}-*-*"):
        number = path.name.split("-")[2]
        if number.isdigit() and not _is_alive(int(number)):
            with contextlib.suppress(OSError):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


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
