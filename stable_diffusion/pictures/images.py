"""Pictures at sizes that a model can work on, and as arrays."""

import hashlib
import math
from collections.abc import Sequence

import mlx.core as mx
import numpy as np
from PIL import Image, ImageFilter, ImageOps

Picture = Image.Image

MULTIPLE = 8  # every Stable Diffusion latent is 8 x 8 pixels
_MOST_PIXELS = 2**27  # more are a mistake, or a trap


def multiple(side: float) -> int:
    """A side, in pixels, down to a multiple of 8."""
    return max(MULTIPLE, int(side // MULTIPLE) * MULTIPLE)


def fitted(picture: Picture, width: int | None = None, height: int | None = None, inside: bool = False) -> Picture:
    """The picture at a size that a model can work on: both sides multiples of 8, Lanczos-resampled where it changes.

    Without width and height it keeps its size, as near as can be. With one of them, the other follows from its shape.
    With both, it is scaled to cover width x height, or, with inside=True, to fit into it and keep its shape. What juts
    out is cut off evenly: nothing is ever stretched. Raises ValueError for a size beyond all reason.
    """
    W, H = picture.size
    if width is None and height is None:
        size = (multiple(W), multiple(H))
    elif width is not None and height is not None:
        size = (multiple(width), multiple(height))
        if inside:
            scale = min(size[0] / W, size[1] / H)
            size = (_nearest(W * scale), _nearest(H * scale))
    elif width is not None:
        size = (multiple(width), _nearest(H * multiple(width) / W))
    else:
        assert height is not None
        size = (_nearest(W * multiple(height) / H), multiple(height))
    if size[0] * size[1] > _MOST_PIXELS:
        raise ValueError(f"a picture of {size[0]} x {size[1]} pixels is too large: name a smaller width or height")
    return picture if size == picture.size else ImageOps.fit(picture, size, Image.Resampling.LANCZOS)


def of_area(picture: Picture, area: int) -> tuple[int, int]:
    """The size of a picture that is brought to an area, in pixels, where it is larger; both sides multiples of 8."""
    W, H = picture.size
    if area >= W * H:
        return multiple(W), multiple(H)
    scale = math.sqrt(area / (W * H))
    return _nearest(W * scale), _nearest(H * scale)


def _nearest(side: float) -> int:
    return max(MULTIPLE, round(side / MULTIPLE) * MULTIPLE)


def to_array(picture: Picture) -> mx.array:
    """An RGB picture as (H, W, 3) float32 in [-1, 1]."""
    return mx.array(np.asarray(picture, dtype=np.float32) / 127.5 - 1)


def to_bytes(picture: Picture) -> mx.array:
    """An RGB picture as (H, W, 3) uint8."""
    return mx.array(np.asarray(picture.convert("RGB")))


def from_bytes(array: mx.array) -> Picture:
    """(H, W, 3) uint8 as an RGB picture."""
    return Image.fromarray(np.array(array))


def to_mask(mask: Picture) -> mx.array:
    """A grey picture as a mask (H, W) float32 in [0, 1], 1 = repaint."""
    return mx.array(np.asarray(mask, dtype=np.float32) / 255)


def feathered(mask: Picture, pixels: float) -> Picture:
    """The mask with a soft edge, blurred by so many pixels (the standard deviation); black stays black further away."""
    return mask.filter(ImageFilter.GaussianBlur(pixels))


def enlarged(picture: Picture, size: tuple[int, int]) -> Picture:
    """A small picture at another size, smoothly."""
    return picture.resize(size, Image.Resampling.BICUBIC)


def digest(picture: Picture) -> str:
    """SHA-256 of a picture's size and pixels, 64 hexadecimal digits, whatever file it comes from."""
    return hashlib.sha256(f"{picture.mode} {picture.size}".encode() + picture.tobytes()).hexdigest()


def composed(painted: Picture, original: Picture, mask: Picture) -> Picture:
    """Where the mask is black, the original's pixels exactly; where it is white, the painted ones."""
    return Image.composite(painted, original, mask)


def to_picture(array: mx.array) -> Picture:
    """(H, W, 3) in [0, 1] as an RGB picture, rounded to the nearest of 256 values."""
    return Image.fromarray(np.array(mx.round(array * 255)).astype(np.uint8))


def contact_sheet(pictures: Sequence[Picture], rows: int, gap: int = 8) -> Picture:
    """The pictures in rows, left to right, on white; places that no picture fills stay empty, rows are left out."""
    columns = -(-len(pictures) // rows)
    rows = -(-len(pictures) // columns)
    W, H = max(p.width for p in pictures), max(p.height for p in pictures)
    sheet = Image.new("RGB", (columns * (W + gap) + gap, rows * (H + gap) + gap), "white")
    for i, picture in enumerate(pictures):
        row, column = divmod(i, columns)
        sheet.paste(picture, (gap + column * (W + gap), gap + row * (H + gap)))
    return sheet
