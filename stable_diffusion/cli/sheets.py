"""How the pictures of a run, or of many, are laid out on one sheet; by the kind of what they show."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..pictures.images import Picture, grid
from ..pictures.sheet import LIMIT, Cell, sheet, strip, triangle

Rows = Sequence[Sequence[Cell]]  # the shown steps of each run; the last one is its picture, once it is finished
View = Mapping[str, Any]


def _plain(rows: Rows, headings: Sequence[str], view: View, original: Cell | None) -> Picture:
    picture = grid([row[-1].picture for row in rows if row], view.get("n_rows") or 1)
    picture.thumbnail((view.get("sheet_size") or LIMIT,) * 2)
    return picture


def _children(rows: Rows, headings: Sequence[str], view: View, original: Cell | None) -> Picture:
    cells = [replace(row[-1], label=text) for row, text in zip(rows, headings, strict=True) if row]
    columns = -(-len(cells) // (view.get("n_rows") or 1))
    return strip(cells, columns, view.get("sheet_size") or LIMIT)


def _grid(rows: Rows, headings: Sequence[str], view: View, original: Cell | None) -> Picture:
    columns, labels = view["columns"], view["labels"]
    cells = [replace(row[-1], label=text) if row else None for row, text in zip(rows, labels, strict=True)]
    lines = [cells[i : i + len(columns)] for i in range(0, len(cells), len(columns))]
    if len(lines) == 1 and original is not None:  # beside what it was made from
        lines, columns = [[replace(original, label=""), *lines[0]]], ["original", *columns]
    return sheet(lines, view["rows"], view.get("sheet_size") or LIMIT, columns)


def _triangle(rows: Rows, headings: Sequence[str], view: View, original: Cell | None) -> Picture:
    assert original is not None
    path = {id(cell) for cell in highlighted(rows, view)}
    marked = [[replace(cell, framed=id(cell) in path) for cell in row] for row in rows]
    foot = replace(original, framed=bool(path))
    limit = view.get("sheet_size") or LIMIT
    there = [(row, text) for row, text in zip(marked, headings, strict=True) if row]
    return triangle([r for r, _ in there], [t for _, t in there], foot, view.get("triangle_align") or "left", limit)


def highlighted(rows: Rows, view: View) -> list[Cell]:
    """The L-shaped path of the chosen row: up through the noised pictures of lower strengths, and along the row."""
    chosen, values = view.get("highlight"), view.get("strengths", ())
    if chosen is None or chosen not in values:  # after Ctrl-C its row may be missing
        return []
    at = list(values).index(chosen)
    below = sorted((value, i) for i, value in enumerate(values) if value < chosen)
    return [rows[i][0] for _, i in below if rows[i]] + list(rows[at])


def path_strip(rows: Rows, view: View, original: Cell) -> Picture | None:
    """That path as a strip of its own, the original first."""
    cells = highlighted(rows, view)
    return strip([original, *cells], limit=view.get("sheet_size") or LIMIT) if cells else None


DRAW: dict[str, Callable[[Rows, Sequence[str], View, Cell | None], Picture]] = {
    "pictures": _plain,
    "children": _children,
    "grid": _grid,
    "triangle": _triangle,
}
