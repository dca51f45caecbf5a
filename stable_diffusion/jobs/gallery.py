"""The pictures of a job, as its runs are walked: each is written as soon as it is there, the sheets at the end."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import mlx.core as mx

from ..diffusion.samplers import Step
from ..pictures.animation import save_animation
from ..pictures.images import Picture, composed, enlarged, to_picture
from ..pictures.metadata import Attached
from ..pictures.sheet import LIMIT, strip
from ..pipeline import Run, StableDiffusion
from ..pipeline.frames import FrameKind, shown
from .events import Written
from .files import Output, attached
from .layouts import Layout
from .model import Model
from .originals import Originals
from .recipe import Batch, Recipe
from .record import KeptStep, Record, Row, save_record
from .request import Request
from .sheets import cell, sheets, strips
from .view import View


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
        self._ended: list[tuple[int, Step]] = []  # not yet decoded
        named = self._view.metadata or self._view.latents  # by a hash, which takes seconds
        model = Model.of(sd) if named else request.model
        self.record = _empty(Recipe(layout.base, model, view=layout.view), layout, self._originals)

    # Steps

    def take(self, which: int, step: Step) -> Iterator[Written]:
        """The next step of a run."""
        number, last = step.index + 1, step.index + 1 == self._runs[which].plan.steps_run
        wanted = self._layout.only in (None, which)
        if number == 1 and wanted:
            self._begin(which)
        if last:
            self._ended.append((which, step))
        elif wanted:
            kept = self._keep(which, step)
            if self._is_shown(number):
                self._show(which, kept, step, self._frame(step))
            if self._is_saved(which, number):
                picture = kept.pictures.get(self._frame_kind) or self._frame(step)
                yield self._write_step(which, number, picture)
        if len(self._ended) >= (self._view.decoding_batch_size or 1):
            yield from self.decode()

    def decode(self) -> Iterator[Written]:
        """The pictures of the runs that have ended."""
        ended, self._ended = self._ended, []
        for shape in dict.fromkeys(step.x.shape for _, step in ended):  # those of one size together
            alike = [(which, step) for which, step in ended if step.x.shape == shape]
            arrays = self._sd.decode(mx.concatenate([step.x for _, step in alike]))
            for (which, step), array in zip(alike, arrays, strict=True):
                if self._layout.only not in (None, which):
                    continue
                picture = self._kept_pixels(to_picture(array))
                kept = self._keep(which, step)
                self._show(which, kept, step, picture)
                if self._is_saved(which, step.index + 1):
                    yield self._write_step(which, step.index + 1, picture)
                yield self._write(which, picture)

    def unchanged(self, which: int) -> Iterator[Written]:
        """A run of no steps, which gives the picture that it would start from."""
        if self._layout.only not in (None, which):
            return
        assert self._originals is not None and self._originals.picture is not None
        step = self._runs[which].first
        self._show(which, self._keep(which, step), step, self._originals.picture)
        yield self._write(which, self._originals.picture)

    def _begin(self, which: int) -> None:
        """The start of a run, where it is shown or kept."""
        shown = self._layout.kind == "triangle" or bool(self._view.animate)
        if shown or self._view.latents:
            step = self._runs[which].first
            kept = self._keep(which, step)
            if shown:
                self._show(which, kept, step, self._frame(step))

    def _keep(self, which: int, step: Step) -> KeptStep:
        """A step in the record, if it is to be there."""
        kept = KeptStep(step.index, step.sigma, step if self._view.latents else None)
        if self._view.latents:
            self.record.rows[which].steps.append(kept)
        return kept

    def _show(self, which: int, kept: KeptStep, step: Step, picture: Picture) -> None:
        """A picture of a step in the record."""
        kept.pictures[self._frame_kind if step.index >= 0 else "noisy"] = picture
        if not self._view.latents:
            self.record.rows[which].steps.append(kept)

    def _is_shown(self, number: int) -> bool:
        """Are steps shown at all, and is this one of them?"""
        view = self._view
        sought = view.show_denoising or self._layout.kind == "triangle" or view.animate or view.latents
        return bool(sought) and number % (view.show_denoising or 1) == 0

    def _is_saved(self, which: int, number: int) -> bool:
        """Does this step get a file of its own?"""
        steps_run, every, last = self._runs[which].plan.steps_run, self._view.show_denoising, self._view.save_last_N
        if every and self._layout.kind != "triangle" and (number % every == 0 or number == steps_run):
            return True
        return last is not None and number > steps_run - last

    def _frame(self, step: Step) -> Picture:
        # The start has no estimate of its own yet.
        latents = shown(step, self._frame_kind if step.index >= 0 else "noisy")
        if self._view.preview == "linear":
            size = (8 * latents.shape[2], 8 * latents.shape[1])
            return enlarged(to_picture(self._sd.preview(latents)[0]), size)
        return to_picture(self._sd.decode(latents)[0])

    def _kept_pixels(self, painted: Picture) -> Picture:
        """A finished picture, with the original's own pixels outside the mask."""
        originals = self._originals
        if originals is None or originals.picture is None or originals.soft_mask is None:
            return painted
        return composed(painted, originals.picture, originals.soft_mask)

    def _write_step(self, which: int, number: int, picture: Picture) -> Written:
        digits = len(str(self._runs[which].plan.steps_run))
        view = self._view.only("show_denoising", "save_last_N", "frames", "preview")
        ending = f"{self._layout.endings[which]}-step{number:0{digits}}"
        return self._output.write(picture, ending, self._attached(which, view, whole=False))

    def _write(self, which: int, picture: Picture) -> Written:
        return self._output.write(picture, self._layout.endings[which], self._attached(which, View()))

    # The way up

    def noising(self, steps: Sequence[Step], which: int) -> Iterator[Written]:
        """The way from the picture up to a run's start, as a strip; as files and in the film where steps are."""
        kind, every = self._view.show_noising, self._view.show_denoising
        for step in steps:
            picture = self._frame(Step(-1, step.sigma, step.x, step.clean))
            self.record.way_up.append(KeptStep(step.index, step.sigma, pictures={"noisy": picture}))
            if every and self._layout.kind != "triangle" and (step.index % every == 0 or step.index == len(steps) - 1):
                digits = len(str(len(steps) - 1))
                attached = self._attached(which, View(), whole=False)
                yield self._output.write(picture, f"-{kind}{step.index:0{digits}}", attached)
        row = self.record.rows[which]
        cells = [replace(cell(row, s, _there), label=f"sigma {s.sigma:.2f}") for s in self.record.way_up]
        picture = strip(cells, limit=self._view.sheet_size or LIMIT)
        yield self._output.write(picture, f"-{kind}", self._attached(None, self._view.only("show_noising")))

    # Sheets

    def close(self) -> Iterator[Written]:
        """The pictures that are not yet decoded, and all sheets, of what there is."""
        yield from self.decode()
        for row, ending, picture in strips(self.record, self._view, _there):
            view = self._view.only("show_denoising", "frames", "preview")
            yield self._output.write(picture, ending, self._attached(self.record.rows.index(row), view))
        if self._view.animate:
            yield from self._films(Path(self._view.animate).expanduser())
        for ending, picture in sheets(self.record, self._view, _there):
            yield self._output.write(picture, ending, self._attached(None, self.record.recipe.view))
        if self._view.latents and any(row.steps for row in self.record.rows):
            yield self._save_record()

    def _films(self, path: Path) -> Iterator[Written]:
        # The last picture of the way up is the start of the way down.
        up = [next(iter(step.pictures.values())) for step in self.record.way_up[:-1]]
        for row in self.record.rows:
            down = [next(iter(step.pictures.values())) for step in row.steps if step.pictures]
            if down:
                own = path.with_stem(path.stem + row.ending)
                yield Written(save_animation([*up, *down], own, overwrite=self._output.overwrite))

    def _save_record(self) -> Written:
        recipe = self.record.recipe
        if self._layout.only is not None:
            recipe = replace(recipe, settings=self._layout.runs[self._layout.only].settings)
        with self._output.file(".safetensors") as unfinished:
            save_record(replace(self.record, recipe=recipe), unfinished.at)
        return Written(unfinished.path)

    def _attached(self, which: int | None, view: View, whole: bool = True) -> Attached | None:
        """The metadata of a run's picture, or of a sheet of all; whole: with the picture that it starts from."""
        if not self._view.metadata:
            return None
        recipe = replace(self.record.recipe, view=view.over(View(feather=self.record.recipe.view.feather)))
        if which is not None:
            decoding, layout = self._view.decoding_batch_size or 1, self._layout
            alone = len(self._runs) == 1 or (layout.batch_size == 1 and decoding == 1)
            settings = tuple(run.settings for run in layout.runs)
            batch = None if alone else Batch(settings, which, layout.batch_size, decoding)
            recipe = replace(recipe, settings=settings[which], batch=batch)
        return attached(recipe, self._originals, whole and self._view.originals)


def _empty(recipe: Recipe, layout: Layout, originals: Originals | None) -> Record:
    """The record of a layout of which nothing has come yet."""
    count = len(layout.runs)
    labels, strengths = layout.labels or [""] * count, layout.strengths or [None] * count
    rows = [Row(*parts) for parts in zip(layout.headings, layout.endings, labels, strengths, strict=True)]
    return Record(recipe, layout.kind, rows, layout.sheet, originals, layout.lines, layout.columns)


def _there(row: Row, step: KeptStep) -> Picture:
    """The one picture that a step of a job has."""
    return next(iter(step.pictures.values()))
