"""Arrays to pictures, pictures to arrays, and both to and from files."""

import contextlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import mlx.core as mx
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

MULTIPLE = 8  # every Stable Diffusion latent is 8 x 8 pixels


def read_picture(path: str | Path) -> Image.Image:
    """A picture file of any mode as RGB, upright; colours under transparent pixels are used as they are.

    Raises ValueError, in one sentence, for a file that is missing or is no picture.
    """
    try:
        with Image.open(path) as opened:
            picture = ImageOps.exif_transpose(opened)
            picture.load()
    except FileNotFoundError:
        raise ValueError(f"there is no picture {str(path)!r}") from None
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError) as error:
        raise ValueError(f"{str(path)!r} is not a picture that can be read ({error})") from None
    if picture.mode.startswith(("I", "F")):  # 16 bits or more: Pillow's own conversion cuts them off at 255
        values = np.asarray(picture, dtype=np.float64)
        scale = 255 / 65535 if values.max() > 255 else 255 if values.min() >= 0 and values.max() <= 1 else 1
        picture = Image.fromarray(np.clip(values * scale + 0.5, 0, 255).astype(np.uint8))
    if picture.mode == "P":  # a palette may hold its transparency as one of its colours
        picture = picture.convert("RGBA")
    return picture.convert("RGB")


def fitted(
    picture: Image.Image, width: int | None = None, height: int | None = None, inside: bool = False
) -> Image.Image:
    """The picture at a size that a model can work on: both sides multiples of 8, Lanczos-resampled where it changes.

    Without width and height it keeps its size, as near as can be. With one of them, the other follows from its shape.
    With both, it is scaled to cover width x height and what juts out is cut off evenly, or, with inside=True, scaled to
    fit into width x height and keep its shape.
    """

    def near(side: float) -> int:
        return max(MULTIPLE, round(side / MULTIPLE) * MULTIPLE)

    W, H = picture.size
    if width is None and height is None:
        # Down and not to the nearest: a photograph is cut by some pixels rather than stretched by as many.
        size = (max(MULTIPLE, W // MULTIPLE * MULTIPLE), max(MULTIPLE, H // MULTIPLE * MULTIPLE))
    elif width is not None and height is not None:
        scale = min(width / W, height / H)
        size = (near(W * scale), near(H * scale)) if inside else (near(width), near(height))
    elif width is not None:
        size = (near(width), near(H * width / W))
    else:
        assert height is not None
        size = (near(W * height / H), near(height))
    return picture if size == picture.size else ImageOps.fit(picture, size, Image.Resampling.LANCZOS)


def to_array(picture: Image.Image) -> mx.array:
    """An RGB picture as (H, W, 3) float32 in [-1, 1]."""
    return mx.array(np.asarray(picture, dtype=np.float32) / 127.5 - 1)


def to_picture(array: mx.array) -> Image.Image:
    """(H, W, 3) in [0, 1] as an RGB picture, rounded to the nearest of 256 values."""
    return Image.fromarray(np.array(mx.round(array * 255)).astype(np.uint8))


def grid(pictures: Sequence[Image.Image], rows: int, gap: int = 8) -> Image.Image:
    """The pictures in rows, left to right, on white; places that no picture fills stay empty."""
    columns = -(-len(pictures) // rows)
    W, H = max(p.width for p in pictures), max(p.height for p in pictures)
    sheet = Image.new("RGB", (columns * (W + gap) + gap, rows * (H + gap) + gap), "white")
    for i, picture in enumerate(pictures):
        row, column = divmod(i, columns)
        sheet.paste(picture, (gap + column * (W + gap), gap + row * (H + gap)))
    return sheet


def check_writable(path: Path) -> None:
    """Raise ValueError, before any work is done, for a file that `save` could not write."""
    if path.suffix.lower() not in Image.registered_extensions():
        raise ValueError(f"{path} has no ending of a picture file: name it {path.with_suffix('.png')}")
    if not path.parent.is_dir():
        raise ValueError(f"the folder {path.parent} does not exist: make it first")
    if not os.access(path.parent, os.W_OK):
        raise ValueError(f"the folder {path.parent} can't be written to")


def save(picture: Image.Image, path: Path) -> None:
    """Write a picture beside its place and move it there: under its name there is a whole picture, or none."""
    handle, name = tempfile.mkstemp(suffix=path.suffix, prefix=f".{path.stem}-", dir=path.parent)
    os.close(handle)
    try:
        picture.save(name)
        Path(name).chmod(0o666 & ~_umask())
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def free_stem(path: Path, endings: Sequence[str]) -> Path:
    """path, or the first of path-1, path-2, ... of which no file exists, nor one with an ending before the suffix."""
    k = 0
    while True:
        candidate = path.with_stem(f"{path.stem}-{k}") if k else path
        if not any(candidate.with_stem(candidate.stem + ending).exists() for ending in ("", *endings)):
            return candidate
        k += 1
