"""Pictures with labels on one sheet: strips of steps, triangles of strengths."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

INK = "#333333"
LIMIT = 6000  # pixels, the longer side of a sheet, unless somebody asks for more


@dataclass(frozen=True)
class Cell:
    """A picture and the line under it."""

    picture: Image.Image
    label: str = ""


def sheet(
    rows: Sequence[Sequence[Cell | None]], headings: Sequence[str] | None = None, limit: int = LIMIT
) -> Image.Image:
    """The cells in rows, on white; None is an empty place. headings stand to the left of their rows.

    All pictures have one size. They are scaled down together where the sheet would be longer than limit pixels, and
    the labels are of a size to go with them, never too small to read. Raises ValueError for rows without a picture.
    """
    cells = [cell for row in rows for cell in row if cell is not None]
    if not cells:
        raise ValueError("a sheet needs at least one picture")
    W, H = cells[0].picture.size
    columns = max(map(len, rows))
    scale = min(1.0, limit / (1.08 * columns * W), limit / (1.2 * len(rows) * H))
    W, H = max(1, round(W * scale)), max(1, round(H * scale))

    letters = max(12.0, min(W, H) / 12)
    font, line = ImageFont.load_default(letters), round(letters * 1.5)
    gap = max(6, min(W, H) // 16)
    below = line if any(cell.label for cell in cells) else 0
    measure = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    headed = max((measure.textlength(text, font) for text in headings or ()), default=0.0)
    left = gap + (round(headed) + gap if headed else 0)
    # A label may be wider than its picture: then the cells stand further apart.
    wide = max(W, *(round(measure.textlength(cell.label, font)) + 4 for cell in cells))

    size = (left + columns * (wide + gap), gap + len(rows) * (H + below + gap))
    picture = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(picture)
    for i, row in enumerate(rows):
        y = gap + i * (H + below + gap)
        if headings and headings[i]:
            draw.text((left - gap, y + H / 2), headings[i], fill=INK, font=font, anchor="rm")
        for j, cell in enumerate(row):
            if cell is None:
                continue
            x = left + j * (wide + gap) + (wide - W) // 2
            thumbnail = cell.picture
            if thumbnail.size != (W, H):
                thumbnail = thumbnail.resize((W, H), Image.Resampling.LANCZOS)
            picture.paste(thumbnail, (x, y))
            if cell.label:
                draw.text((x + W / 2, y + H + line / 2), cell.label, fill=INK, font=font, anchor="mm")
    return picture


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
