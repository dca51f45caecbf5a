"""Which checkpoint is it? A hash of what its files hold, wherever they lie and whatever they are called."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from ..cache import recall, remember
from .parts import Checkpoint
from .repo import needed

_BLOB = re.compile(r"[0-9a-f]{64}")  # in the Hub's cache, a large file is a link to a blob that is named by its hash
_LARGE = 2**26  # bytes; smaller files are hashed again each time


def content_hash(folder: Path, half: bool, parts: Sequence[str] = ()) -> str:
    """SHA-256 of the files that loading a checkpoint takes, 64 hexadecimal digits; of some of its nets, if named.

    The same for a download and a copy of it. The hashes of large files are remembered by their size and time.
    """
    # One level is all there is; and rglob would not go into a folder that is a link.
    files = {path.relative_to(folder).as_posix() for path in (*folder.glob("*"), *folder.glob("*/*")) if path.is_file()}
    names = [name for name in needed(files, half) if not parts or name.split("/")[0] in parts]
    lines = [f"{name} {file_hash(folder / name)}\n" for name in sorted(names)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def checkpoint_hash(checkpoint: Checkpoint, half: bool, parts: Sequence[str] = ()) -> str:
    """The same for a checkpoint wherever it lies; parts that were put in the place of its own are counted with it."""
    own = [name for name in parts or checkpoint.parts if name not in checkpoint.replaced]
    lines = []
    if checkpoint.place.is_file():
        lines = [file_hash(checkpoint.place)] if own else []
    elif own:
        lines = [content_hash(checkpoint.place, half, own if parts else ())]
    others = [name for name in parts or checkpoint.parts if name in checkpoint.replaced]
    for name in others:
        lines += [f"{name} {file_hash(file)}" for file in checkpoint.parts[name].files(half)]
    if len(lines) == 1 and not others:
        return lines[0]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def file_hash(path: Path) -> str:
    """SHA-256 of a file, as other tools give it too."""
    path = path.resolve()
    if _BLOB.fullmatch(path.name):
        return path.name
    about = path.stat()
    place = f"{path} {about.st_size} {about.st_mtime_ns}"
    if about.st_size >= _LARGE and isinstance(known := recall("hashes").get(place), str):
        return known
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    if about.st_size >= _LARGE:
        remember("hashes", {place: digest.hexdigest()})
    return digest.hexdigest()
