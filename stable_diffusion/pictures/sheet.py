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
    size to go with them; where even the smallest that can be read are too wide, they are scaled down too. Raises
    ValueError for rows without a picture.
    """
    share, drawn = 1.0, _drawn(rows, headings, limit, columns, 1.0)
    for _ in range(3):  # the labels' share of the size is known once they are laid out
        if max(drawn.size) <= limit or share < 0.1:
            break
        share *= limit / max(drawn.size)
        drawn = _drawn(rows, headings, limit, columns, share)
    drawn.thumbnail((limit, limit), Image.Resampling.LANCZOS)
    return drawn


def _drawn(
    rows: Sequence[Sequence[Cell | None]],
    headings: Sequence[str] | None,
    limit: int,
    columns: Sequence[str] | None,
    share: float,
) -> Image.Image:
    """The sheet, its pictures at a share of the size that the limit leaves them without labels."""
    cells = [cell for row in rows for cell in row if cell is not None]
    if not cells:
        raise ValueError("a sheet needs at least one picture")
    W, H = max(cell.picture.width for cell in cells), max(cell.picture.height for cell in cells)
    across = max(map(len, rows))
    scale = share * min(1.0, limit / (1.08 * across * W), limit / (1.2 * len(rows) * H))
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

    tall = max([H, *(line * len(text) for text in beside)])  # a heading of many lines needs its room too
    size = (left + across * (wide + gap), top + len(rows) * (tall + below + gap))
    picture = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(picture)
    for j, text in enumerate(above):
        x = left + j * (wide + gap) + wide / 2
        for k, part in enumerate(text):
            draw.text((x, top - line * (len(text) - k - 0.5)), part, fill=INK, font=font, anchor="mm")
    for i, row in enumerate(rows):
        y = top + i * (tall + below + gap) + (tall - H) // 2
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
    """A text in lines that fit, broken between words, and within a word that does not fit by itself."""
    lines: list[str] = []
    for word in text.split():
        while not fits(word) and len(word) > 1:
            head = next((n for n in range(len(word) - 1, 1, -1) if fits(word[:n])), 1)
            lines.append(word[:head])
            word = word[head:]
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
