"""Pictures with labels on one sheet: strips of steps, triangles and pyramids of strengths."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from PIL import Image, ImageDraw, ImageFont

INK = "#333333"
PATH = "#D55E00"  # the colour of what is pointed out; remains apart for the colour-blind
LIMIT = 6000  # pixels, the longer side of a sheet, unless somebody asks for more
CORNER = 5  # so many cells wide are the pictures in the corners of a pyramid, where there is room

Place = tuple[int, int]  # row and column
Box = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True)
class Cell:
    """A picture and the line under it."""

    picture: Image.Image
    label: str = ""


Rows = Sequence[Sequence[Cell | None]]


@dataclass(frozen=True)
class _Content:
    """What stands on a sheet; None is an empty place."""

    rows: Rows
    headings: Sequence[str] = ()  # to the left of the rows
    columns: Sequence[str] = ()  # above the columns
    under: Sequence[str] = ()  # below them
    path: Sequence[Place] = ()  # places that are pointed out as one way, in its order
    corners: Sequence[Cell] = ()  # large, in the upper left and right
    inset: bool = False  # headings stand beside the first cell of their rows, wherever that is


def sheet(
    rows: Rows,
    headings: Sequence[str] | None = None,
    limit: int = LIMIT,
    columns: Sequence[str] | None = None,
    path: Sequence[Place] = (),
) -> Image.Image:
    """The cells in rows, on white; None is an empty place. headings stand to the left of their rows, columns above.

    path: rows and columns of cells that are framed as one way. The pictures are scaled down together where the sheet
    would be longer than limit pixels, and the labels are of a size to go with them; where even the smallest that can be
    read are too wide, they are scaled down too. Raises ValueError for rows without a picture.
    """
    return _within(_Content(rows, headings or (), columns or (), path=path), limit)


def strip(cells: Sequence[Cell], columns: int = 12, limit: int = LIMIT, turn: int | None = None) -> Image.Image:
    """The cells in one row, or, where there are more than columns, in as many rows of one length as it takes.

    turn: a place in the strip, where such rows rather break, unless that would leave one cell alone.
    """
    parts = [cells]
    if len(cells) > columns and turn is not None and 1 < turn < len(cells) - 1:
        parts = [cells[:turn], cells[turn:]]
    return sheet([row for part in parts for row in _evenly(part, columns)], limit=limit)


def _evenly(cells: Sequence[Cell], most: int) -> list[Sequence[Cell]]:
    lines = max(1, -(-len(cells) // most))
    ends = [-(-i * len(cells) // lines) for i in range(lines + 1)]
    return [cells[a:b] for a, b in pairwise(ends)]


def way(rows: Sequence[Sequence[Cell]], original: Cell, highlight: int) -> list[Cell]:
    """The way that leads through a row of a triangle: the original, the starts of the rows below, and the row itself.

    rows: of rising strength.
    """
    return [original, *(row[0] for row in rows[:highlight] if row), *rows[highlight]]


def triangle(
    rows: Sequence[Sequence[Cell]],
    headings: Sequence[str],
    original: Cell,
    align: str = "left",
    limit: int = LIMIT,
    highlight: int | None = None,
) -> Image.Image:
    """A row of cells for each strength, the first at the bottom, and the original at the foot.

    rows: of rising strength. Aligned left, the noised images stand in one column: up it the image is noised, and along
    a row denoised. Aligned right, the finished pictures stand in one column, and steps of the same number before the
    end above one another. highlight: the row that is framed, with the way that leads to it.
    """
    across = max(map(len, rows))
    before = [across - len(row) if align == "right" else 0 for row in rows]
    placed: list[list[Cell | None]] = [[*[None] * n, *row] for n, row in zip(before, rows, strict=True)]
    foot = len(rows)
    path: list[Place] = []
    if highlight is not None:
        starts = [(foot - 1 - i, before[i]) for i in range(highlight)]
        path = [
            (foot, before[0]),
            *starts,
            *((foot - 1 - highlight, before[highlight] + j) for j in range(len(rows[highlight]))),
        ]
    bottom = [*[None] * before[0], original]
    return _within(_Content([*reversed(placed), bottom], [*reversed(headings), ""], path=path, inset=True), limit)


def pyramid(
    rows: Sequence[tuple[Sequence[Cell], Sequence[Cell]]],
    headings: Sequence[str],
    original: Cell,
    target: Cell,
    limit: int = LIMIT,
    highlight: int | None = None,
    under: Sequence[str] = (),
) -> Image.Image:
    """A row of cells for each strength, the first at the top: the way in, to noise in the middle, and the way out.

    rows: of rising strength; of each the cells before the start (the original, then noised more and more), and those
    from the start on, which all stand in the middle column. original and target stand large in the upper corners.
    highlight: the row that is framed. under: what stands under the columns of the last row.
    """
    centre = max(len(way_in) for way_in, _ in rows)
    placed: list[list[Cell | None]] = [[*[None] * (centre - len(into)), *into, *out] for into, out in rows]
    path: list[Place] = []
    if highlight is not None:
        path = [(highlight, j) for j, cell in enumerate(placed[highlight]) if cell is not None]
    content = _Content(placed, headings, under=under, path=path, corners=(original, target), inset=True)
    return _within(content, limit)


def _within(content: _Content, limit: int) -> Image.Image:
    """The sheet, no side of it longer than so many pixels. Raises ValueError for one without a picture."""
    if not any(cell is not None for row in content.rows for cell in row):
        raise ValueError("a sheet needs at least one picture")
    share, drawn = 1.0, _Form(content, limit, 1.0).drawn()
    for _ in range(3):  # the labels' share of the size is known once they are laid out
        if max(drawn.size) <= limit or share < 0.1:
            break
        share *= limit / max(drawn.size)
        drawn = _Form(content, limit, share).drawn()
    drawn.thumbnail((limit, limit), Image.Resampling.LANCZOS)
    return drawn


class _Form:
    """Where everything stands, with the pictures at a share of the size that the limit leaves them without labels."""

    def __init__(self, content: _Content, limit: int, share: float) -> None:
        self.content = content
        cells = [cell for row in content.rows for cell in row if cell is not None]
        W, H = max(cell.picture.width for cell in cells), max(cell.picture.height for cell in cells)
        self.across = max(map(len, content.rows))
        scale = share * min(1.0, limit / (1.08 * self.across * W), limit / (1.2 * len(content.rows) * H))
        self.fitted = {size: _scaled(size, scale) for size in {cell.picture.size for cell in cells}}
        self.W, self.H = max(w for w, _ in self.fitted.values()), max(h for _, h in self.fitted.values())

        self.letters = max(12.0, min(self.W, self.H) / 12)
        self.font, self.line = ImageFont.load_default(self.letters), round(self.letters * 1.5)
        self.gap = max(6, min(self.W, self.H) // 16)
        self.below = self.line if any(cell.label for cell in cells) else 0
        self._measure = ImageDraw.Draw(Image.new("RGB", (1, 1)))
        self.beside = [self._lines(text, max(self.W, 16 * self.letters)) for text in content.headings]
        # A label may be wider than its picture: then the cells stand further apart.
        self.wide = max(self.W, *(round(self._width(cell.label)) + 4 for cell in cells))
        self.above = [self._lines(text, self.wide) for text in content.columns]
        self.under = [self._lines(text, self.wide) for text in content.under]
        # A heading of many lines needs its room too.
        self.tall = max([self.H, *(self.line * len(text) for text in self.beside)])
        self.firsts = [_first(row) if content.inset else 0 for row in content.rows]
        self.step = self.wide + self.gap
        headed = [
            max(map(self._width, text)) + self.gap - first * self.step if text else 0
            for text, first in zip(self.beside, self.firsts, strict=False)
        ]
        self.left = self.gap + round(max([0, *headed]))
        self.top = self.gap + self.line * max(map(len, self.above), default=0)
        self.large = self._corner()
        self.top += self._down()

    def _width(self, text: str) -> float:
        return self._measure.textlength(text, self.font)

    def _lines(self, text: str, width: float) -> list[str]:
        return _broken(text, lambda part: self._width(part) <= width)

    def _corner(self) -> int:
        """How many cells wide the pictures in the corners are; 0: there are none."""
        return min(CORNER, max(2, (self.across - 3) // 2)) if self.content.corners else 0

    def _corner_size(self) -> tuple[int, int]:
        width = self.large * self.step - self.gap
        return width, round(self.H * width / self.W)

    def _down(self) -> int:
        """How much lower the rows begin so that none of them meets a corner."""
        if not self.large:
            return 0
        bottom = self._corner_size()[1] + 2 * self.line + self.gap
        down = 0
        for i, first in enumerate(self.firsts):
            heading = max(map(self._width, self.beside[i]), default=0) if self.beside else 0
            if first * self.step - heading - self.gap < self.large * self.step:
                down = max(down, bottom - i * self._height)
        return down

    @property
    def _height(self) -> int:
        return self.tall + self.below + self.gap

    def _place(self, i: int, j: int) -> tuple[int, int]:
        """The upper left corner of a place, without what a heading adds above."""
        return self.left + j * self.step, self.top + i * self._height + (self.tall - self.H) // 2

    def drawn(self) -> Image.Image:
        rows, feet = self.content.rows, self.line * max(map(len, self.under), default=0)
        size = (self.left + self.across * self.step, self.top + len(rows) * self._height + feet)
        picture = Image.new("RGB", size, "white")
        draw = ImageDraw.Draw(picture)
        self._frame(draw)
        for j, text in enumerate(self.above):
            self._text(draw, text, self.left + j * self.step + self.wide / 2, self.top - self.line * len(text))
        for j, text in enumerate(self.under):
            self._text(draw, text, self.left + j * self.step + self.wide / 2, size[1] - feet - self.gap / 2)
        path = set(self.content.path)
        for i, row in enumerate(rows):
            x, y = self._place(i, self.firsts[i])
            lines = self.beside[i] if self.beside else []
            for k, part in enumerate(lines):
                middle = y + self.H / 2 + self.line * (k - (len(lines) - 1) / 2)
                draw.text((x - self.gap, middle), part, fill=INK, font=self.font, anchor="rm")
            for j, cell in enumerate(row):
                if cell is not None:
                    self._cell(picture, draw, cell, self._place(i, j), PATH if (i, j) in path else INK)
        self._draw_corners(picture, draw)
        return picture

    def _text(self, draw: ImageDraw.ImageDraw, lines: Sequence[str], middle: float, top: float) -> None:
        for k, part in enumerate(lines):
            draw.text((middle, top + self.line * (k + 0.5)), part, fill=INK, font=self.font, anchor="mm")

    def _cell(
        self, picture: Image.Image, draw: ImageDraw.ImageDraw, cell: Cell, place: tuple[int, int], ink: str
    ) -> None:
        thumbnail, (w, h), (x, y) = cell.picture, self.fitted[cell.picture.size], place
        if thumbnail.size != (w, h):
            thumbnail = thumbnail.resize((w, h), Image.Resampling.LANCZOS)
        picture.paste(thumbnail, (x + (self.wide - w) // 2, y))
        if cell.label:
            draw.text((x + self.wide / 2, y + h + self.line / 2 + 1), cell.label, fill=ink, font=self.font, anchor="mm")

    def _draw_corners(self, picture: Image.Image, draw: ImageDraw.ImageDraw) -> None:
        width, height = self._corner_size()
        font = ImageFont.load_default(1.6 * self.letters)
        right = self.left + self.across * self.step - self.gap - width
        for cell, x in zip(self.content.corners, (self.left, right), strict=False):
            picture.paste(cell.picture.resize((width, height), Image.Resampling.LANCZOS), (x, self.gap))
            middle = (x + width / 2, self.gap + height + self.line)
            draw.text(middle, cell.label, fill=INK, font=font, anchor="mm")

    def _frame(self, draw: ImageDraw.ImageDraw) -> None:
        """One line around the places of the path: where they touch, it runs around both."""
        places = self.content.path
        inner, outer = self.gap / 4, self.gap / 4 + max(2, self.gap / 4)
        boxes: list[Box] = []
        for i, j in places:
            x, y = self._place(i, j)
            boxes.append((x, y, x + self.wide, y + self.H + self.below))
        for one, other in pairwise(range(len(places))):
            (i, j), (k, m) = places[one], places[other]
            if abs(i - k) + abs(j - m) == 1:  # neighbours: what lies between them too
                boxes.append(_around(boxes[one], boxes[other]))
            else:
                draw.line((*_middle(boxes[one]), *_middle(boxes[other])), fill=PATH, width=round(outer - inner))
        for edge, colour in ((outer, PATH), (inner, "white")):
            for left, top, right, bottom in boxes:
                draw.rectangle((left - edge, top - edge, right + edge - 1, bottom + edge - 1), fill=colour)


def _first(row: Sequence[Cell | None]) -> int:
    return next((j for j, cell in enumerate(row) if cell is not None), 0)


def _around(a: Box, b: Box) -> Box:
    return min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])


def _middle(box: Box) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def _scaled(size: tuple[int, int], scale: float) -> tuple[int, int]:
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _head(word: str, fits: Callable[[str], bool]) -> int:
    """How many letters of a word fit, at least one; not tried one by one, for a word may be a book."""
    fine, wide = 1, 2
    while fine < len(word) and fits(word[:wide]):
        fine, wide = min(wide, len(word)), 2 * wide
    wide = min(wide, len(word))
    while wide - fine > 1:
        middle = (fine + wide) // 2
        fine, wide = (middle, wide) if fits(word[:middle]) else (fine, middle)
    return fine


def _broken(text: str, fits: Callable[[str], bool]) -> list[str]:
    """A text in lines that fit, broken between words, and within a word that does not fit by itself."""
    lines: list[str] = []
    for word in text.split():
        while (head := _head(word, fits)) < len(word):
            lines.append(word[:head])
            word = word[head:]
        if lines and fits(f"{lines[-1]} {word}"):
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines
