"""The files of a job: their names, how they are written, and what a PNG file carries besides its pixels."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ..exchange.a1111 import KEYWORD, parameters
from ..pictures.images import Picture, digest
from ..pictures.metadata import Attached
from ..pictures.writing import CARRYING, check_writable, save
from ..whole import clear_unfinished, free_stem, written
from .events import Written
from .originals import Originals
from .recipe import IMAGE, MASK, RECIPE, Recipe


def attached(recipe: Recipe, originals: Originals | None = None, keep: bool = True) -> Attached:
    """For `pictures.images.save`: everything that makes a picture again.

    keep: the originals lie in the file themselves, and not only what they can be known by.
    """
    picture, mask = (None, None) if originals is None else (originals.picture, originals.mask)
    if originals is None or picture is None:
        return Attached({KEYWORD: parameters(recipe.settings, recipe.origin), RECIPE: recipe.as_json()}, {})
    recipe = replace(recipe, image={"name": originals.name, "sha256": digest(picture)})
    if mask is not None:
        recipe = replace(recipe, mask={"sha256": digest(mask)})
    pictures = {place: kept for place, kept in ((IMAGE, picture), (MASK, mask)) if kept is not None and keep}
    return Attached({KEYWORD: parameters(recipe.settings, recipe.origin), RECIPE: recipe.as_json()}, pictures)


FOLDER = "-steps"  # ends the name of the folder of steps that are many


class Output:
    """Where the files of a job go: each is written as soon as it is there, under a name that was free."""

    def __init__(self, name: str, overwrite: bool = False) -> None:
        """name: of the picture or of the sheet, or a folder for them, which is made where it is missing.

        Raises ValueError for a name that no picture can have.
        """
        if name == "-":
            raise ValueError("- is no file: pictures are not written to standard output, name a file")
        path = Path(os.path.expanduser(name))
        if not name:
            raise ValueError("the name of the output is empty: name a file, or a folder")
        if path.is_dir() or name.endswith("/"):
            path = path / "out.png"
        self.path = path if path.suffix else path.with_suffix(".png")
        self.overwrite = overwrite

    @property
    def keeps_settings(self) -> bool:
        """Can its files carry what they were made with?"""
        return self.path.suffix.lower() in CARRYING

    def keep_apart(self, path: Path, what: str) -> None:
        """Raise ValueError for another file that would have the name of the picture."""
        if path.absolute() == self.path.absolute():
            raise ValueError(f"{path} is the picture and the {what}: give them different names")

    def under(self, ending: str) -> "Output":
        """The output whose names begin as this one's with an ending do."""
        return Output(str(self.path.with_stem(self.path.stem + ending)), self.overwrite)

    def claim(self, endings: Sequence[str]) -> None:
        """Take one free name for files with all of these endings. Raises ValueError for one that can't be written."""
        check_writable(self.path.with_stem(self.path.stem + max(endings, key=len)))
        clear_unfinished(self.path.parent)
        if not self.overwrite:
            self.path = free_stem(self.path, endings)

    def write(self, picture: Picture, ending: str, attached: Attached | None = None, apart: bool = False) -> Written:
        """Write a picture under the name of the output with an ending, or the next one that is free by then.

        apart: in a folder beside it, for files that are many.
        """
        path = self.path.with_stem(self.path.stem + ending)
        if apart:
            path = path.parent / f"{self.path.stem}{FOLDER}" / path.name
            path.parent.mkdir(exist_ok=True)
        return Written(save(picture, path, attached, self.overwrite))

    def write_file(self, suffix: str, write: Callable[[Path], None]) -> Written:
        """Write another kind of file, whole or not at all; write: puts it into a path."""
        with written(self.path.with_suffix(suffix), self.overwrite) as unfinished:
            write(unfinished.at)
        return Written(unfinished.path)
