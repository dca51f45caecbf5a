"""--redraw: the sheets of a file of latents, drawn again with other options."""

import argparse
from pathlib import Path
from typing import Literal

from ..pictures.images import Picture, from_bytes, to_picture
from ..pictures.sheet import LIMIT, Cell, strip
from ..pipeline.files import attached
from ..pipeline.record import Record, load_record
from ..pipeline.stable_diffusion import StableDiffusion, shown
from .run import Output
from .sheets import DRAW, path_strip


def redraw(args: argparse.Namespace) -> None:
    """Draw the sheet of --redraw, and the strip of each of its runs where --show_denoising asks for them.

    Pictures of steps that the file does not have, those of the other --frames, are decoded from its latents by the
    model's autoencoder; the network is never called. Raises ValueError for a file that is no such record.
    """
    record = load_record(Path(args.redraw))
    view = dict(record.view)
    for name in ("triangle_align", "highlight", "sheet_size", "n_rows"):
        if getattr(args, name, None) is not None:
            view[name] = getattr(args, name)
    if view.get("highlight") is not None and view["highlight"] not in view.get("strengths", ()):
        raise ValueError(f"there is no row of strength {view['highlight']:g} to highlight in {args.redraw}")
    endings, sheet = view.pop("endings"), view.pop("sheet")
    files = Output(args, [sheet or "", *endings])
    frames = _Frames(record, args)
    rows = [
        [frames.cell(r, i) for i, step in enumerate(row) if _seen(step.index + 1, i == len(row) - 1, args)]
        for r, row in enumerate(record.rows)
    ]
    told = attached(record.recipe) if args.save_prompt else None
    if sheet is None or (args.show_denoising and record.kind != "triangle"):
        for ending, row in zip(endings, rows, strict=True):
            files.write(strip(row[1:] or row, limit=args.sheet_size or LIMIT), f"{ending}-steps", told)
    if sheet is not None:
        original = None if record.original is None else Cell(from_bytes(record.original), "original")
        files.write(DRAW[record.kind](rows, record.headings, view, original), sheet, told)
        if original and (path := path_strip(rows, view, original)):
            files.write(path, "-path", told)


def _seen(number: int, last: bool, args: argparse.Namespace) -> bool:
    return number == 0 or last or number % (args.show_denoising or 1) == 0


class _Frames:
    """The pictures of a record's steps: those in the file, others decoded when they are asked for."""

    def __init__(self, record: Record, args: argparse.Namespace) -> None:
        self._record, self._args = record, args
        self._sd: StableDiffusion | None = None

    def cell(self, r: int, i: int) -> Cell:
        step = self._record.rows[r][i]
        return Cell(self._picture(r, i), f"{step.index + 1 or 'start'}: sigma {step.sigma:.2f}")

    def _picture(self, r: int, i: int) -> Picture:
        step, frames = self._record.rows[r][i], self._record.frames
        there = [kind for kind in ("noisy", "clean") if (r, i, kind) in frames]
        last = i == len(self._record.rows[r]) - 1
        # The start has no estimate, and the end is the finished picture either way.
        asked = there[0] if there and (last or not i or not self._args.frames) else self._args.frames or "noisy"
        if asked in there:
            return from_bytes(frames[r, i, asked])
        kind: Literal["noisy", "clean"] = "clean" if asked == "clean" and i else "noisy"
        if self._sd is None:
            recipe = self._record.recipe
            self._sd = StableDiffusion(self._args.model or recipe.model, recipe.float16, recipe.quantize)
        return to_picture(self._sd.decode(shown(step, kind))[0])
