import numpy as np
import pytest
from PIL import Image

from stable_diffusion.pictures.sheet import Cell, sheet, strip, triangle

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
