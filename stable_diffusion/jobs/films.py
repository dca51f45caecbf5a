"""A record as films: the steps of each run, and its sheet as it comes about."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ..pictures.animation import FPS, Shot, check_film, save_animation
from ..pictures.sheet import Cell, sheet
from .events import Written
from .files import Output
from .record import KeptStep, Record, Row
from .sheets import DRAW, Frame, called, cell, highlighted, is_seen, level, rising, steps_of
from .view import View

TALLEST = 5  # rows of a pyramid above one another; more stand in two columns
LARGEST = 1600  # pixels, the longer side of a film of a sheet, unless somebody asks for more


def check_films(view: View, output: Output) -> None:
    """Raise ValueError, in one sentence and before any work is done, for films that could not be written."""
    if view.animate:
        path = Path(view.animate).expanduser()
        check_film(path)
        output.keep_apart(path, "animation")


def films(record: Record, view: View, frame: Frame) -> Iterator[tuple[str, Sequence[Shot]]]:
    """The films of a record, and the endings of their names.

    Of a triangle: one way after the other, from the original up to the row's start and out, and the highlighted one
    by itself. Of a pyramid: all rows above one another, in step so that they meet in the noise. Otherwise each run by
    itself, and where there are several, their sheet with all of them at once.
    """
    if record.kind == "triangle":
        if not rising(record):  # stopped before the first step
            return
        if view.triangle_shape == "pyramid":
            yield "", _pyramid(record, view, frame)
        else:
            yield "", [shot for i in rising(record) for shot in _row(record.rows[i], record, view, frame)]
        if path := highlighted(record, view, frame):
            cells, turn = path
            heading = next(row.heading for row in record.rows if row.strength == view.highlight)
            yield "-path", [_shot(one, heading, i in (0, turn)) for i, one in enumerate(cells)]
        return
    for row in record.rows:
        # The last picture of the way in is the start of the way out.
        steps = [*row.way_in, *(step for step in row.steps if is_seen(row, step, view))]
        if len(steps) > 1:
            yield row.ending, [_step(row, step, frame) for step in steps]
    if record.sheet is not None and any(len(row.steps) > 1 for row in record.rows):
        yield record.sheet, _sheet(record, view, frame)


def write_films(
    made: Iterator[tuple[str, Sequence[Shot]]], path: Path, view: View, overwrite: bool
) -> Iterator[Written]:
    """Write them beside each other."""
    for ending, shots in made:
        if not view.captions:
            shots = [replace(shot, caption="") for shot in shots]
        yield Written(save_animation(shots, path.with_stem(path.stem + ending), view.fps or FPS, overwrite=overwrite))


def _shot(cell: Cell, heading: str, held: bool) -> Shot:
    return Shot(cell.picture, f"{heading}, {cell.label}" if heading else cell.label, held)


def _step(row: Row, step: KeptStep, frame: Frame) -> Shot:
    number = step.index + 1
    name = called(number, row.count)
    said = [row.heading] if row.heading else []
    said += [name, level(step)] if step.sigma or number > 0 else [level(step)]
    return Shot(frame(row, step), ", ".join(said), held=number == 0 or not step.sigma)


def _row(row: Row, record: Record, view: View, frame: Frame) -> Iterator[Shot]:
    """From the original, which is held, straight to the start, and out."""
    assert record.originals is not None and record.originals.picture is not None
    yield Shot(record.originals.picture, f"{row.heading}, original", held=True)
    yield from (_step(row, step, frame) for step in steps_of(row, record, view) if step.sigma or step.index >= 0)


def _pyramid(record: Record, view: View, frame: Frame) -> list[Shot]:
    rows = [record.rows[i] for i in rising(record)]
    steps = [{step.index + 1: step for step in steps_of(row, record, view)} for row in rows]
    numbers = sorted({number for row in steps for number in row})
    size = min(view.sheet_size or LARGEST, LARGEST)
    shots = []
    for number in numbers:
        at = [own[min(max(number, min(own)), max(own))] for own in steps]  # before it begins, and after it has ended
        cells = [Cell(frame(row, step), f"{row.heading}: {level(step)}") for row, step in zip(rows, at, strict=True)]
        down = -(-len(cells) // 2) if len(cells) > TALLEST else len(cells)
        picture = sheet([cells[i::down] for i in range(down)], limit=size)
        name = "original" if number == numbers[0] < 0 else called(number)
        shots.append(Shot(picture, name, held=number in (numbers[0], 0)))
    return shots


def _sheet(record: Record, view: View, frame: Frame) -> list[Shot]:
    """All runs at once, each as far as it is at the same step; those that have ended wait."""
    runs = [(row, [step for step in row.steps if is_seen(row, step, view)]) for row in record.rows]
    small = replace(view, sheet_size=min(view.sheet_size or LARGEST, LARGEST))
    shots = []
    for number in sorted({step.index + 1 for _, steps in runs for step in steps}):
        at = [(row, [step for step in steps if step.index < number]) for row, steps in runs]
        cells = [[cell(row, steps[-1], frame)] if steps else [] for row, steps in at]
        shots.append(Shot(DRAW[record.kind](cells, record, small), called(number), number == 0))
    return shots
