"""A line chart, as far as a benchmark page needs one: both axes logarithmic, a legend, Pillow's own font."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

from PIL import Image, ImageDraw, ImageFont

# Okabe and Ito's colours, which remain apart for the colour-blind; beyond eight, lines are dashed.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
INK, FAINT = "#333333", "#dddddd"


def _ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten where there is room for them, powers of ten alone where there is not."""
    steps = (1, 2, 5) if high / low < 1000 else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [m * 10.0**p for p in powers for m in steps if low <= m * 10.0**p <= high]


def log_chart(
    lines: Mapping[str, Sequence[tuple[float, float]]],
    title: str,
    x_label: str,
    y_label: str,
    size: tuple[int, int] = (1000, 640),
) -> Image.Image:
    """Lines of (x, y) points, all above 0, on logarithmic axes; the legend is in the order of the last values.

    Lines that are the same share a colour and a place in the legend.
    """
    fine = 2  # drawn so many times as large, and made smaller, for smooth lines
    W, H = size[0] * fine, size[1] * fine
    picture = Image.new("RGB", (W, H), "white")
    draw = ImageDraw.Draw(picture)
    small, large = ImageFont.load_default(15 * fine), ImageFont.load_default(21 * fine)
    together: dict[tuple[tuple[float, float], ...], list[str]] = {}
    for name, points in lines.items():
        together.setdefault(tuple(points), []).append(name)
    legend = max(draw.textlength(", ".join(names), small) for names in together.values())
    left, right, top, bottom = 90 * fine, 92 * fine + legend, 80 * fine, 70 * fine
    xs = [x for points in lines.values() for x, _ in points]
    ys = [y for points in lines.values() for _, y in points]
    x_low, x_high, y_low, y_high = min(xs), max(xs), min(ys) / 1.5, max(ys) * 1.5

    def place(x: float, y: float) -> tuple[float, float]:
        u = math.log(x / x_low) / math.log(x_high / x_low)
        v = math.log(y / y_low) / math.log(y_high / y_low)
        return left + u * (W - left - right), H - bottom - v * (H - top - bottom)

    for x in _ticks(x_low, x_high):
        at, _ = place(x, y_low)
        draw.line([(at, top), (at, H - bottom)], fill=FAINT, width=fine)
        draw.text((at, H - bottom + 8 * fine), f"{x:g}", fill=INK, font=small, anchor="ma")
    for y in _ticks(y_low, y_high):
        _, at = place(x_low, y)
        draw.line([(left, at), (W - right, at)], fill=FAINT, width=fine)
        draw.text((left - 10 * fine, at), f"{y:g}", fill=INK, font=small, anchor="rm")
    draw.text((left, 28 * fine), title, fill=INK, font=large, anchor="lm")
    draw.text(((left + W - right) / 2, H - 24 * fine), x_label, fill=INK, font=small, anchor="mm")
    draw.text((left, top - 16 * fine), y_label, fill=INK, font=small, anchor="lm")

    for i, (points, names) in enumerate(sorted(together.items(), key=lambda item: -item[0][-1][1])):
        colour, dashed = COLOURS[i % len(COLOURS)], i >= len(COLOURS)
        places = [place(x, y) for x, y in points]
        key = (W - right + 24.0 * fine, top + (14.0 + 26 * i) * fine)
        for a, b in [*pairwise(places), (key, (key[0] + 34 * fine, key[1]))]:
            _line(draw, a, b, colour, dashed, fine)
        for x, y in places:
            draw.ellipse([x - 3.5 * fine, y - 3.5 * fine, x + 3.5 * fine, y + 3.5 * fine], fill=colour)
        draw.text((key[0] + 44 * fine, key[1]), ", ".join(names), fill=INK, font=small, anchor="lm")
    return picture.resize(size, Image.Resampling.LANCZOS)


def _line(
    draw: ImageDraw.ImageDraw, a: tuple[float, float], b: tuple[float, float], colour: str, dashed: bool, fine: int
) -> None:
    dash = 10 * fine if dashed else math.dist(a, b)
    length = math.dist(a, b)
    for k in range(math.ceil(length / dash) if length else 0):
        ends = (k * dash / length, min((k + (0.5 if dashed else 1)) * dash / length, 1))
        draw.line([(a[0] + u * (b[0] - a[0]), a[1] + u * (b[1] - a[1])) for u in ends], fill=colour, width=2 * fine)
