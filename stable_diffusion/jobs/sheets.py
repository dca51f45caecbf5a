"""A record as sheets: the one place where its pictures are laid out, whether they have just been made or not."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from ..pictures.images import Picture, contact_sheet
from ..pictures.sheet import LIMIT, Cell, sheet, strip, triangle
from .record import KeptStep, Record, Row
from .view import View

Frame = Callable[[Row, KeptStep], Picture]  # the picture of a step, in whichever view
Cells = Sequence[Sequence[Cell]]  # the shown steps of each row


def strips(record: Record, view: View, frame: Frame) -> Iterator[tuple[Row, str, Picture]]:
    """The steps of each row as a strip, and the ending of its name; of a triangle the sheet shows them."""
    if not view.show_denoising or record.kind == "triangle":
        return
    for row in record.rows:
        cells = [cell(row, step, frame) for step in row.steps if step.index >= 0 and is_seen(row, step, view)]
        if cells:
            yield row, f"{row.ending}-steps", strip(cells, limit=view.sheet_size or LIMIT)


def sheets(record: Record, view: View, frame: Frame) -> Iterator[tuple[str, Picture]]:
    """The sheet of a record, and the highlighted way of a triangle as a strip, with the endings of their names."""
    if record.sheet is None:
        return
    rows = [_shown(record, row, view, frame) for row in record.rows]
    if not any(rows):
        return
    yield record.sheet, DRAW[record.kind](rows, record, view)
    path = highlighted(rows, record, view)
    if path and (original := _original(record)):
        yield "-path", strip([original, *path], limit=view.sheet_size or LIMIT)


def is_seen(row: Row, step: KeptStep, view: View) -> bool:
    """Is a step shown, where every N-th is?"""
    last = row.finished and step is row.steps[-1]
    return step.index < 0 or last or (step.index + 1) % (view.show_denoising or 1) == 0


def cell(row: Row, step: KeptStep, frame: Frame) -> Cell:
    return Cell(frame(row, step), f"{step.index + 1 or 'start'}: sigma {step.sigma:.2f}")


def _shown(record: Record, row: Row, view: View, frame: Frame) -> list[Cell]:
    if record.kind == "triangle":
        return [cell(row, step, frame) for step in row.steps if is_seen(row, step, view)]
    return [cell(row, row.steps[-1], frame)] if row.finished else []


def _original(record: Record) -> Cell | None:
    picture = record.originals.picture if record.originals else None
    return None if picture is None else Cell(picture, "original")


def _pictures(rows: Cells, record: Record, view: View) -> Picture:
    picture = contact_sheet([row[-1].picture for row in rows if row], view.n_rows or 1)
    picture.thumbnail((view.sheet_size or LIMIT,) * 2)
    return picture


def _children(rows: Cells, record: Record, view: View) -> Picture:
    cells = [replace(row[-1], label=kept.heading) for row, kept in zip(rows, record.rows, strict=True) if row]
    return strip(cells, -(-len(cells) // (view.n_rows or 1)), view.sheet_size or LIMIT)


def _grid(rows: Cells, record: Record, view: View) -> Picture:
    columns = list(record.columns)
    cells = [replace(row[-1], label=kept.label) if row else None for row, kept in zip(rows, record.rows, strict=True)]
    lines = [cells[i : i + len(columns)] for i in range(0, len(cells), len(columns))]
    if len(lines) == 1 and (original := _original(record)):  # beside what it was made from
        lines, columns = [[replace(original, label=""), *lines[0]]], ["original", *columns]
    return sheet(lines, list(record.lines), view.sheet_size or LIMIT, columns)


def _triangle(rows: Cells, record: Record, view: View) -> Picture:
    original = _original(record)
    assert original is not None
    path = {id(cell) for cell in highlighted(rows, record, view)}
    marked = [[replace(cell, framed=id(cell) in path) for cell in row] for row in rows]
    there = [(row, kept.heading) for row, kept in zip(marked, record.rows, strict=True) if row]
    foot = replace(original, framed=bool(path))
    align, limit = view.triangle_align or "left", view.sheet_size or LIMIT
    return triangle([row for row, _ in there], [text for _, text in there], foot, align, limit)


def highlighted(rows: Cells, record: Record, view: View) -> list[Cell]:
    """The L-shaped path of the chosen row: up through the noised pictures of lower strengths, and along the row."""
    values = [row.strength for row in record.rows]
    if view.highlight is None or view.highlight not in values:  # after Ctrl-C its row may be missing
        return []
    at = values.index(view.highlight)
    below = sorted((v, i) for i, v in enumerate(values) if v is not None and v < view.highlight)
    return [rows[i][0] for _, i in below if rows[i]] + list(rows[at])


DRAW: dict[str, Callable[[Cells, Record, View], Picture]] = {
    "pictures": _pictures,
    "children": _children,
    "grid": _grid,
    "triangle": _triangle,
}
