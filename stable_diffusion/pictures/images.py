"""Arrays to pictures, pictures to arrays, and both to and from files."""

import contextlib
import hashlib
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import mlx.core as mx
import numpy as np
from PIL import Image, ImageFilter, ImageOps, UnidentifiedImageError

from .metadata import Attached

Picture = Image.Image
Result = TypeVar("Result")

MULTIPLE = 8  # every Stable Diffusion latent is 8 x 8 pixels
ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")  # of the files that can be written
_MOST_PIXELS = 2**27  # more are a mistake, or a trap


def read_picture(path: str | Path) -> Picture:
    """A picture file of any mode as RGB, upright; colours under transparent pixels are used as they are.

    Raises ValueError, in one sentence, for a file that is missing or is no picture.
    """
    return _read(path, lambda picture, deep: _rgb(picture, deep))


def read_mask(path: str | Path) -> Picture:
    """A picture file as a mask, grey: white is to be repainted. Raises ValueError as `read_picture` does."""
    return _read(path, lambda picture, deep: _rgb(picture, deep).convert("L"))


def read_transparency(path: str | Path) -> Picture | None:
    """The transparent part of a picture file as a mask, or None where all of it is opaque. Raises the same."""

    def transparency(picture: Picture, deep: bool) -> Picture | None:
        if "A" not in picture.getbands() and "transparency" not in picture.info:
            return None
        mask = ImageOps.invert(picture.convert("RGBA").getchannel("A"))
        return mask if mask.getbbox() else None

    return _read(path, transparency)


def _read(path: str | Path, use: Callable[[Picture, bool], Result]) -> Result:
    """Open a picture file, upright, and make something of it; `deep`: its values of more than 8 bits have 16."""
    try:
        with Image.open(path) as opened:
            picture = ImageOps.exif_transpose(opened)
            picture.load()
            return use(picture, opened.format == "PNG" or opened.mode.startswith("I;16"))
    except FileNotFoundError:
        raise ValueError(f"there is no picture {str(path)!r}") from None
    except IsADirectoryError:
        raise ValueError(f"{str(path)!r} is a folder, not a picture") from None
    except UnidentifiedImageError:
        raise ValueError(f"{str(path)!r} is not a picture, or of a kind that is not known here") from None
    except Exception as error:  # Pillow's readers raise whatever a damaged file makes them stumble over
        raise ValueError(f"the picture {str(path)!r} can't be read ({error})") from None


def _rgb(picture: Picture, deep: bool) -> Picture:
    """Any mode to RGB; deep: values of more than 8 bits are known to have 16."""
    if picture.mode.startswith(("I", "F")):  # Pillow's own conversion cuts these off at 255
        values = np.nan_to_num(np.asarray(picture, dtype=np.float64))
        largest = values.max()
        white = 65535 if deep else next((white for white in (1, 255, 65535) if largest <= white), largest)
        return Image.fromarray(np.clip(values * (255 / white) + 0.5, 0, 255).astype(np.uint8)).convert("RGB")
    if picture.mode == "P":  # a palette may hold its transparency as one of its colours
        picture = picture.convert("RGBA")
    return picture.convert("RGB")


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


def check_writable(path: Path, endings: Sequence[str] = ENDINGS) -> None:
    """Raise ValueError, in one sentence and before any work is done, for a file that could not be written."""
    folder = path.parent
    if path.suffix.lower() not in endings:
        raise ValueError(
            f"{path} must end in {', '.join(endings[:-1])} or {endings[-1]}: name it {path.name}{endings[0]}"
        )
    if not folder.is_dir():
        raise ValueError(f"the folder {folder} does not exist: make it first")
    try:
        with contextlib.suppress(FileNotFoundError):
            path.lstat()  # finds a name that is too long
        trial = _unfinished(path)
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise ValueError(f"{path} can't be written ({error.strerror})") from None


@contextlib.contextmanager
def written(path: Path) -> Iterator[Path]:
    """A place beside path to write to, which is moved there at the end: under its name is a whole file, or none."""
    unfinished = _unfinished(path)
    try:
        yield unfinished
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def save(picture: Picture, path: Path, attached: Attached | None = None) -> None:
    """Write a picture, whole or not at all. What is attached goes into a PNG file alone."""
    with written(path) as unfinished:
        if attached and path.suffix.lower() == ".png":
            picture.save(unfinished, pnginfo=attached.chunks())
        else:
            picture.save(unfinished, quality=95)  # of JPEG and WebP


def _unfinished(path: Path) -> Path:
    return path.with_name(f".unfinished-{secrets.token_hex(4)}{path.suffix}")


def free_stem(path: Path, endings: Iterable[str] = ()) -> Path:
    """path, or the first of path-1, path-2, ... of which no file exists, nor one with an ending before the suffix."""
    k = 0
    while True:
        candidate = path.with_stem(f"{path.stem}-{k}") if k else path
        if not any(candidate.with_stem(candidate.stem + ending).exists() for ending in ("", *endings)):
            return candidate
        k += 1
