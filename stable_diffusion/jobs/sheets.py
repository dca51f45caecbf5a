"""A record as sheets: the one place where its pictures are laid out, whether they have just been made or not."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from ..pictures.images import Picture, contact_sheet
from ..pictures.sheet import LIMIT, Cell, pyramid, sheet, strip, triangle, way
from .columns import columns_of
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
            yield row, f"{row.ending}-steps", strip(cells, limit=limit(view))


def sheets(record: Record, view: View, frame: Frame) -> Iterator[tuple[str, Picture]]:
    """The sheet of a record, and the highlighted way of a triangle as a strip, with the endings of their names."""
    if record.sheet is None or (record.kind == "triangle" and not rising(record)):
        return
    rows = shown(record, view, frame)
    if not any(rows):
        return
    yield record.sheet, DRAW[record.kind](rows, record, view)
    if path := highlighted(record, view, frame):
        cells, turn = path
        yield "-path", strip(cells, limit=limit(view), turn=turn)


def limit(view: View) -> int:
    return view.sheet_size or LIMIT


def is_seen(row: Row, step: KeptStep, view: View) -> bool:
    """Is a step shown in a strip, where every N-th is?"""
    last = row.finished and step is row.steps[-1]
    return step.index < 0 or last or (step.index + 1) % (view.show_denoising or 1) == 0


def cell(row: Row, step: KeptStep, frame: Frame, start: str = "start") -> Cell:
    """A step with what is said under it; start: of its start."""
    number = step.index + 1
    name = str(number) if number > 0 else start if number == 0 else called(number)
    return Cell(frame(row, step), f"{name}: {level(step)}" if step.sigma or number > 0 else level(step))


def called(number: int, count: int | None = None) -> str:
    """What a step is called, by its number: 0 is the start, and less than that the way in."""
    if number > 0:
        return f"step {number}" if count is None else f"step {number} of {count}"
    return "start" if number == 0 else "noised"


def level(step: KeptStep) -> str:
    """What a step has come to."""
    if step.sigma:
        return f"sigma {step.sigma:.2f}"
    return "finished" if step.index >= 0 else "original"


def noised(row: Row, steps: Sequence[KeptStep], frame: Frame, view: View) -> Picture:
    """The way in as a strip, to the start and with it."""
    return strip([cell(row, step, frame) for step in steps], limit=limit(view))


def shown(record: Record, view: View, frame: Frame) -> list[list[Cell]]:
    """The cells of each row that stand on its sheet: of a triangle its steps, otherwise the finished picture."""
    if record.kind == "triangle":
        return [[cell(row, step, frame, "noised") for step in steps_of(row, record, view)] for row in record.rows]
    return [[cell(row, row.steps[-1], frame)] if row.finished else [] for row in record.rows]


def steps_of(row: Row, record: Record, view: View) -> list[KeptStep]:
    """The steps of a triangle's row that have a column; of a pyramid's, those of the way in too."""
    columns = columns_of([other.count for other in record.rows], view)
    steps = [*row.way_in, *row.steps] if view.triangle_shape == "pyramid" else row.steps
    return [step for step in steps if columns.has(abs(step.index + 1), row.count)]


def rising(record: Record) -> list[int]:
    """The places of a triangle's rows that have come, in the order of their strengths."""
    there = [(row.strength or 0.0, i) for i, row in enumerate(record.rows) if row.steps]
    return [i for _, i in sorted(there)]


def _original(record: Record) -> Cell | None:
    picture = record.originals.picture if record.originals else None
    return None if picture is None else Cell(picture, "original")


def _pictures(rows: Cells, record: Record, view: View) -> Picture:
    picture = contact_sheet([row[-1].picture for row in rows if row], view.n_rows or 1)
    picture.thumbnail((limit(view),) * 2)
    return picture


def _children(rows: Cells, record: Record, view: View) -> Picture:
    cells = [replace(row[-1], label=kept.heading) for row, kept in zip(rows, record.rows, strict=True) if row]
    return strip(cells, -(-len(cells) // (view.n_rows or 1)), limit(view))


def _grid(rows: Cells, record: Record, view: View) -> Picture:
    columns = list(record.columns)
    cells = [replace(row[-1], label=kept.label) if row else None for row, kept in zip(rows, record.rows, strict=True)]
    lines = [cells[i : i + len(columns)] for i in range(0, len(cells), len(columns))]
    if len(lines) == 1 and (original := _original(record)):  # beside what it was made from
        lines, columns = [[replace(original, label=""), *lines[0]]], ["original", *columns]
    return sheet(lines, list(record.lines), limit(view), columns)


def _triangle(rows: Cells, record: Record, view: View) -> Picture:
    original, order = _original(record), rising(record)
    assert original is not None
    headings = [record.rows[i].heading for i in order]
    chosen = next((k for k, i in enumerate(order) if i == _chosen(record, view)), None)
    if view.triangle_shape == "pyramid":
        return _pyramid(rows, record, view, original, headings, chosen)
    align = view.triangle_align or "left"
    return triangle([rows[i] for i in order], headings, original, align, limit(view), chosen)


def _pyramid(
    rows: Cells, record: Record, view: View, original: Cell, headings: Sequence[str], chosen: int | None
) -> Picture:
    ways = []
    for i in rising(record):
        steps = steps_of(record.rows[i], record, view)
        # The number of a step stands under its column, which leaves room for its level.
        cells = [replace(cell, label=level(step)) for cell, step in zip(rows[i], steps, strict=True)]
        turn = sum(step.index < -1 for step in steps)
        ways.append((cells[:turn], cells[turn:]))
    longest = max(record.rows, key=lambda row: row.count)
    numbers = [step.index + 1 for step in steps_of(longest, record, view)]
    under = [called(n) if n >= 0 else f"{called(n)} {-n}" if -n < longest.count else "" for n in numbers]
    target = Cell(ways[-1][1][-1].picture, headings[-1])
    return pyramid(ways, headings, original, target, limit(view), chosen, under)


def _chosen(record: Record, view: View) -> int | None:
    """The place of the row that is pointed out; after Ctrl-C it may be missing."""
    if view.highlight is None:
        return None
    return next((i for i, row in enumerate(record.rows) if row.steps and row.strength == view.highlight), None)


def highlighted(record: Record, view: View, frame: Frame) -> tuple[list[Cell], int] | None:
    """The chosen row of a triangle as one way: in to its start, and out; and where it turns.

    The way in of a triangle is made of the starts of weaker rows. None where no row is chosen, or it never came.
    """
    original, chosen = _original(record), _chosen(record, view)
    if chosen is None or original is None or record.kind != "triangle":
        return None
    row, order = record.rows[chosen], rising(record)
    steps = steps_of(row, record, view)
    out = [cell(row, step, frame) for step in steps]
    if view.triangle_shape == "pyramid":
        return out, sum(step.index < -1 for step in steps)
    weaker = (record.rows[i] for i in order[: order.index(chosen)])
    below = [[cell(row, row.steps[0], frame, "noised")] for row in weaker]
    return way([*below, out], original, len(below)), len(below) + 1


DRAW: dict[str, Callable[[Cells, Record, View], Picture]] = {
    "pictures": _pictures,
    "children": _children,
    "grid": _grid,
    "triangle": _triangle,
}
