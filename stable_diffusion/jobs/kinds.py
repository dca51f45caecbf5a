"""The kinds of jobs: how the runs of one belong together.

A job has one kind. Each kind but `Pictures` is asked for by the option that its first field is named after.
"""

import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any

from ..settings import AMOUNT
from ..values import Kind, Row, check, declared, number, plain, rows, several, text, whole
from .axes import Axis, is_axis, read_axis

REQUIRED: Any = MISSING
MOST_PLACES = 1000  # of a grid
ALIKE = {"strength": "start_step", "start_step": "strength", "perturb": "variation"}  # options that set the same


def read_strengths(words: str) -> tuple[float, ...]:
    """Strengths between commas, a range 0.1:1:0.1, or a count of them, evenly up to 1. Raises ValueError."""
    if "," not in words and words.strip().isdecimal() and whole().read(words) > 1:
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
    return isinstance(axes, tuple) and 1 <= len(axes) <= 2 and all(map(is_axis, axes))


def _is_of_reasonable_size(axes: Any) -> bool:
    return math.prod(len(values) for _, values in axes) <= MOST_PLACES


STRENGTHS = Kind(read_strengths, several(AMOUNT, "strengths from 0 to 1, at most 100 of them", most=100).rules)
GRID = Kind(
    read_axis,
    (("one or two settings and their values", _is_grid), (f"of at most {MOST_PLACES} places", _is_of_reasonable_size)),
)


@dataclass(frozen=True)
class Pictures:
    """One picture, or several whose seeds follow each other."""

    contradicts = frozenset[str]()  # options that ask for something else, or for what a kind decides itself


@dataclass(frozen=True)
class Children:
    """Pictures whose start is perturbed, each by noise of its own."""

    perturb: float = declared(
        REQUIRED,
        AMOUNT,
        "make a variation, or --n_images of them: 0.05 is nearly the same picture, 1 a new one",
        "AMOUNT",
    )
    perturb_mask: str | None = declared(None, text())  # that the variations of a sheet keep to, see pipeline.masks

    contradicts = frozenset[str]()

    def __post_init__(self) -> None:
        check(self, rows(type(self)))


@dataclass(frozen=True)
class Triangle:
    """A row of steps for each strength."""

    generate_triangle: tuple[float, ...] = declared(
        REQUIRED,
        STRENGTHS,
        "a sheet of the steps at many strengths, written 0.1,0.5,0.9, or 0.1:1:0.1 (from, to, by), or 5 for five of "
        "them up to 1 (default: 10); -sd N shows every N-th step, and writes them as files",
        "STRENGTHS",
    )
    contradicts = frozenset({"strength", "start_step", "start_time"})

    def __post_init__(self) -> None:
        check(self, rows(type(self)))


@dataclass(frozen=True)
class Grid:
    """A picture for each value of one setting, or for each pair of values of two."""

    grid: tuple[Axis, ...] = declared(
        REQUIRED,
        GRID,
        "a sheet over one or two settings, as in --grid sampler=euler,heun cfg=3,7.5 or lora=a:0.2,a:0.6; put "
        "| between values that have commas themselves",
        "SETTING=A,B",
    )

    def __post_init__(self) -> None:
        check(self, rows(type(self)))

    @property
    def contradicts(self) -> frozenset[str]:
        axes = {name for name, _ in self.grid}
        return frozenset({"n_images", *axes, *(ALIKE[name] for name in axes & ALIKE.keys())})

    def axis_against(self, option: str) -> str | None:
        """The axis that an option contradicts; None where it contradicts the grid as a whole."""
        return next((name for name, _ in self.grid if option in (name, ALIKE.get(name))), None)


@dataclass(frozen=True)
class Loopback:
    """Image-to-image whose result is its next input, again and again."""

    loopback: int = declared(
        REQUIRED,
        whole(1, 1000).strictly(),
        "feed the result back as the next picture to start from, N times in all, each with the next seed",
        "N",
    )
    contradicts = frozenset({"n_images", "save_latents", "html"})

    def __post_init__(self) -> None:
        check(self, rows(type(self)))


JobKind = Pictures | Children | Triangle | Grid | Loopback
KIND_ROWS: dict[type[JobKind], dict[str, Row]] = {kind: rows(kind) for kind in (Children, Triangle, Grid, Loopback)}
OPTION_ROWS = {name: row for own in KIND_ROWS.values() for name, row in own.items()}
OPTIONS = {fields(kind)[0].name: kind for kind in KIND_ROWS}  # by the name of the option that asks for each


def kind_of(values: Mapping[str, Any]) -> JobKind | None:
    """The kind that options of these names and values ask for; None where they ask for none.

    Raises ValueError for options of two kinds, and for a value that none of this kind can have.
    """
    asked = [name for name in OPTIONS if values.get(name) is not None]
    if len(asked) > 1:
        raise ValueError(f"{asked[0]} and {asked[1]} do not go together")
    if not asked:
        return None
    kind = OPTIONS[asked[0]]
    return kind(**{name: values[name] for name in KIND_ROWS[kind] if values.get(name) is not None})


def kind_as_json(kind: JobKind) -> dict[str, Any]:
    """The options that ask for a kind, as JSON can hold them."""
    own = KIND_ROWS.get(type(kind), {})
    return {name: plain(value) for name in own if (value := getattr(kind, name)) is not None}
