"""A record as a page: what can be explored of it in a browser."""

from collections.abc import Iterator
from pathlib import Path

from ..pictures.images import Picture
from ..pictures.page import ENDINGS, Frame, Line, Page, save_page
from ..pictures.writing import check_writable
from ..settings import ROWS, CompleteSettings
from .commands import command
from .events import Event, Note, Written
from .files import Output, attached
from .record import KeptStep, Record, Row
from .sheets import Frame as Draw
from .sheets import called, is_seen, level, rising, steps_of
from .view import View


def check_page(view: View, output: Output) -> None:
    """Raise ValueError, in one sentence and before any work is done, for a page that could not be written."""
    if view.html:
        path = Path(view.html).expanduser()
        check_writable(path, ENDINGS)
        output.keep_apart(path, "page")


def write_page(record: Record, view: View, frame: Draw, overwrite: bool) -> Iterator[Event]:
    """Write the page of a record: see `pictures.page`. Nothing is written of a record without steps."""
    page = page_of(record, view, frame)
    if not page.lines:
        return
    assert view.html is not None
    path, said = save_page(page, Path(view.html).expanduser(), overwrite=overwrite)
    if said:
        yield Note(f"note: {said}")
    yield Written(path)


def page_of(record: Record, view: View, frame: Draw) -> Page:
    """The page of a record in a view, its rows in the order in which they are drawn."""
    pyramid = view.triangle_shape == "pyramid"
    order = rising(record) if record.kind == "triangle" else [i for i, row in enumerate(record.rows) if row.steps]
    columns = max(1, len(record.columns))
    places = {i: divmod(i, columns) if record.kind == "grid" else (at, 0) for at, i in enumerate(order)}
    lines = [_line(record, record.rows[i], places[i], view, frame) for i in order]
    originals = record.originals
    kept = attached(record.recipe, originals, view.originals).data() if view.metadata else {}
    return Page(
        title=record.recipe.settings.prompt,
        kind="pyramid" if pyramid else {"children": "family"}.get(record.kind, record.kind),
        lines=lines,
        original=None if originals is None else originals.picture,
        chunks=kept,
        rows=record.lines,
        columns=record.columns,
    )


def _line(record: Record, row: Row, place: tuple[int, int], view: View, frame: Draw) -> Line:
    if record.kind == "triangle":
        steps = steps_of(row, record, view)
    else:
        steps = [*row.way_in, *(step for step in row.steps if is_seen(row, step, view))]
    settings = row.settings or record.recipe.settings
    about, texts, words = {}, {}, ""
    if row.settings is not None:
        about = _about(row.settings, record)
        recipe = record.recipe.alone(row.settings)
        texts = dict(attached(recipe, record.originals, view.originals).texts) if view.metadata else {}
        words = _command(settings, record)
    return Line(
        heading=row.heading or f"seed {settings.seed}",
        frames=[_frame(row, step, frame) for step in steps],
        row=place[0],
        column=place[1],
        strength=row.strength,
        about=about,
        command=words,
        texts=texts,
        levels=row.sigmas,
        times=row.times,
    )


def _frame(row: Row, step: KeptStep, frame: Draw) -> Frame:
    """A step with its pictures, of both kinds where there are both; a finished one is noisy and clean at once."""
    number = step.index + 1
    shown = frame(row, step)
    pictures: dict[str, Picture] = {"noisy": shown}
    if step.pictures and step.sigma and number > 0:
        pictures = dict[str, Picture](step.pictures.items())
    return Frame(pictures, called(number, row.count) if step.sigma else level(step), step.sigma, number)


def _about(settings: CompleteSettings, record: Record) -> dict[str, str]:
    """The settings to read: those that are not as in every run, and the seed, the steps and the like always."""
    values = {name: getattr(settings, name) for name in ROWS}
    return {"model": record.recipe.model.name} | {
        name.replace("_", " "): str(value)
        for name, value in values.items()
        if value != ROWS[name].default and name not in ("perturb", "n_images")
    }


def _command(settings: CompleteSettings, record: Record) -> str:
    try:
        return command(settings, record.recipe.model, record.originals)
    except ValueError:
        return ""
