"""Which steps of a triangle have a column: few enough to be read, and every row whole."""

import pytest

from stable_diffusion.jobs.columns import LEGIBLE, columns_of
from stable_diffusion.jobs.view import View

TEN = [2 * k for k in range(1, 11)]  # strengths 0.1 to 1 of 20 steps


def numbers(counts: list[int], **view: object) -> list[int]:
    return sorted(columns_of(counts, View(**view)).numbers)  # type: ignore[arg-type]


def test_all_steps_are_shown_where_they_can_be_read() -> None:
    assert numbers([1, 5, 10]) == list(range(11))
    assert columns_of([1, 5, 10], View()).every == 1


def test_longer_rows_are_thinned_to_what_can_be_read() -> None:
    assert numbers(TEN) == [0, *TEN]
    assert numbers([50]) == [*range(0, 50, 5), 50]
    for counts in ([1000], [7, 13, 50], [3], TEN, list(range(1, 12))):
        assert len(numbers(counts)) <= max(LEGIBLE, len({0, *counts}))


@pytest.mark.parametrize("align", ["left", "right"])
@pytest.mark.parametrize("counts", [[7, 13, 50], [0, 4, 9], TEN, [30, 30]])
def test_every_row_has_its_start_and_its_end_and_no_hole(counts: list[int], align: str) -> None:
    columns = columns_of(counts, View(triangle_align=align))  # type: ignore[arg-type]
    for count in counts:
        assert columns.has(0, count) and columns.has(count, count)
        shown = [n for n in range(count + 1) if columns.has(n, count)]
        places = [count - n if align == "right" else n for n in shown]
        # Its cells fill the columns of the sheet from its first place to its last.
        within = [n for n in sorted(columns.numbers) if min(places) <= n <= max(places)]
        assert sorted(places) == within


def test_whoever_asks_for_every_step_gets_it_as_far_as_a_column_has_width() -> None:
    assert numbers([50], show_denoising=1) == list(range(51))
    assert numbers([50], show_denoising=3) == [*range(0, 50, 3), 50]
    assert len(numbers([1000], show_denoising=1)) <= 6000 // 80
    assert len(numbers([1000], show_denoising=1, sheet_size=1200)) <= 1200 // 80


def test_cells_are_counted_with_the_starts() -> None:
    assert columns_of([2, 4], View()).cells([2, 4]) == 3 + 5
