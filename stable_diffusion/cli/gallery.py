"""The pictures of a command, as its runs are walked: each is written as soon as it is there, the sheets at the end."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Literal

import mlx.core as mx

from ..diffusion.noising import Inversion
from ..diffusion.samplers import Step
from ..pictures.animation import save_animation
from ..pictures.images import Picture, composed, enlarged, free_stem, to_bytes, to_picture
from ..pictures.metadata import Attached
from ..pictures.sheet import LIMIT, Cell, strip
from ..pipeline import Run, StableDiffusion
from ..pipeline.files import attached
from ..pipeline.laboratory import start_of
from ..pipeline.recipe import Recipe, Together
from ..pipeline.record import Record, save_record
from ..pipeline.stable_diffusion import shown
from .layouts import Layout
from .run import Output, note, tell
from .sheets import DRAW, path_strip
from .start import Start

Kind = Literal["noisy", "clean"]


class Gallery:
    """Takes the steps of all runs, and the pictures of those that end. Leaving it draws the sheets of what there is."""

    def __init__(
        self,
        sd: StableDiffusion,
        runs: Sequence[Run],
        layout: Layout,
        args: argparse.Namespace,
        output: Output,
        start: Start | None,
    ) -> None:
        self.sd, self.runs, self.layout, self.args, self.output, self.start = sd, runs, layout, args, output, start
        self.kind: Kind = args.frames or "noisy"
        self.rows: list[list[Cell]] = [[] for _ in runs]  # for the sheet
        self.strips: list[list[Cell]] = [[] for _ in runs]
        self.films: list[list[Picture]] = [[] for _ in runs]
        self.noised: list[Picture] = []
        self.steps: list[list[Step]] = [[] for _ in runs]  # for the record
        self.frames: dict[tuple[int, int, str], Picture] = {}
        self.ended: list[tuple[int, Step]] = []  # not yet decoded
        self.base: Recipe | None = None
        if args.save_prompt or args.save_latents:
            image, mask = (None, None) if start is None else (start.image, start.mask)
            view = {"feather": args.feather} if start and args.feather else {}
            self.base = replace(sd.recipe(layout.base, image, mask), view=view)

    def __enter__(self) -> "Gallery":
        return self

    # Steps

    def take(self, which: int, step: Step) -> None:
        """The next step of a run."""
        number, steps_run = step.index + 1, self.runs[which].plan.steps_run
        if number == 1:
            self._begin(which)
        if self.args.save_latents and self._wanted(which):
            self.steps[which].append(step)
        if number == steps_run:
            self.ended.append((which, step))
            if len(self.ended) >= (self.args.decoding_batch_size or 1):
                self.decode()
        elif self._wanted(which) and self._every(number):
            self._show(which, step, self._frame(step))
        elif self._wanted(which) and self._kept(which, number):
            self._keep(which, number, self._frame(step))

    def unchanged(self, which: int) -> None:
        """A run of no steps, which gives the picture that it would start from."""
        assert self.start is not None
        self._begin(which)
        if not self.rows[which]:  # a triangle's row of strength 0 has it as its start
            self.rows[which].append(Cell(self.start.picture))
        if self.args.save_latents:
            self.frames[which, 0, "noisy"] = self.start.picture
        self._write(which, self.start.picture)

    def decode(self) -> None:
        """The pictures of the runs that have ended."""
        ended, self.ended = self.ended, []
        for shape in dict.fromkeys(step.x.shape for _, step in ended):  # those of one size together
            alike = [(which, step) for which, step in ended if step.x.shape == shape]
            arrays = self.sd.decode(mx.concatenate([step.x for _, step in alike]))
            for (which, step), array in zip(alike, arrays, strict=True):
                picture = to_picture(array)
                if self.start is not None and self.start.hole is not None:
                    picture = composed(picture, self.start.picture, self.start.hole)
                if self._wanted(which):
                    self._show(which, step, picture)
                    self._write(which, picture)

    def _wanted(self, which: int) -> bool:
        return self.layout.only in (None, which)

    def _every(self, number: int) -> bool:
        """Are steps shown at all, and is this one of them?"""
        sought = self.args.show_denoising or self.layout.kind == "triangle" or self.args.animate
        sought = sought or self.args.save_latents
        return bool(sought) and number % (self.args.show_denoising or 1) == 0

    def _kept(self, which: int, number: int) -> bool:
        last = self.args.save_last_N
        return bool(last) and number > self.runs[which].plan.steps_run - last

    def _begin(self, which: int) -> None:
        if not self._wanted(which):
            return
        begun = start_of(self.runs[which])
        if self.args.save_latents:
            self.steps[which].append(begun)
        if self.layout.kind == "triangle" or self.args.animate:
            unchanged = self.runs[which].plan.steps_run == 0 and self.start is not None
            picture = self.start.picture if unchanged and self.start else self._frame(begun)
            self._show(which, begun, picture)

    def _frame(self, step: Step) -> Picture:
        # The start has no estimate of its own yet.
        latents = shown(step, self.kind if step.index >= 0 else "noisy")
        if self.args.preview == "linear":
            size = (8 * latents.shape[2], 8 * latents.shape[1])
            return enlarged(to_picture(self.sd.preview(latents)[0]), size)
        return to_picture(self.sd.decode(latents)[0])

    def _show(self, which: int, step: Step, picture: Picture) -> None:
        """A step that is seen: in the sheet, the strip, the film, the record, and as a file."""
        number, last = step.index + 1, step.index + 1 == self.runs[which].plan.steps_run
        cell = Cell(picture, f"{number or 'start'}: sigma {step.sigma:.2f}")
        if self.layout.kind == "triangle" or last:
            self.rows[which].append(cell)
        if self.args.animate:
            self.films[which].append(picture)
        if self.args.save_latents:
            self.frames[which, len(self.steps[which]) - 1, self.kind if number else "noisy"] = picture
        if number and self.layout.kind != "triangle" and self.args.show_denoising:
            self.strips[which].append(cell)
            self._keep(which, number, picture)
        elif number and self._kept(which, number):
            self._keep(which, number, picture)

    def _keep(self, which: int, number: int, picture: Picture) -> None:
        digits = len(str(self.runs[which].plan.steps_run))
        view = self._asked("show_denoising", "save_last_N", "frames", "preview")
        ending = f"{self.layout.endings[which]}-step{number:0{digits}}"
        self.output.write(picture, ending, self._attached(which, view, whole=False))

    def _write(self, which: int, picture: Picture) -> None:
        self.output.write(picture, self.layout.endings[which], self._attached(which, {}))

    # The way up

    def noising(self, steps: Sequence[Step], kind: str, which: int) -> None:
        """The way from the picture up to the start, as a strip; as files and in the film where steps are."""
        cells = []
        for step in steps:
            picture = self._frame(Step(-1, step.sigma, step.x, step.clean))
            cells.append(Cell(picture, f"sigma {step.sigma:.2f}"))
            every = self.args.show_denoising
            if every and self.layout.kind != "triangle" and (step.index % every == 0 or step.index == len(steps) - 1):
                digits = len(str(len(steps) - 1))
                self.output.write(picture, f"-{kind}{step.index:0{digits}}", self._attached(which, {}, whole=False))
        view = {"show_noising": kind}
        self.output.write(strip(cells, limit=self._limit), f"-{kind}", self._attached(None, view))
        self.noised = [cell.picture for cell in cells[:-1]]  # the last one is the start of the way down

    @property
    def _limit(self) -> int:
        return self.args.sheet_size or LIMIT

    # Sheets

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, OSError):  # the disk is full, say: no more of it
            return
        self.decode()
        view = self._asked("show_denoising", "frames", "preview")
        for which, cells in enumerate(self.strips):
            if cells:
                picture = strip(cells, limit=self._limit)
                self.output.write(picture, f"{self.layout.endings[which]}-steps", self._attached(which, view))
        for which, film in enumerate(self.films):
            if film:
                self._animate(which, [*self.noised, *film])
        if self.layout.sheet is not None and any(self.rows):
            original = Cell(self.start.picture, "original") if self.start else None
            sheet = DRAW[self.layout.kind](self.rows, self.layout.headings, self.layout.view, original)
            self.output.write(sheet, self.layout.sheet, self._attached(None, self.layout.again))
            if original and (path := path_strip(self.rows, self.layout.view, original)):
                self.output.write(path, "-path", self._attached(None, self.layout.again))
        if self.args.save_latents and any(self.steps):
            self._record()

    def _animate(self, which: int, film: Sequence[Picture]) -> None:
        path = Path(self.args.animate).expanduser()
        path = path.with_stem(path.stem + self.layout.endings[which])
        path = path if self.args.overwrite else free_stem(path)
        save_animation(film, path)
        tell(str(path))

    def _record(self) -> None:
        assert self.base is not None
        there = [which for which, steps in enumerate(self.steps) if steps]
        place = {which: r for r, which in enumerate(there)}
        headings, endings = ([of[which] for which in there] for of in (self.layout.headings, self.layout.endings))
        view = {**self.layout.view, "endings": endings, "sheet": self.layout.sheet, "name": ""}
        for name in ("strengths", "labels"):  # of the rows that are there
            if name in view:
                view[name] = [view[name][which] for which in there]
        mask = original = None
        if self.start is not None:
            original, view["name"] = to_bytes(self.start.picture), self.start.name
            mask = None if self.start.plain is None else to_bytes(self.start.plain)
        recipe = replace(self.base, view={**self.base.view, **self.layout.again})
        if self.layout.only is not None:
            recipe = replace(recipe, settings=self.layout.settings[self.layout.only])
        frames = {(place[w], i, kind): to_bytes(picture) for (w, i, kind), picture in self.frames.items()}
        steps = [self.steps[which] for which in there]
        record = Record(recipe, self.layout.kind, steps, headings, frames, original, mask, view)
        with self.output.file(".safetensors") as path:
            save_record(record, path)

    # What the files say

    def _asked(self, *names: str) -> dict[str, object]:
        """Those of the options that were given."""
        return {name: value for name in names if (value := getattr(self.args, name))}

    def _attached(self, which: int | None, view: Mapping[str, object], whole: bool = True) -> Attached | None:
        """The metadata of a run's picture, or of a sheet of all; whole: with the picture that it starts from."""
        if self.base is None or not self.args.save_prompt:
            return None
        recipe = replace(self.base, view={**self.base.view, **view})
        if which is not None:
            decoding, layout = self.args.decoding_batch_size or 1, self.layout
            alone = len(self.runs) == 1 or (layout.batch_size == 1 and decoding == 1)
            shared = None if alone else Together(tuple(layout.settings), which, layout.batch_size, decoding)
            recipe = replace(recipe, settings=layout.settings[which], together=shared)
        if self.start is None:
            return attached(recipe)
        keep = whole and self.args.source_picture
        return attached(recipe, self.start.picture, self.start.plain, self.start.name, keep)


def report(inversion: Inversion) -> None:
    """How exact a way up is."""
    steps, worst = len(inversion.residuals), max(inversion.residuals, default=0.0)
    note(f"inversion: {steps} steps up, each undone by the step down to within {worst:.1g} of the latents' size")
