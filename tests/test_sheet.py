import numpy as np
import pytest
from PIL import Image

from stable_diffusion.pictures.sheet import PATH, Cell, pyramid, sheet, strip, triangle

COLOURS = ("red", "lime", "blue", "yellow", "magenta", "cyan")


def cell(i: int, side: int = 64, label: str = "") -> Cell:
    return Cell(Image.new("RGB", (side, side), COLOURS[i]), label)


def box(picture: Image.Image, colour: str) -> tuple[int, int, int, int] | None:
    """Where a colour is: left, top, right, bottom."""
    rgb = np.array(Image.new("RGB", (1, 1), colour))[0, 0]
    ys, xs = np.nonzero((np.array(picture) == rgb).all(axis=-1))
    return (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) if len(xs) else None


def test_a_strip_has_its_cells_in_order_and_whole() -> None:
    picture = strip([cell(i, label=f"{i}: sigma {i}.00") for i in range(6)])
    boxes = [box(picture, colour) for colour in COLOURS]
    assert all(b is not None and (b[2] - b[0], b[3] - b[1]) == (64, 64) for b in boxes)
    lefts = [b[0] for b in boxes if b]
    assert lefts == sorted(lefts)
    assert len({b[1] for b in boxes if b}) == 1


def test_margins_are_even_and_labels_are_not_cut_off() -> None:
    picture = strip([cell(i, label="start: sigma 14.61") for i in range(3)])
    pixels = np.array(picture)
    ink = pixels.max(axis=-1) < 120
    assert ink.any()
    assert not ink[:, :2].any()
    assert not ink[:, -2:].any()
    assert not ink[-3:].any()
    first, last = box(picture, "red"), box(picture, "blue")
    assert first is not None
    assert last is not None
    assert first[0] == pytest.approx(picture.width - last[2], abs=6)


def test_long_strips_go_on_below() -> None:
    picture = strip([cell(i % 2) for i in range(4)], columns=2)
    red = box(picture, "red")
    assert red is not None
    assert red[3] - red[1] > 64  # in both rows


def test_a_triangle_aligned_left_starts_in_one_column_and_aligned_right_ends_in_one() -> None:
    rows = [[cell(0), cell(1)], [cell(0), cell(2), cell(3), cell(1)]]
    for align, colour in (("left", "red"), ("right", "lime")):
        picture = triangle(rows, ["strength 0.5", "strength 1"], cell(4), align)
        found = box(picture, colour)
        assert found is not None
        assert found[2] - found[0] == 64
        assert found[3] - found[1] > 128
    left = triangle(rows, ["strength 0.5", "strength 1"], cell(4), "left")
    original, start = box(left, "magenta"), box(left, "red")
    assert original is not None
    assert start is not None
    assert original[1] > start[3]  # at the foot
    assert original[0] == start[0]


def test_headings_stand_beside_their_rows() -> None:
    plain, headed = sheet([[cell(0)], [cell(1)]]), sheet([[cell(0)], [cell(1)]], ["strength 0.5", "strength 1"])
    assert headed.width > plain.width + 50
    left = box(headed, "red")
    assert left is not None
    ink = np.array(headed)[:, : left[0]].max(axis=-1) < 120
    assert ink.any()
    assert not ink[:, :2].any()


def test_large_sheets_are_made_smaller() -> None:
    picture = strip([cell(i, side=512) for i in range(6)], limit=1500)
    assert picture.width <= 1500
    red = box(picture, "red")
    assert red is not None
    assert red[2] - red[0] == red[3] - red[1]


def test_nothing_to_show_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one picture"):
        sheet([[None]])


@pytest.mark.parametrize("limit", [200, 400, 1000])
def test_no_side_is_longer_than_the_limit(limit: int) -> None:
    rows = [[cell(0, label="start: sigma 14.61"), cell(1)], [cell(2), cell(3)]]
    picture = sheet(rows, ["strength 0.25", "strength 1"], limit, ["a heading", "another"])
    assert max(picture.size) <= limit


def test_long_headings_are_broken_and_have_room() -> None:
    text = "a very long prompt about a house by the sea, " * 5
    picture = sheet([[cell(0), cell(1)], [cell(2), cell(3)]], [text, text], columns=["x" * 60, "short"])
    red, blue = box(picture, "red"), box(picture, "blue")
    assert red is not None
    assert blue is not None
    ink = np.array(picture.convert("L")) < 120
    assert not ink[:, :2].any() and not ink[:, -2:].any() and not ink[-2:].any()
    left = [bool(row.any()) for row in ink[:, : red[0] - 2]]
    gaps = [y for y in range(red[1], blue[3]) if not any(left[y : y + 6])]
    assert gaps  # between the headings of the two rows there is white


def rows_of(*counts: int) -> list[list[Cell]]:
    return [[cell(0), *[cell(2)] * (count - 1), cell(1)] for count in counts]


def test_strength_grows_upwards_from_the_original() -> None:
    picture = triangle(rows_of(1, 3), ["strength 0.3", "strength 1"], cell(4))
    original, starts, ends = (box(picture, colour) for colour in ("magenta", "red", "lime"))
    assert original and starts and ends
    assert starts[1] < starts[3] - 64 and starts[3] < original[1]
    assert ends[2] > ends[0] + 64 and ends[1] == starts[1]  # the longest row is at the top


@pytest.mark.parametrize("align", ["left", "right"])
def test_the_highlighted_way_is_one_line_without_a_gap(align: str) -> None:
    picture = triangle(rows_of(1, 2, 3), ["a", "b", "c"], cell(4), align, highlight=1)
    path = (np.array(picture) == np.array(Image.new("RGB", (1, 1), PATH))[0, 0]).all(axis=-1)
    inside = np.array(picture.convert("RGB"))
    reached = flooded(path)
    assert path.any() and reached == path.sum()  # it is one piece
    original = box(picture, "magenta")
    assert original is not None and path[original[1], : original[0]].any() and path[original[3] :, original[0]].any()
    assert inside.shape[2] == 3


def flooded(mask: np.ndarray) -> int:
    """How many places can be reached from the first one, over neighbours, corners among them."""
    todo, seen = [tuple(np.argwhere(mask)[0])], set()
    while todo:
        y, x = place = todo.pop()
        if place in seen or not (0 <= y < mask.shape[0] and 0 <= x < mask.shape[1]) or not mask[y, x]:
            continue
        seen.add(place)
        todo += [(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    return len(seen)


def test_a_pyramid_meets_in_the_middle_between_its_corners() -> None:
    rows = [([cell(4)] * k, [cell(0), *[cell(2)] * (k - 1), cell(1)]) for k in range(1, 6)]
    under = [str(k) for k in range(-5, 6)]
    picture = pyramid(rows, [f"strength {k / 5:g}" for k in range(1, 6)], cell(4), cell(1), highlight=2, under=under)
    starts = box(picture, "red")
    assert starts is not None and starts[2] - starts[0] == 64  # the starts stand above one another
    originals, targets = box(picture, "magenta"), box(picture, "lime")
    assert originals is not None and targets is not None
    middle = (starts[0] + starts[2]) / 2
    assert middle - originals[0] == pytest.approx(targets[2] - middle, abs=2)
    corner = np.array(picture)[originals[1] + 100, originals[0] + 100]
    assert (corner == (255, 0, 255)).all() and originals[1] == targets[1] < starts[1]
    assert (np.array(picture) == np.array(Image.new("RGB", (1, 1), PATH))[0, 0]).all(axis=-1).any()


def test_no_row_of_a_pyramid_meets_a_corner() -> None:
    rows = [([cell(4)] * 5, [cell(0), *[cell(2)] * 4, cell(1)])] * 2  # both as long as the base
    picture = pyramid(rows, ["strength 0.5", "strength 1"], cell(3), cell(5))
    large, starts = box(picture, "yellow"), box(picture, "magenta")
    assert large is not None and starts is not None and starts[1] > large[3]


@pytest.mark.parametrize(("count", "turn", "lengths"), [(13, None, [7, 6]), (25, None, [9, 8, 8]), (12, 5, [12])])
def test_strips_break_evenly(count: int, turn: int | None, lengths: list[int]) -> None:
    assert strip_lengths(count, turn) == lengths


@pytest.mark.parametrize(("turn", "lengths"), [(5, [5, 9]), (1, [7, 7]), (13, [7, 7]), (2, [2, 12])])
def test_strips_break_at_the_turn_unless_one_picture_would_be_alone(turn: int, lengths: list[int]) -> None:
    assert strip_lengths(14, turn) == lengths


def strip_lengths(count: int, turn: int | None) -> list[int]:
    """How many pictures each row of a strip has."""
    picture = np.array(strip([cell(0, side=16)] * count, turn=turn))
    red = (picture == (255, 0, 0)).all(axis=-1)
    rows = np.flatnonzero(np.diff(np.concatenate([[0], red.any(axis=1).astype(int)])) == 1)
    return [int((np.diff(red[y].astype(int)) == 1).sum()) for y in rows]
