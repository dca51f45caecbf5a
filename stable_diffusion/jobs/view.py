"""What is shown of runs, what is kept of them, and how it is drawn."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from ..diffusion.aliases import sampler_name, spacing_name
from ..diffusion.noising import NoisingKind
from ..diffusion.samplers import sampler_named
from ..diffusion.spacing import spacing_named
from ..diffusion.steps import FrameKind
from ..settings import AMOUNT, COUNT, ROWS
from ..values import Kind, check, declared, number, one_of, plain, rows, several, text, thawed, whole
from .model import LORA

Axis = tuple[str, tuple[Any, ...]]  # a setting's name, or "lora", and the values that it takes


def read_sampler(word: str) -> str:
    """A sampler's name, ours or another tool's. Raises ValueError for one that is unknown."""
    sampler_named(sampler_name(word)[0])
    return word


def read_spacing(word: str) -> str:
    """A spacing's name, likewise."""
    spacing_named(spacing_name(word))
    return word


# Where a name is known only upstairs, it is checked as it is read.
READERS: dict[str, Callable[[str], Any]] = {name: row.kind.read for name, row in ROWS.items()} | {
    "sampler": read_sampler,
    "spacing": read_spacing,
}
KINDS = {**{name: row.kind for name, row in ROWS.items()}, "lora": LORA}
READERS["lora"] = LORA.read
AXES = sorted(KINDS.keys() - {"n_images"})


def read_axis(words: str) -> Axis:
    """NAME=VALUE,VALUE,...: a setting and its values; between | where a value has commas itself. Raises ValueError."""
    name, equals, values = words.partition("=")
    name = name.strip().replace("-", "_")
    if not equals or name not in AXES:
        raise ValueError(f"{words[:40]!r} is not SETTING=VALUE,VALUE with a setting out of {', '.join(AXES)}")
    parts = [part.strip() for part in values.split("|" if "|" in values else ",")]
    found = tuple(READERS[name](part) for part in parts)
    for value in found:
        if fault := KINDS[name].fault(value):
            raise ValueError(f"{name} is {value!r}: it must be {fault}")
    if len(set(found)) < len(found):
        raise ValueError(f"{words[:40]!r} names a value twice")
    return name, found


def _is_axis(axis: Any) -> bool:
    if not isinstance(axis, tuple) or len(axis) != 2 or axis[0] not in AXES or not isinstance(axis[1], tuple):
        return False
    return bool(axis[1]) and not any(map(KINDS[axis[0]].fault, axis[1]))


def read_strengths(words: str) -> tuple[float, ...]:
    """Strengths between commas, a range 0.1:1:0.1, or a count of them, evenly up to 1. Raises ValueError."""
    if "," not in words and words.strip().isdigit() and int(words) > 1:
        n = whole(2, 100).strictly().read(words)
        return tuple((k + 1) / n for k in range(n))
    values = _range(words) if ":" in words else tuple(number().read(word) for word in words.split(","))
    for value in values:
        if not 0 <= value <= 1:
            raise ValueError(f"the strength {value:g} is not from 0 to 1")
    if len({f"{value:g}" for value in values}) < len(values):
        raise ValueError(f"{words[:40]!r} names a strength twice, or two that are nearly the same")
    return values


def _range(words: str) -> tuple[float, ...]:
    """Numbers from:to:by, both ends in it."""
    parts = words.split(":")
    if len(parts) != 3:
        raise ValueError(f"{words[:40]!r} is not a range: write it from:to:by, as in 0.1:1:0.1")
    first, last, by = map(number().read, parts)
    if by == 0 or not 0 <= (last - first) / by < 100:
        raise ValueError(f"{words[:40]!r} is not a range: it must lead from one to the other, in at most 100 steps")
    return tuple(round(first + k * by, 9) for k in range(int((last - first) / by + 1e-6) + 1))


def _is_grid(axes: Any) -> bool:
    return isinstance(axes, tuple) and 1 <= len(axes) <= 2 and all(map(_is_axis, axes))


def _is_of_reasonable_size(axes: Any) -> bool:
    return math.prod(len(values) for _, values in axes) <= MOST_PLACES


MOST_PLACES = 1000  # of a grid
STRENGTHS = Kind(read_strengths, several(AMOUNT, "strengths from 0 to 1, at most 100 of them", most=100).rules)
GRID = Kind(
    read_axis,
    (("one or two settings and their values", _is_grid), (f"of at most {MOST_PLACES} places", _is_of_reasonable_size)),
)
ONE_OR_MORE = whole(1).strictly()


@dataclass(frozen=True, kw_only=True)
class View:
    """All of it. None: nobody asked.

    Raises ValueError, one sentence, for what cannot be drawn.
    """

    # How runs are laid out
    n_images: int | None = declared(None, COUNT)  # of a sheet that is to be made again
    perturb: float | None = declared(
        None,
        AMOUNT,
        "make a variation, or --n_images of them: 0.05 is nearly the same picture, 1 a new one",
        "AMOUNT",
    )
    perturb_mask: str | None = declared(None, text())  # that the variations of a sheet keep to, see pipeline.masks
    generate_triangle: tuple[float, ...] | None = declared(
        None,
        STRENGTHS,
        "a sheet of the steps at many strengths, written 0.1,0.5,0.9, or 0.1:1:0.1 (from, to, by), or 5 for five of "
        "them up to 1 (default: 10); -sd N shows every N-th step, and writes them as files",
        "STRENGTHS",
    )
    grid: tuple[Axis, ...] | None = declared(
        None,
        GRID,
        "a sheet over one or two settings, as in --grid sampler=euler,heun cfg=3,7.5 or lora=a:0.2,a:0.6; put "
        "| between values that have commas themselves",
        "SETTING=A,B",
    )
    loopback: int | None = declared(
        None,
        whole(1, 1000).strictly(),
        "feed the result back as the next picture to start from, N times in all, each with the next seed",
        "N",
    )
    batch_size: int | None = declared(
        None,
        ONE_OR_MORE,
        "how many pictures to work on at the same time (default: 1; all of a triangle or a grid)",
        "N",
    )
    decoding_batch_size: int | None = declared(
        None, ONE_OR_MORE, "how many latents to decode at the same time (default: 1)", "N"
    )
    feather: float | None = declared(
        None,
        Kind(number().read, (*number().rules, ("a number above 0", lambda value: 0 < value < 1e6))).strictly(),
        "soften the edge of the mask by so many pixels",
        "PIXELS",
    )
    # What is shown of their steps
    show_denoising: int | None = declared(
        None, ONE_OR_MORE, "a picture of every N-th step, and a strip of them all", "N"
    )
    save_last_N: int | None = declared(
        None, ONE_OR_MORE, "a picture of each of the last N steps, so that you can choose the best", "N"
    )
    frames: FrameKind | None = declared(
        None,
        one_of("noisy", "clean"),
        "show what a step has come to, noise and all, or what it takes for the finished picture (default: noisy)",
    )
    preview: Literal["full", "linear", "taesd"] | None = declared(
        None,
        one_of("full", "linear", "taesd"),
        "linear: quick, coarse pictures of the steps; taesd: quick, good ones, by a small autoencoder from the Hub; "
        "the finished ones are always full (default: full)",
    )
    show_noising: NoisingKind | None = declared(
        None,
        one_of("ray", "chain", "inversion"),
        "a strip of the way from the picture up to the start: with one noise, with noise added bit by bit, or "
        "without noise, by following the model backwards",
    )
    animate: str | None = None  # the file of the film
    html: str | None = None  # and of the page
    # How they are drawn
    triangle_shape: Literal["triangle", "pyramid"] | None = declared(
        None,
        one_of("triangle", "pyramid"),
        "triangle: each row from its noised picture to the finished one; pyramid: each row from the original through "
        "noise to the finished one, the way in being that of --show-noising (default: triangle, ray)",
    )
    n_rows: int | None = declared(None, ONE_OR_MORE, "rows of the sheet (default: 1)", "N")
    triangle_align: Literal["left", "right"] | None = declared(
        None,
        one_of("left", "right"),
        "left: the noised pictures in one column; right: the finished ones (default: left)",
    )
    highlight: float | None = declared(
        None,
        AMOUNT,
        "frame one row of the triangle, with the way that leads to it, and write both as a strip of their own",
        "STRENGTH",
    )
    fps: float | None = declared(
        None,
        Kind(number().read, (*number().rules, ("from 0.1 to 60", lambda value: 0.1 <= value <= 60))).strictly(),
        "pictures of a film per second (default: 8)",
        "N",
    )
    captions: bool = True  # in films
    sheet_size: int | None = declared(
        None, whole(200).strictly(), "longest side of a sheet at most (default: 6000)", "PIXELS"
    )
    # What is kept
    latents: bool = False  # of all steps, in a file
    metadata: bool = True  # in the pictures' files
    originals: bool = True  # likewise: the picture that a run started from, and its mask

    def __post_init__(self) -> None:
        check(self, VIEW_ROWS)

    def only(self, *names: str) -> "View":
        """A view of these alone."""
        return View(**{name: getattr(self, name) for name in names})

    def over(self, other: "View") -> "View":
        """This view, and what it does not ask for as the other one has it."""
        missing = [name for name in VIEW_ROWS if getattr(self, name) is None]
        return replace(self, **{name: getattr(other, name) for name in missing})

    def as_json(self) -> dict[str, Any]:
        """What was asked for, as JSON can hold it: the part that makes a sheet again."""
        return {name: plain(value) for name in VIEW_ROWS if (value := getattr(self, name)) is not None}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "View":
        """The view that `as_json` wrote down. Raises ValueError for what is unknown or impossible."""
        return cls(**thawed(values, VIEW_ROWS))


VIEW_ROWS = rows(View)
