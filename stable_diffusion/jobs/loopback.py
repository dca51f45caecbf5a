"""Image-to-image whose result is its next input, again and again; its rounds as a sheet and a film."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ..pictures.animation import FPS, Shot, save_animation
from ..pictures.images import Picture
from ..pictures.sheet import LIMIT, Cell, strip
from .events import Event, Written
from .files import Output, attached
from .kinds import Loopback
from .record import Record
from .request import Request
from .view import View


def each(request: Request, output: Output) -> Iterator[tuple[Request, Output]]:
    """The rounds, as far as they are known before any is painted: all that differs is the seed.

    Raises ValueError where there is no picture to start from, and for more than one.
    """
    settings, kind = request.settings, request.view.kind
    assert isinstance(kind, Loopback)
    if request.inputs is None or request.inputs.picture is None:
        raise ValueError("a loopback needs a picture to start from: use image2image")
    if settings.n_images != 1:
        raise ValueError(f"n_images is {settings.n_images}: a loopback goes on from 1 picture")
    view = replace(request.view, kind=None, animate=None)
    for k in range(kind.loopback):
        one = replace(settings, seed=settings.seed + k)
        yield replace(request, settings=one, view=view), output.under(f"-round{k + 1:0{len(str(kind.loopback))}}")


class Loop:
    """The rounds of a request, and what has come of them."""

    def __init__(self, request: Request, output: Output) -> None:
        self._request, self._output = request, output
        self._now = request.inputs  # what the next round starts from
        self._records: list[Record] = []

    def rounds(self) -> Iterator[tuple[Request, Output]]:
        """Each round, as soon as the one before has ended."""
        stem = self._output.path.stem
        self._output.claim(
            ["", *(place.path.stem.removeprefix(stem) for _, place in each(self._request, self._output))]
        )
        for one, place in each(self._request, self._output):
            yield replace(one, inputs=self._now), place

    def ended(self, place: Output, record: Record) -> None:
        """A round has come to its end: its picture, as it lies in its file, is the next one's original."""
        assert self._now is not None
        self._records.append(record)
        self._now = replace(self._now, picture=self._picture(record), name=place.path.name)

    @staticmethod
    def _picture(record: Record) -> Picture:
        return next(iter(record.rows[0].steps[-1].pictures.values()))

    def close(self) -> Iterator[Event]:
        """The sheet of the rounds that have ended, and their film."""
        if not self._records:
            return
        originals, view = self._request.inputs, self._request.view
        assert originals is not None and originals.picture is not None
        cells = [Cell(originals.picture, "original")]
        for k, record in enumerate(self._records):
            cells.append(Cell(self._picture(record), f"round {k + 1}: seed {record.recipe.settings.seed}"))
        if view.animate:
            path = Path(view.animate).expanduser()
            shots = [Shot(cell.picture, cell.label if view.captions else "", held=cell is cells[0]) for cell in cells]
            yield Written(save_animation(shots, path, view.fps or FPS, overwrite=self._output.overwrite))
        told = None
        if view.metadata:
            first = self._records[0].recipe
            recipe = replace(first, view=View(kind=view.kind, feather=view.feather))
            told = attached(recipe, originals, view.originals)
        yield self._output.write(strip(cells, limit=view.sheet_size or LIMIT), "", told)
