"""A record that lies in a file, drawn again."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ..diffusion.samplers import Step
from ..diffusion.steps import FrameKind
from ..pictures.images import Picture, to_picture
from ..pictures.sheet import LIMIT, strip
from ..pipeline import StableDiffusion
from ..pipeline.frames import shown
from .events import Event
from .files import Output, attached
from .films import check_films, films, write_films
from .layouts import row_of
from .model import Model
from .pages import check_page, write_page
from .record import DRAWN, KeptStep, Record, Row, load_record
from .sheets import cell, sheets, strips
from .view import View


def redraw(path: Path, asked: View, output: Output, model: Mapping[str, Any]) -> Iterator[Event]:
    """Draw the sheet of a record, and its strips, its films and its page where the view asks for them.

    asked: what takes the place of the record's own view. Pictures of steps that the file does not have, those of the
    other kind of frames, are decoded from its latents by the autoencoder of the record's model (model: fields of it
    that are to be otherwise); the network is never called. Raises ValueError for a file that is no such record.
    """
    record = load_record(path)
    if asked.highlight is not None:
        strengths = [row.strength for row in record.rows if row.strength is not None]
        asked = replace(asked, highlight=row_of(asked.highlight, strengths))
    view = asked.over(record.recipe.view)
    if view.triangle_shape is not None and record.kind != "triangle":
        raise ValueError(f"{str(path)!r} has no triangle that could be drawn as a {view.triangle_shape}")
    if view.triangle_shape == "pyramid":
        add_rays(record)
    if record.sheet is None and view.show_denoising is None:
        view = replace(view, show_denoising=1)
    check_films(view, output)
    check_page(view, output)
    output.claim([record.sheet or "", *(row.ending for row in record.rows)])
    frames = _Frames(view, record, replace(record.recipe.model, **model))
    told = None
    if asked.metadata:
        drawn = asked.only(*DRAWN) if record.sheet is not None else View()
        recipe = replace(record.recipe, view=drawn.over(record.recipe.view))
        told = attached(recipe, record.originals, asked.originals)
    if view.animate:
        made = films(record, view, frames.picture)
        yield from write_films(made, Path(view.animate).expanduser(), view, output.overwrite)
    if view.html:
        yield from write_page(record, view, frames.picture, output.overwrite)
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


def add_rays(record: Record) -> None:
    """Give the rows of a triangle that have none the way in that one noise makes: between an original and its start.

    Raises ValueError where a row started without the original.
    """
    for row in record.rows:
        start = row.steps[0].latents if row.steps and row.steps[0].index == -1 else None
        if row.way_in or start is None or not start.sigma:
            continue
        if record.recipe.settings.image_weight != 1:
            raise ValueError("it started from noise alone: there is no way in that a pyramid could show")
        n = (start.x - start.clean) / start.sigma
        levels = [0.0, *(step.sigma for step in reversed(row.steps[1:]) if step.sigma)]
        for k, sigma in enumerate(levels):
            step = Step(k - len(levels) - 1, sigma, start.clean + sigma * n, start.clean)
            row.way_in.append(KeptStep(step.index, sigma, step))
        assert record.originals is not None and record.originals.picture is not None
        row.way_in[0].pictures["noisy"] = record.originals.picture


class _Frames:
    """The pictures of a record's steps: those in the file, others decoded when they are asked for."""

    def __init__(self, asked: View, record: Record, model: Model) -> None:
        self._asked: FrameKind | None = asked.frames
        self._kind: FrameKind = record.recipe.view.frames or "noisy"
        self._model = model

    @cached_property
    def _sd(self) -> StableDiffusion:
        return self._model.load()

    def picture(self, row: Row, step: KeptStep) -> Picture:
        # The start has no estimate, and the end is the finished picture either way.
        either = self._asked is None or step.index < 0 or (row.finished and step is row.steps[-1])
        kind = self._asked or self._kind
        if either and step.pictures and kind not in step.pictures:
            (kind,) = step.pictures
        if kind in step.pictures:
            return step.pictures[kind]
        assert step.latents is not None
        return to_picture(self._sd.decode(shown(step.latents, kind if step.index >= 0 else "noisy"))[0])
