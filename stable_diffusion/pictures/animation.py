"""Pictures one after the other: WebP or GIF."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from .images import Picture
from .writing import check_writable, written

ENDINGS = (".webp", ".gif")


def save_animation(
    pictures: Sequence[Picture], path: Path, seconds: float = 0.15, hold: float = 1.5, overwrite: bool = True
) -> Path:
    """Write pictures of one size as an endless animation, each shown for so many seconds, the last one held.

    Returns where it lies. Raises ValueError for an ending other than .webp and .gif, and where there are no pictures.
    """
    check_writable(path, ENDINGS)
    if not pictures:
        raise ValueError("an animation needs at least one picture")
    times = [round(1000 * seconds)] * (len(pictures) - 1) + [round(1000 * hold)]
    if path.suffix.lower() == ".gif":
        # A palette for each picture: one for all of them would turn noise and sky into the same few colours.
        pictures = [p.convert("P", palette=Image.Palette.ADAPTIVE, dither=Image.Dither.NONE) for p in pictures]
        more: dict[str, Any] = {"disposal": 1, "optimize": False}
    else:
        more = {"quality": 90, "method": 4}
    data, kind = io.BytesIO(), path.suffix.lower().removeprefix(".")
    pictures[0].save(data, kind, save_all=True, append_images=list(pictures[1:]), duration=times, loop=0, **more)
    with written(path, overwrite) as unfinished:
        unfinished.put(data.getvalue())
    return unfinished.path
