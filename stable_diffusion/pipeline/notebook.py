"""What a notebook shows of steps: pictures, as quick and as coarse as previews are; and a bar."""

import io
from collections.abc import Callable, Iterable, Iterator, Sequence

from ..diffusion.samplers import Step
from ..pictures.images import Picture
from ..pictures.sheet import Cell, sheet

Thumbnails = Callable[[Step], Sequence[Picture]]  # of each picture of a step


class Steps(list[Step]):
    """Steps that follow each other, as a list; in a notebook they are a strip, of each picture one."""

    def __init__(self, steps: Iterable[Step], thumbnails: Thumbnails) -> None:
        super().__init__(steps)
        self._thumbnails = thumbnails

    def cells(self) -> list[list[Cell]]:
        """What is shown of them."""
        columns = [[Cell(p, f"sigma {step.sigma:.2f}") for p in self._thumbnails(step)] for step in self]
        return [list(row) for row in zip(*columns, strict=True)]

    def _repr_png_(self) -> bytes:
        return _png(sheet(self.cells()))


class Rows(list[Steps]):
    """Rows of steps, as a list; in a notebook they are a sheet, the last row at the top, as strengths grow."""

    def _repr_png_(self) -> bytes:
        return _png(sheet([row for steps in reversed(self) for row in steps.cells()]))


def _png(picture: Picture) -> bytes:
    data = io.BytesIO()
    picture.save(data, "PNG")
    return data.getvalue()


def with_bar(steps: Iterator[Step], total: int) -> Iterator[Step]:
    """The steps, with a bar on standard error while they are taken."""
    from tqdm import tqdm  # not before somebody asks: a library says nothing by itself

    yield from tqdm(steps, total=total, desc="steps", unit="step")
