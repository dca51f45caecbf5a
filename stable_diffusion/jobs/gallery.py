"""The pictures of a job, as its runs are walked: each is written as soon as it is there, the sheets at the end."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import mlx.core as mx

from ..diffusion.samplers import Step
from ..diffusion.steps import FrameKind
from ..pictures.images import Picture, composed, enlarged, to_picture
from ..pictures.metadata import Attached
from ..pipeline import Run, StableDiffusion
from ..pipeline.frames import shown
from .columns import columns_of
from .events import Event
from .files import Output, attached
from .films import films, write_films
from .layouts import Layout
from .model import Model
from .originals import Originals
from .pages import write_page
from .recipe import Batch, Recipe
from .record import KeptStep, Record, Row, save_record
from .request import Request
from .sheets import noised, sheets, strips
from .view import View

MANY = 20  # files of steps of a triangle, which then have a folder of their own


class Gallery:
    """Takes the steps of all runs into a record, and writes the pictures of those that end."""

    def __init__(
        self, sd: StableDiffusion, runs: Sequence[Run], layout: Layout, request: Request, output: Output
    ) -> None:
        """runs: those of the layout, once they have begun."""
        self._sd, self._runs, self._layout, self._output = sd, runs, layout, output
        self._originals = request.inputs if runs[0].inputs.image is not None else None
        self._view = replace(request.view, highlight=layout.view.highlight)
        self._frame_kind: FrameKind = request.view.frames or "noisy"
        self._waiting: list[tuple[int, Step]] = []  # not yet taken
        self._finished = 0  # of those, the last ones of their runs
        self._ended: list[tuple[int, Step]] = []  # not yet decoded
        named = self._view.metadata or self._view.latents or self._view.html  # by a hash, which takes seconds
        model = Model.of(sd) if named else request.model
        self.record = _empty(Recipe(layout.base, model, view=layout.view), layout, self._originals)
        counts = [run.plan.steps_run for run in runs]
        self._columns = columns_of(counts, self._view) if layout.kind == "triangle" else None
        self._in_folder = self._columns is not None and self._columns.cells(counts) > MANY

    # Steps

    def take(self, which: int, step: Step) -> Iterator[Event]:
        """The next step of a run; where memory is low, it waits until pictures are finished and to be decoded.

        The autoencoder and the UNet take turns then, and each turn has its weights read anew.
        """
        self._waiting.append((which, step))
        self._finished += step.index + 1 == self._runs[which].plan.steps_run
        if not self._sd.low_memory or self._finished >= (self._view.decoding_batch_size or 1):
            yield from self._taken()

    def _taken(self) -> Iterator[Event]:
        """The steps that wait."""
        self._finished = 0
        while self._waiting:  # one by one, so that the others still wait when one is interrupted
            yield from self._take(*self._waiting.pop(0))

    def _take(self, which: int, step: Step) -> Iterator[Event]:
        number, last = step.index + 1, step.index + 1 == self._runs[which].plan.steps_run
        wanted = self._layout.only in (None, which)
        if number == 1 and wanted:
            yield from self._begin(which)
        if last:
            self._ended.append((which, step))
        elif wanted:
            kept, is_shown = self._kept(step), self._is_shown(which, number)
            if is_shown:
                self._show(kept, step)
            if is_shown or self._view.latents:
                self.record.rows[which].steps.append(kept)
            if self._is_saved(which, number):
                picture = kept.pictures.get(self._frame_kind) or self._frame(step)
                yield self._write_step(which, number, picture)
        if len(self._ended) >= (self._view.decoding_batch_size or 1):
            yield from self.decode()

    def decode(self) -> Iterator[Event]:
        """The pictures of the runs that have ended."""
        while self._ended:  # those of one size together; they are there until they are decoded
            shape = self._ended[0][1].x.shape
            alike = [(which, step) for which, step in self._ended if step.x.shape == shape]
            arrays = self._sd.decode(mx.concatenate([step.x for _, step in alike]))
            self._ended = [(which, step) for which, step in self._ended if step.x.shape != shape]
            for (which, step), array in zip(alike, arrays, strict=True):
                if self._layout.only not in (None, which):
                    continue
                picture = self._kept_pixels(to_picture(array))
                self._finish(which, step, picture)
                if self._is_saved(which, step.index + 1):
                    yield self._write_step(which, step.index + 1, picture)
                yield self._write(which, picture)

    def unchanged(self, which: int) -> Iterator[Event]:
        """A run of no steps, which gives the picture that it would start from."""
        if self._layout.only not in (None, which):
            return
        assert self._originals is not None and self._originals.picture is not None
        self._finish(which, self._runs[which].first, self._originals.picture)
        yield self._write(which, self._originals.picture)

    def _begin(self, which: int) -> Iterator[Event]:
        """The start of a run, where it is shown or kept."""
        view, triangle = self._view, self._layout.kind == "triangle"
        shown = triangle or view.animate or view.html
        if shown or view.latents:
            step = self._runs[which].first
            kept = self._kept(step)
            if shown:
                self._show(kept, step)
            self.record.rows[which].steps.append(kept)
            if triangle and view.show_denoising:
                yield self._write_step(which, 0, kept.pictures["noisy"])

    def _kept(self, step: Step) -> KeptStep:
        """A step as it is to be in the record, without pictures."""
        return KeptStep(step.index, step.sigma, step if self._view.latents else None)

    def _show(self, kept: KeptStep, step: Step) -> None:
        """The pictures of a step for the record: a page has both kinds. A start has no estimate of its own yet."""
        kinds: Sequence[FrameKind] = ("noisy", "clean") if self._view.html else (self._frame_kind,)
        for kind in kinds if step.index >= 0 else ("noisy",):
            kept.pictures[kind] = self._frame(step, kind)

    def _finish(self, which: int, step: Step, picture: Picture) -> None:
        """The last step in the record, with its picture, which is of either kind."""
        kept = self._kept(step)
        kept.pictures[self._frame_kind] = picture
        self.record.rows[which].steps.append(kept)

    def _is_shown(self, which: int, number: int) -> bool:
        """Are steps shown at all, and is this one of them?"""
        if self._columns is not None:
            return self._columns.has(number, self._runs[which].plan.steps_run)
        view = self._view
        sought = view.show_denoising or view.animate or view.latents or view.html
        return bool(sought) and number % (view.show_denoising or 1) == 0

    def _is_saved(self, which: int, number: int) -> bool:
        """Does this step get a file of its own?"""
        steps_run, every, last = self._runs[which].plan.steps_run, self._view.show_denoising, self._view.save_last_N
        if every and (number == steps_run or self._is_shown(which, number)):
            return True
        return last is not None and number > steps_run - last

    def _frame(self, step: Step, kind: FrameKind | None = None) -> Picture:
        # A start has no estimate of its own yet.
        latents = shown(step, (kind or self._frame_kind) if step.index >= 0 else "noisy")
        if self._view.preview == "linear":
            size = (8 * latents.shape[2], 8 * latents.shape[1])
            return enlarged(to_picture(self._sd.preview(latents)[0]), size)
        if self._view.preview == "taesd":
            return to_picture(self._sd.quick(latents)[0])
        return to_picture(self._sd.decode(latents)[0])

    def _kept_pixels(self, painted: Picture) -> Picture:
        """A finished picture, with the original's own pixels outside the mask."""
        originals = self._originals
        if originals is None or originals.picture is None or originals.soft_mask is None:
            return painted
        return composed(painted, originals.picture, originals.soft_mask)

    def _write_step(self, which: int, number: int, picture: Picture) -> Event:
        digits = len(str(max(run.plan.steps_run for run in self._runs)))
        if self._columns is not None:
            digits = max(3, digits)
        view = self._view.only("show_denoising", "save_last_N", "frames", "preview")
        ending = f"{self._layout.endings[which]}-step{number:0{digits}}"
        return self._output.write(picture, ending, self._attached(which, view, whole=False), self._in_folder)

    def _write(self, which: int, picture: Picture) -> Event:
        return self._output.write(picture, self._layout.endings[which], self._attached(which, View()))

    # The way in

    def way_in(self, steps: Sequence[Step], which: int) -> None:
        """The way from the original up to a run's start, in the record; the last of the steps is the start itself."""
        assert self._originals is not None and self._originals.picture is not None
        count, row = len(steps) - 1, self.record.rows[which]
        for i, step in enumerate(steps[:-1]):
            before = count - i  # the start
            step = replace(step, index=-1 - before)
            kept = KeptStep(step.index, step.sigma, step if self._view.latents else None)
            if i == 0:
                kept.pictures["noisy"] = self._originals.picture
            elif self._columns is None or self._columns.has(before, count):
                kept.pictures["noisy"] = self._frame(step)
            if kept.pictures or kept.latents:
                row.way_in.append(kept)

    def noising(self, steps: Sequence[Step], which: int) -> Iterator[Event]:
        """The way in as a strip, and as files where steps are; the start too."""
        kind, every, count = self._view.show_noising, self._view.show_denoising, len(steps) - 1
        start = KeptStep(-1, steps[-1].sigma, pictures={"noisy": self._frame(replace(steps[-1], index=-1))})
        way = [*self.record.rows[which].way_in, start]
        for index, kept in enumerate(way):
            if every and self._columns is None and (index % every == 0 or index == count):
                attached = self._attached(which, View(), whole=False)
                yield self._output.write(kept.pictures["noisy"], f"-{kind}{index:0{len(str(count))}}", attached)
        picture = noised(self.record.rows[which], way, _there, self._view)
        yield self._output.write(picture, f"-{kind}", self._attached(None, self._view.only("show_noising")))

    # Sheets

    def close(self) -> Iterator[Event]:
        """The pictures that are not yet decoded, and all sheets, of what there is."""
        yield from self._taken()
        yield from self.decode()
        for row, ending, picture in strips(self.record, self._view, _there):
            view = self._view.only("show_denoising", "frames", "preview")
            yield self._output.write(picture, ending, self._attached(self.record.rows.index(row), view))
        if self._view.animate:
            made = films(self.record, self._view, _there)
            yield from write_films(made, Path(self._view.animate).expanduser(), self._view, self._output.overwrite)
        for ending, picture in sheets(self.record, self._view, _there):
            yield self._output.write(picture, ending, self._attached(None, self.record.recipe.view))
        if self._view.latents and any(row.steps for row in self.record.rows):
            yield self._save_record()
        if self._view.html:
            yield from write_page(self.record, self._view, _there, self._output.overwrite)

    def _save_record(self) -> Event:
        recipe = self.record.recipe
        if self._layout.only is not None:
            recipe = replace(recipe, settings=self._layout.runs[self._layout.only].settings)
        return self._output.write_file(".safetensors", lambda at: save_record(replace(self.record, recipe=recipe), at))

    def _attached(self, which: int | None, view: View, whole: bool = True) -> Attached | None:
        """The metadata of a run's picture, or of a sheet of all; whole: with the picture that it starts from."""
        if not self._view.metadata:
            return None
        recipe = replace(self.record.recipe, view=view.over(View(feather=self.record.recipe.view.feather)))
        if which is not None:
            decoding, layout = self._view.decoding_batch_size or 1, self._layout
            run = layout.runs[which]
            hand = range(which % layout.hands, len(layout.runs), layout.hands)
            together = [i for i in hand if layout.runs[i].worn == run.worn]
            alone = len(together) == 1 or (layout.batch_size == 1 and decoding == 1)
            settings = tuple(layout.runs[i].settings for i in together)
            batch = None if alone else Batch(settings, together.index(which), layout.batch_size, decoding)
            recipe = replace(
                recipe, settings=run.settings, model=recipe.model.wearing(run.lora).telling(run), batch=batch
            )
        return attached(recipe, self._originals, whole and self._view.originals)


def _empty(recipe: Recipe, layout: Layout, originals: Originals | None) -> Record:
    """The record of a layout of which nothing has come yet."""
    count = len(layout.runs)
    labels, strengths = layout.labels or [""] * count, layout.strengths or [None] * count
    rows = [Row(*parts) for parts in zip(layout.headings, layout.endings, labels, strengths, strict=True)]
    for row, run in zip(rows, layout.runs, strict=True):
        row.settings, row.sigmas, row.times = run.settings, run.plan.sigmas, run.plan.times
    return Record(recipe, layout.kind, rows, layout.sheet, originals, layout.lines, layout.columns)


def _there(row: Row, step: KeptStep) -> Picture:
    """The picture that a step of a job has, in the kind that was asked for."""
    return next(iter(step.pictures.values()))
