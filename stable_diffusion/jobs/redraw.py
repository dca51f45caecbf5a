"""A record that lies in a file, drawn again."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ..pictures.images import Picture, to_picture
from ..pictures.sheet import LIMIT, strip
from ..pipeline import StableDiffusion
from ..pipeline.frames import FrameKind, shown
from .events import Written
from .files import Output, attached
from .layouts import row_of
from .model import Model
from .record import KeptStep, Row, load_record
from .sheets import cell, sheets, strips
from .view import View

DRAWN = ("triangle_align", "highlight", "sheet_size", "n_rows")  # that the file of a sheet remembers


def redraw(path: Path, asked: View, output: Output, model: Mapping[str, Any]) -> Iterator[Written]:
    """Draw the sheet of a record, and the strip of each of its runs where show_denoising asks for them.

    asked: what takes the place of the record's own view. Pictures of steps that the file does not have, those of the
    other kind of frames, are decoded from its latents by the autoencoder of the record's model (model: fields of it
    that are to be otherwise); the network is never called. Raises ValueError for a file that is no such record.
    """
    record = load_record(path)
    if asked.highlight is not None:
        strengths = [row.strength for row in record.rows if row.strength is not None]
        asked = replace(asked, highlight=row_of(asked.highlight, strengths))
    view = asked.over(record.recipe.view)
    if record.sheet is None and view.show_denoising is None:
        view = replace(view, show_denoising=1)
    output.claim([record.sheet or "", *(row.ending for row in record.rows)])
    frames = _Frames(view, replace(record.recipe.model, **model))
    told = None
    if asked.metadata:
        drawn = asked.only(*DRAWN) if record.sheet is not None else View()
        recipe = replace(record.recipe, view=drawn.over(record.recipe.view))
        told = attached(recipe, record.originals, asked.originals)
    count = 0
    for _, ending, picture in strips(record, view, frames.picture):
        yield output.write(picture, ending, told)
        count += 1
    for ending, picture in sheets(record, view, frames.picture):
        yield output.write(picture, ending, told)
        count += 1
    if count == 0:  # runs of no steps: all there is to see is what they start from
        for row in filter(lambda row: row.steps, record.rows):
            picture = strip([cell(row, row.steps[0], frames.picture)], limit=view.sheet_size or LIMIT)
            yield output.write(picture, f"{row.ending}-steps", told)


class _Frames:
    """The pictures of a record's steps: those in the file, others decoded when they are asked for."""

    def __init__(self, view: View, model: Model) -> None:
        self._asked: FrameKind | None = view.frames
        self._model = model

    @cached_property
    def _sd(self) -> StableDiffusion:
        return self._model.load()

    def picture(self, row: Row, step: KeptStep) -> Picture:
        there = next(iter(step.pictures), None)
        # The start has no estimate, and the end is the finished picture either way.
        either = self._asked is None or step.index < 0 or (row.finished and step is row.steps[-1])
        kind = there if there and either else self._asked or "noisy"
        if kind in step.pictures:
            return step.pictures[kind]
        assert step.latents is not None
        return to_picture(self._sd.decode(shown(step.latents, kind if step.index >= 0 else "noisy"))[0])
