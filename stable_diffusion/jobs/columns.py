"""Which steps of a triangle's rows have a column on its sheet: all of them would make it a hair."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..pictures.sheet import LIMIT
from .view import View

LEGIBLE = 12  # columns that are read at a glance
NARROWEST = 80  # pixels of a column, where somebody asks for more


@dataclass(frozen=True)
class Columns:
    """The numbers of the steps that are shown, 0 the start; or, aligned right, how many steps are left at them."""

    numbers: frozenset[int]
    every: int  # N, where every N-th step is shown, and those with which a row ends
    from_end: bool = False

    def has(self, number: int, count: int) -> bool:
        """Is this step of a row of so many steps shown?"""
        return (count - number if self.from_end else number) in self.numbers

    def cells(self, counts: Sequence[int]) -> int:
        """How many steps of all rows are shown, their starts among them."""
        return sum(self.has(number, count) for count in counts for number in range(count + 1))


def columns_of(counts: Sequence[int], view: View) -> Columns:
    """The columns of rows of so many steps: as many as can be read, or every N-th where the view asks for it.

    A step number has one column, and the end of every row is among them, so that each row is shown whole.
    """
    asked = view.show_denoising or 1
    most = max(LEGIBLE, (view.sheet_size or LIMIT) // NARROWEST) if view.show_denoising else LEGIBLE
    ends = {0, *counts}
    every = asked
    while len(found := ends | set(range(0, max(counts) + 1, every))) > max(most, len(ends)):
        every += asked
    from_end = view.triangle_shape != "pyramid" and view.triangle_align == "right"
    return Columns(frozenset(found), every, from_end)
