"""Pictures with labels on one sheet: strips of steps, triangles of strengths."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

INK = "#333333"
PATH = "#D55E00"  # the colour of a frame around cells that are pointed out; remains apart for the colour-blind
LIMIT = 6000  # pixels, the longer side of a sheet, unless somebody asks for more


@dataclass(frozen=True)
class Cell:
    """A picture and the line under it; framed, it is pointed out."""

    picture: Image.Image
    label: str = ""
    framed: bool = False


def sheet(
    rows: Sequence[Sequence[Cell | None]],
    headings: Sequence[str] | None = None,
    limit: int = LIMIT,
    columns: Sequence[str] | None = None,
) -> Image.Image:
    """The cells in rows, on white; None is an empty place. headings stand to the left of their rows, columns above.

    The pictures are scaled down together where the sheet would be longer than limit pixels, and the labels are of a
    size to go with them, never too small to read. Raises ValueError for rows without a picture.
    """
    cells = [cell for row in rows for cell in row if cell is not None]
    if not cells:
        raise ValueError("a sheet needs at least one picture")
    W, H = max(cell.picture.width for cell in cells), max(cell.picture.height for cell in cells)
    across = max(map(len, rows))
    scale = min(1.0, limit / (1.08 * across * W), limit / (1.2 * len(rows) * H))
    fitted = {size: _scaled(size, scale) for size in {cell.picture.size for cell in cells}}
    W, H = max(w for w, _ in fitted.values()), max(h for _, h in fitted.values())

    letters = max(12.0, min(W, H) / 12)
    font, line = ImageFont.load_default(letters), round(letters * 1.5)
    gap = max(6, min(W, H) // 16)
    below = line if any(cell.label for cell in cells) else 0
    measure = ImageDraw.Draw(Image.new("RGB", (1, 1)))

    def lines(text: str, width: float) -> list[str]:
        return _broken(text, lambda part: measure.textlength(part, font) <= width)

    beside = [lines(text, max(W, 16 * letters)) for text in headings or ()]
    headed = max((measure.textlength(part, font) for text in beside for part in text), default=0.0)
    left = gap + (round(headed) + gap if headed else 0)
    # A label may be wider than its picture: then the cells stand further apart.
    wide = max(W, *(round(measure.textlength(cell.label, font)) + 4 for cell in cells))
    above = [lines(text, wide) for text in columns or ()]
    top = gap + line * max(map(len, above), default=0)

    size = (left + across * (wide + gap), top + len(rows) * (H + below + gap))
    picture = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(picture)
    for j, text in enumerate(above):
        x = left + j * (wide + gap) + wide / 2
        for k, part in enumerate(text):
            draw.text((x, top - line * (len(text) - k - 0.5)), part, fill=INK, font=font, anchor="mm")
    for i, row in enumerate(rows):
        y = top + i * (H + below + gap)
        for k, part in enumerate(beside[i] if beside else ()):
            middle = y + H / 2 + line * (k - (len(beside[i]) - 1) / 2)
            draw.text((left - gap, middle), part, fill=INK, font=font, anchor="rm")
        for j, cell in enumerate(row):
            if cell is None:
                continue
            thumbnail, (w, h) = cell.picture, fitted[cell.picture.size]
            if thumbnail.size != (w, h):
                thumbnail = thumbnail.resize((w, h), Image.Resampling.LANCZOS)
            x, middle = left + j * (wide + gap) + (wide - w) // 2, left + j * (wide + gap) + wide / 2
            if cell.framed:
                edge = max(2, gap // 3)
                draw.rectangle((x - edge, y - edge, x + w + edge - 1, y + h + edge - 1), fill=PATH)
            picture.paste(thumbnail, (x, y))
            if cell.label:
                colour = PATH if cell.framed else INK
                draw.text((middle, y + h + line / 2 + 1), cell.label, fill=colour, font=font, anchor="mm")
    return picture


def _scaled(size: tuple[int, int], scale: float) -> tuple[int, int]:
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _broken(text: str, fits: Callable[[str], bool]) -> list[str]:
    """A text in lines that fit, broken between words; a word that does not fit stands in a line of its own."""
    lines: list[str] = []
    for word in text.split():
        if lines and fits(f"{lines[-1]} {word}"):
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def strip(cells: Sequence[Cell], columns: int = 12, limit: int = LIMIT) -> Image.Image:
    """The cells in one row, or, where there are more than columns, in as many rows as it takes."""
    return sheet([cells[i : i + columns] for i in range(0, len(cells), columns)], limit=limit)


def triangle(
    rows: Sequence[Sequence[Cell]],
    headings: Sequence[str],
    original: Cell,
    align: str = "left",
    limit: int = LIMIT,
) -> Image.Image:
    """A row of cells for each strength, the original at the foot.

    Aligned left, the noised images stand in one column: down it the image is noised, and along a row denoised. Aligned
    right, the finished pictures stand in one column, and steps of the same number before the end above one another.
    """
    columns = max(map(len, rows))
    before = [columns - len(row) if align == "right" else 0 for row in rows]
    placed: list[list[Cell | None]] = [[*[None] * n, *row] for n, row in zip(before, rows, strict=True)]
    return sheet([*placed, [original]], [*headings, ""], limit)
