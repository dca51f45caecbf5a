"""--redraw: the sheets of a file of latents, drawn again with other options."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from ..pictures.images import Picture, from_bytes, to_picture
from ..pictures.sheet import LIMIT, Cell, strip
from ..pipeline.files import attached
from ..pipeline.record import Record, load_record
from ..pipeline.stable_diffusion import StableDiffusion, shown
from .layouts import row_of
from .run import Output
from .sheets import DRAW, path_strip


def redraw(args: argparse.Namespace) -> None:
    """Draw the sheet of --redraw, and the strip of each of its runs where --show_denoising asks for them.

    Pictures of steps that the file does not have, those of the other --frames, are decoded from its latents by the
    model's autoencoder; the network is never called. Raises ValueError for a file that is no such record.
    """
    record = load_record(Path(args.redraw))
    try:
        _redraw(args, record)
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"{args.redraw!r} is damaged ({type(error).__name__}: {error})") from None


def _redraw(args: argparse.Namespace, record: Record) -> None:
    view: dict[str, Any] = dict(record.view)
    named = {name: value for name in ("triangle_align", "sheet_size", "n_rows") if (value := getattr(args, name, None))}
    if getattr(args, "highlight", None) is not None:
        named["highlight"] = row_of(args.highlight, view.get("strengths") or [-1.0])
    view |= named
    endings, sheet, limit = list(view["endings"]), view["sheet"], view.get("sheet_size") or LIMIT
    files = Output(args, [sheet or "", *endings])
    frames = _Frames(record, args)
    triangular = record.kind == "triangle"
    told = None
    picture = None if record.original is None else from_bytes(record.original)
    if args.save_prompt:
        recipe = replace(record.recipe, view={**record.recipe.view, **(named if sheet is not None else {})})
        mask = None if record.mask is None else from_bytes(record.mask).convert("L")
        told = attached(recipe, picture, mask, view["name"], getattr(args, "source_picture", True))
    if sheet is None or (args.show_denoising and not triangular):
        for r, (ending, row) in enumerate(zip(endings, record.rows, strict=True)):
            seen = [i for i in range(1, len(row)) if _seen(row[i].index + 1, i == len(row) - 1, args)] or [0]
            files.write(strip([frames.cell(r, i) for i in seen], limit=limit), f"{ending}-steps", told)
    if sheet is not None:
        rows = []
        for r, row in enumerate(record.rows):
            places = range(len(row)) if triangular else [len(row) - 1]
            rows.append([frames.cell(r, i) for i in places if _seen(row[i].index + 1, i == len(row) - 1, args)])
        original = None if picture is None else Cell(picture, "original")
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
