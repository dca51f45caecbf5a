"""Pictures one after the other, with captions: WebP, GIF, animated PNG, or MP4."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..whole import written
from .images import Picture
from .sheet import INK
from .writing import check_writable

ENDINGS = (".webp", ".gif", ".apng", ".mp4")
FPS = 8.0
HOLD = 1.5  # seconds


@dataclass(frozen=True)
class Shot:
    """A picture of a film, what is said under it, and whether it is held for a while."""

    picture: Picture
    caption: str = ""
    held: bool = False


def save_animation(
    pictures: Sequence[Picture | Shot], path: Path, fps: float = FPS, hold: float = HOLD, overwrite: bool = True
) -> Path:
    """Write pictures as an endless animation, fps of them a second, the last and the held ones for hold seconds.

    Pictures of different sizes stand in the middle of the largest, on white, and captions below them. MP4, which is
    played once, needs the package imageio-ffmpeg, which brings its own ffmpeg.
    Returns where it lies. Raises ValueError for another ending, where there are no pictures, and for MP4 without it.
    """
    check_film(path)
    if not pictures:
        raise ValueError("an animation needs at least one picture")
    shots = [shot if isinstance(shot, Shot) else Shot(shot) for shot in pictures]
    return _write(_captioned(shots), [shot.held for shot in shots[:-1]] + [True], path, fps, hold, overwrite)


def _write(
    pictures: Sequence[Picture], held: Sequence[bool], path: Path, fps: float, hold: float, overwrite: bool
) -> Path:
    if path.suffix.lower() == ".mp4":
        with written(path, overwrite) as unfinished:
            _write_mp4(pictures, [round(hold * fps) if long else 1 for long in held], unfinished.at, fps)
        return unfinished.path
    times = [round(1000 * hold) if long else round(1000 / fps) for long in held]
    kind = path.suffix.lower().removeprefix(".").replace("apng", "png")
    more: dict[str, Any] = {"quality": 90, "method": 4} if kind == "webp" else {}
    if kind == "gif":
        # A palette for each picture: one for all of them would turn noise and sky into the same few colours.
        pictures = [p.convert("P", palette=Image.Palette.ADAPTIVE, dither=Image.Dither.NONE) for p in pictures]
        more = {"disposal": 1, "optimize": False}
    data = io.BytesIO()
    pictures[0].save(data, kind, save_all=True, append_images=list(pictures[1:]), duration=times, loop=0, **more)
    with written(path, overwrite) as unfinished:
        unfinished.put(data.getvalue())
    return unfinished.path


def _captioned(shots: Sequence[Shot]) -> list[Picture]:
    """The shots as pictures of one size, even in both directions as MP4 wants it."""
    W, H = (max(side) for side in zip(*(shot.picture.size for shot in shots), strict=True))
    captions = [shot.caption for shot in shots]
    if not any(captions) and all(shot.picture.size == (W, H) for shot in shots) and W % 2 == H % 2 == 0:
        return [shot.picture for shot in shots]
    letters, measure = max(12.0, min(W, H) / 24), ImageDraw.Draw(Image.new("RGB", (1, 1)))
    font, line = ImageFont.load_default(letters), round(letters * 1.8) if any(captions) else 0
    W = max(W, *(round(measure.textlength(text, font) + letters) for text in captions))
    size = (W + W % 2, H + line + (H + line) % 2)
    pictures = []
    for shot in shots:
        picture = Image.new("RGB", size, "white")
        picture.paste(shot.picture, ((size[0] - shot.picture.width) // 2, (H - shot.picture.height) // 2))
        place = (size[0] / 2, H + line / 2)
        ImageDraw.Draw(picture).text(place, shot.caption, fill=INK, font=font, anchor="mm")
        pictures.append(picture)
    return pictures


def _write_mp4(pictures: Sequence[Picture], repeats: Sequence[int], path: Path, fps: float) -> None:
    imageio_ffmpeg = _ffmpeg()
    # yuv420p is what every player shows; the quality is that of x264's own default.
    writer = imageio_ffmpeg.write_frames(str(path), pictures[0].size, fps=fps, macro_block_size=2, quality=8)
    writer.send(None)
    try:
        for picture, count in zip(pictures, repeats, strict=True):
            for _ in range(max(1, count)):
                writer.send(np.ascontiguousarray(picture.convert("RGB")))
    finally:
        writer.close()


def _ffmpeg() -> Any:
    try:
        import imageio_ffmpeg
    except ImportError:
        raise ValueError("an .mp4 needs imageio-ffmpeg: pip install imageio-ffmpeg, or name the film .webp") from None
    return imageio_ffmpeg


def check_film(path: Path) -> None:
    """Raise ValueError, in one sentence and before any work is done, for a film that could not be written."""
    check_writable(path, ENDINGS)
    if path.suffix.lower() == ".mp4":
        _ffmpeg()
