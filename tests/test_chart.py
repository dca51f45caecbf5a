import numpy as np
from PIL import Image, ImageDraw

from stable_diffusion.pictures.chart import COLOURS, _line, log_chart


def pixels_of(picture: np.ndarray, colour: str) -> int:
    rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return int((np.abs(picture.astype(int) - rgb).max(axis=-1) < 8).sum())


def test_every_line_is_drawn_in_a_colour_of_its_own() -> None:
    lines = {name: [(4.0, 0.5 / k), (16.0, 0.1 / k), (64.0, 0.01 / k)] for k, name in enumerate("abcde", start=1)}
    picture = np.array(log_chart(lines, "title", "x", "y"))
    assert picture.shape == (640, 1000, 3)
    for colour in COLOURS[:5]:
        assert pixels_of(picture, colour) > 60, colour
    assert pixels_of(picture, COLOURS[5]) == 0


def test_lines_that_are_the_same_share_a_colour() -> None:
    same = [(4.0, 0.5), (64.0, 0.01)]
    picture = np.array(log_chart({"a": same, "b": list(same)}, "title", "x", "y"))
    assert pixels_of(picture, COLOURS[0]) > 60
    assert pixels_of(picture, COLOURS[1]) == 0


def test_a_dashed_line_is_half_of_a_whole_one() -> None:
    drawn = []
    for dashed in (False, True):
        picture = Image.new("RGB", (220, 20), "white")
        _line(ImageDraw.Draw(picture), (10, 10), (210, 10), COLOURS[0], dashed, 1)
        drawn.append(pixels_of(np.array(picture), COLOURS[0]))
    assert drawn[0] >= 400
    assert 0.4 < drawn[1] / drawn[0] < 0.65


def test_the_margins_are_white() -> None:
    picture = np.array(log_chart({"a line with a long name": [(1.0, 1.0), (9.0, 3.0)]}, "title", "x", "y"))
    assert (picture[:8] == 255).all()
    assert (picture[-8:] == 255).all()
    assert (picture[:, :8] == 255).all()
    assert (picture[:, -4:] == 255).all()
