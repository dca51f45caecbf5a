"""A sheet to explore: a page in one file, with its pictures inside, which any browser opens without a network."""

import base64
import hashlib
import html
import io
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from PIL import Image

from ..whole import written
from .images import Picture
from .writing import check_writable

ENDINGS = (".html", ".htm")
LOSSLESS = 100  # a quality, after which pixels are what they were
QUALITIES = (LOSSLESS, 92, 82)  # tried in this order, before pictures become smaller
FLOORS = (384, 256, 128, 48)  # longer sides, in pixels, at which frames are left out before they become smaller still
THINNING = (1, 2, 3, 4, 6, 8)  # every so many steps are kept
SAMPLE = 12  # pictures from which the size of all is estimated


@dataclass(frozen=True)
class Frame:
    """A moment of a run. pictures: "noisy" and "clean", or one of them; a finished picture or an original is "noisy".

    label: "original", "noised", "start", "step 3 of 8" or "finished". step: 0 is the start, negative the way in, where
    -1 is next to the start; the original has the most negative.
    """

    pictures: Mapping[str, Picture]
    label: str
    sigma: float
    step: int


@dataclass(frozen=True)
class Line:
    """A run: a row of a triangle or pyramid, a place of a grid, a picture of a family (whose row 0 is the parent).

    frames: the original, the way in, the start, the steps, the finished picture; what there is of them, in this order.
    about: settings to show, in order. texts: what a PNG of it carries, by keyword. levels, times: of its plan.
    """

    heading: str
    frames: Sequence[Frame]
    row: int
    column: int
    strength: float | None
    about: Mapping[str, str]
    command: str
    texts: Mapping[str, str]
    levels: Sequence[float]
    times: Sequence[float]


@dataclass(frozen=True)
class Page:
    """What a page shows. kind: "triangle", "pyramid", "grid", "family" or "pictures".

    chunks: what else PNG files saved from it carry, data by the four letters of its chunk. rows, columns: the headings
    of a grid.
    """

    title: str
    kind: str
    lines: Sequence[Line]
    original: Picture | None = None
    chunks: Mapping[str, bytes] = field(default_factory=dict)
    rows: Sequence[str] = ()
    columns: Sequence[str] = ()


@dataclass(frozen=True)
class _Packed:
    """Pictures as WebP; side: the longer one of the largest, in pixels."""

    data: Sequence[bytes]
    side: int
    quality: int


def save_page(page: Page, path: Path, megabytes: float = 10.0, overwrite: bool = True) -> tuple[Path, str]:
    """Write a page of at most so many megabytes (10^6 bytes); lines without frames are not shown.

    Where all would be more, pictures are compressed, then scaled, then steps between the start and the end are left
    out. Returns where the page lies (see `written`), and what was scaled or left out, "" if nothing was. Raises
    ValueError for an ending other than .html and .htm, where there are no pictures, and where even few and small ones
    are more.
    """
    check_writable(path, ENDINGS)
    page = replace(page, lines=[line for line in page.lines if line.frames])
    if not page.lines:
        raise ValueError("a page needs at least one picture")
    room, left_out = 1e6 * megabytes, ""
    if page.chunks and sum(map(len, page.chunks.values())) * 4 / 3 > room / 3:
        page, left_out = replace(page, chunks={}), "saved pictures without the one that they were made from"
    for shown, packed in _attempts(page, room):
        text = _text(shown, packed, page)
        if len(text) <= room:
            with written(path, overwrite) as unfinished:
                unfinished.put(text)
            return unfinished.path, ", ".join(filter(None, (_said(shown, packed, page), left_out)))
    raise ValueError(f"a page of {len(_pictures(page))} pictures does not fit into {megabytes:g} MB: allow more")


def _attempts(page: Page, room: float) -> Iterator[tuple[Page, _Packed]]:
    """What may fit, the best first."""
    pictures = list(_pictures(page).values())
    largest, sample = _longest(pictures), pictures[:: -(-len(pictures) // SAMPLE)]

    @cache
    def mean(side: int, quality: int) -> float:
        """The bytes of a picture."""
        return sum(map(len, _webps(sample, side / largest, quality))) / len(sample)

    for floor in FLOORS:
        for every in THINNING:
            shown = replace(page, lines=[replace(line, frames=_thinned(line.frames, every)) for line in page.lines])
            pictures = list(_pictures(shown).values())
            around = len(_text(shown, _Packed([b""] * len(pictures), largest, LOSSLESS), page))
            for side, quality in _sizes(largest, min(floor, largest)):
                if 4 / 3 * mean(side, quality) * len(pictures) < 1.02 * (room - around):
                    yield shown, _Packed(_webps(pictures, side / largest, quality), side, quality)


def _sizes(largest: int, floor: int) -> Iterator[tuple[int, int]]:
    """Longer sides with qualities, the best first."""
    yield from ((largest, quality) for quality in QUALITIES)
    side = largest
    while side > floor:
        side = max(floor, round(0.9 * side))
        yield side, QUALITIES[-1]


def _thinned(frames: Sequence[Frame], every: int) -> list[Frame]:
    """Every so many steps, and always the first frame, the start and the last."""
    return [f for i, f in enumerate(frames) if f.step % every == 0 or i in (0, len(frames) - 1)]


def _pictures(page: Page) -> dict[int, Picture]:
    """Each picture once, by its id: lines may share some."""
    found = [picture for line in page.lines for frame in line.frames for picture in frame.pictures.values()]
    return {id(picture): picture for picture in [*found, *([page.original] if page.original else [])]}


def _webps(pictures: Sequence[Picture], scale: float, quality: int) -> list[bytes]:
    with ThreadPoolExecutor() as threads:  # which the encoder lets run side by side
        return list(threads.map(lambda picture: _webp(picture, scale, quality), pictures))


def _webp(picture: Picture, scale: float, quality: int) -> bytes:
    picture = picture.convert("RGB")
    if scale < 1:
        picture = picture.resize(_scaled(picture, scale), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    if quality == LOSSLESS:  # where quality is effort, of which more takes long and saves next to nothing
        picture.save(data, "WEBP", lossless=True, quality=50, method=2)
    else:
        picture.save(data, "WEBP", quality=quality, method=4)
    return data.getvalue()


def _scaled(picture: Picture, scale: float) -> tuple[int, int]:
    return max(1, round(scale * picture.width)), max(1, round(scale * picture.height))


def _longest(pictures: Iterable[Picture]) -> int:
    return max(max(picture.size) for picture in pictures)


def _said(shown: Page, packed: _Packed, page: Page) -> str:
    """What was left out or scaled."""
    kept, all_ = (sum(len(line.frames) for line in of.lines) for of in (shown, page))
    pictures = _pictures(page).values()
    widest = max(picture.width for picture in pictures)
    side = _longest(pictures)
    number = f"{kept} of {all_} frames" if kept < all_ else ""
    scaled = f"{round(widest * packed.side / side)} of {widest} pixels wide" if packed.side < side else ""
    return ", ".join(filter(None, (number, scaled if number or not scaled else f"frames {scaled}")))


def _text(shown: Page, packed: _Packed, page: Page) -> bytes:
    """The file."""
    folder = files(__package__) / "page"
    style, script = ((folder / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    parts = {
        "title": html.escape(page.title),
        "style": style,
        "script": script,
        "style-hash": _hash(style),
        "script-hash": _hash(script),
        # Within a script element, only a "<" could end it.
        "data": json.dumps(_data(shown, packed, page), separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
    }
    whole = (folder / "page.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{([a-z-]+)\}\}", lambda found: parts[found[1]], whole).encode()


def _hash(text: str) -> str:
    """What lets a browser run this text and no other."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _data(shown: Page, packed: _Packed, page: Page) -> dict[str, Any]:
    """What page.js reads. Pictures are told by their place in one list; width and height are what they were."""
    pictures = _pictures(shown)
    places = {key: place for place, key in enumerate(pictures)}
    largest = _longest(pictures.values())
    return {
        "title": shown.title,
        "kind": shown.kind,
        "rows": list(shown.rows),
        "columns": list(shown.columns),
        "original": places[id(shown.original)] if shown.original else None,
        "lines": [_line(line, places) for line in shown.lines],
        "chunks": {name: base64.b64encode(data).decode() for name, data in shown.chunks.items()},
        "exact": packed.quality == LOSSLESS,
        "said": _said(shown, packed, page),
        "pictures": [
            {
                "width": picture.width,
                "height": picture.height,
                "inside": _scaled(picture, packed.side / largest),
                "webp": base64.b64encode(data).decode(),
            }
            for picture, data in zip(pictures.values(), packed.data, strict=True)
        ],
    }


def _line(line: Line, places: Mapping[int, int]) -> dict[str, Any]:
    return {
        "heading": line.heading,
        "row": line.row,
        "column": line.column,
        "strength": line.strength,
        "about": list(line.about.items()),
        "command": line.command,
        "texts": dict(line.texts),
        "levels": [_number(level) for level in line.levels],
        "times": [_number(time) for time in line.times],
        "frames": [
            {"label": frame.label, "sigma": _number(frame.sigma), "step": frame.step}
            | {kind: places[id(picture)] for kind, picture in frame.pictures.items()}
            for frame in line.frames
        ],
    }


def _number(value: float) -> float | None:
    """A number as JSON has it, which knows no infinity."""
    return float(value) if math.isfinite(value) else None
