"""What came of a job: the steps of its runs, as far as they were kept. In memory, or in a safetensors file."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import Any

import mlx.core as mx

from ..devices import DEVICE, is_device
from ..diffusion.samplers import Step
from ..diffusion.steps import FrameKind
from ..pictures.images import Picture, from_bytes, to_bytes
from ..settings import AMOUNT, CompleteSettings, Outdated
from ..values import is_finite, is_whole, text
from ..weights.tensors import open_tensors
from .kinds import MOST_PLACES
from .originals import Originals
from .recipe import Recipe, differences
from .view import VIEW_ROWS, View

VERSION = 2
OLDER = (1,)  # that can be read too: without the settings of the rows, and the ways in
FRAME_KINDS: tuple[FrameKind, ...] = ("noisy", "clean")
# Of a view, what the file of a sheet remembers: how it is drawn.
DRAWN = ("triangle_shape", "triangle_align", "highlight", "sheet_size", "n_rows")
KINDS = ("pictures", "children", "triangle", "grid")


@dataclass
class KeptStep:
    """A step of a run: its place and level, its latents where they are kept, and its pictures where it is shown."""

    index: int  # -1: the start; below that, steps of the way in, the original first
    sigma: float
    latents: Step | None = None
    pictures: dict[FrameKind, Picture] = field(default_factory=dict)


@dataclass
class Row:
    """What is kept of one run; the first of its steps is its start, where that is kept."""

    heading: str
    ending: str  # of its files' names
    label: str = ""  # under its picture in a grid
    strength: float | None = None  # of a triangle's row
    settings: CompleteSettings | None = None  # of the run; None: not known
    sigmas: tuple[float, ...] = ()  # the levels of its plan, and the times of all but the last
    times: tuple[float, ...] = ()
    way_in: list[KeptStep] = field(default_factory=list)  # from the original up to below the start, where it is shown
    steps: list[KeptStep] = field(default_factory=list)

    @property
    def finished(self) -> bool:
        return bool(self.steps) and self.steps[-1].sigma == 0

    @property
    def count(self) -> int:
        """How many steps it has in all, as far as is known."""
        return len(self.sigmas) - 1 if self.sigmas else max((step.index + 1 for step in self.steps), default=0)


@dataclass
class Record:
    """Rows that grow as steps come.

    In the file, `row0.x` and `row0.clean` are (steps, n, h, w, 4) float32 in the order of the walk, `row0.frame3.noisy`
    is (H, W, 3) uint8; `row0.in.x` and `row0.in.frame3.noisy` are the same of the way in; and `original` and `mask` are
    what the runs start from. The metadata hold the recipe, and index and sigma of every step.
    """

    recipe: Recipe  # its view is the one that it is drawn in, unless somebody wants another
    kind: str  # how the rows belong together: one of KINDS
    rows: list[Row]
    sheet: str | None = None  # the ending of the sheet's name; None: no sheet
    originals: Originals | None = None
    lines: Sequence[str] = ()  # of a grid
    columns: Sequence[str] = ()

    def _repr_html_(self) -> str:
        """What a notebook shows: the rows, and how far each has come."""
        head = "".join(f"<th>{name}</th>" for name in (self.kind, "steps kept", "from sigma", "to sigma"))
        rows = [
            (row.heading, str(len(row.steps)), *(f"{row.steps[end].sigma:.4f}" for end in (0, -1)))
            for row in self.rows
            if row.steps
        ]
        cells = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
        return f"<table><tr>{head}</tr>{cells}</table>"


def save_record(record: Record, path: Path) -> None:
    """Write the rows that have steps to a path that ends in .safetensors; all their latents must be there.

    Raises OSError where not all of it could be written.
    """
    places = [place for place, row in enumerate(record.rows) if row.steps]
    rows = [record.rows[place] for place in places]
    arrays: dict[str, mx.array] = {}
    for r, row in enumerate(rows):
        arrays |= _arrays(f"row{r}", row.steps)
        if row.way_in:
            arrays |= _arrays(f"row{r}.in", row.way_in)
    originals = record.originals or Originals()
    for name, picture in (("original", originals.picture), ("mask", originals.mask)):
        if picture is not None:
            arrays[name] = to_bytes(picture)
    view: dict[str, Any] = {
        **record.recipe.view.only(*DRAWN).as_json(),
        "endings": [row.ending for row in rows],
        "sheet": record.sheet,
        "name": originals.name,
    }
    if record.kind == "triangle":
        view["strengths"] = [row.strength for row in rows]
    if record.kind == "grid":
        view |= {"rows": list(record.lines), "columns": list(record.columns), "labels": [row.label for row in rows]}
        if len(rows) < len(record.rows):
            view["places"] = places
    about = {
        "version": VERSION,
        "kind": record.kind,
        "headings": [row.heading for row in rows],
        "steps": [[[step.index, step.sigma] for step in row.steps] for row in rows],
        "ways": [[[step.index, step.sigma] for step in row.way_in] for row in rows],
        "plans": [[row.sigmas, row.times] for row in rows],
        "settings": [row.settings and differences(record.recipe.settings, row.settings) for row in rows],
        "view": view,
    }
    texts = {"stable-diffusion-mlx": record.recipe.as_json(), "record": json.dumps(about)}
    try:
        mx.save_safetensors(str(path), arrays, texts)
        open_tensors(path)  # MLX does not notice a full disk
    except (RuntimeError, ValueError):
        raise OSError("not all of it could be written: is the disk full?") from None


def _arrays(name: str, steps: Sequence[KeptStep]) -> dict[str, mx.array]:
    """Latents and pictures of steps, as they lie in the file."""
    latents = [step.latents for step in steps if step.latents is not None]
    assert len(latents) == len(steps)
    arrays = {f"{name}.x": mx.stack([step.x for step in latents])}
    arrays[f"{name}.clean"] = mx.stack([step.clean for step in latents])
    for i, step in enumerate(steps):
        arrays |= {f"{name}.frame{i}.{kind}": to_bytes(picture) for kind, picture in step.pictures.items()}
    return arrays


def load_record(path: Path) -> Record:
    """A record from its file. Raises ValueError, one sentence, for one that is missing, damaged or something else."""
    if is_device(path):
        raise ValueError(f"{str(path)!r} {DEVICE}")
    if not path.is_file():
        raise ValueError(f"there is no file {str(path)!r}")
    try:
        arrays, metadata = open_tensors(path)
        about = json.loads(metadata["record"])
        if not isinstance(about, dict):
            raise ValueError
    except KeyError:
        raise ValueError(f"{str(path)!r} was not written by --save-latents") from None
    except ValueError:
        raise ValueError(f"{str(path)!r} is damaged, or no file of latents") from None
    if about.get("version") not in (VERSION, *OLDER):
        raise ValueError(
            f"{str(path)!r} is of version {about.get('version')!r}, and {VERSION} is known here: update this package"
        )
    try:
        return _record(arrays, about, Recipe.from_json(metadata.get("stable-diffusion-mlx", "")))
    except Outdated as error:
        raise ValueError(f"{str(path)!r} can't be drawn: {error}") from None
    except ValueError as error:
        raise ValueError(f"{str(path)!r} is damaged ({error})") from None


def _record(arrays: dict[str, mx.array], about: dict[str, Any], recipe: Recipe) -> Record:
    kind, view = about.get("kind"), about.get("view")
    if kind not in KINDS or not isinstance(view, dict):
        raise ValueError(f"its {kind!r:.40} is no sheet")
    n = len(steps := _list(about.get("steps"), "steps", _is_way))
    texts = (about.get("headings"), view.get("endings"), view.get("labels") or [""] * n)
    headings, endings, labels = (
        _list(given, name, fine, n)
        for given, name, fine in zip(
            texts, ("headings", "endings", "labels"), (_is_text, _is_ending, _is_text), strict=True
        )
    )
    strengths: list[Any] = [None] * n
    if kind == "triangle":
        strengths = _list(view.get("strengths"), "strengths", lambda value: AMOUNT.fault(value) is None, n)
    rows = [Row(*parts) for parts in zip(headings, endings, labels, strengths, strict=True)]
    for r, row in enumerate(rows):
        row.steps = _steps(arrays, f"row{r}", steps[r])
    if about["version"] not in OLDER:
        plans = _list(about.get("plans"), "plans", _is_plan, n)
        settings = _list(about.get("settings"), "settings", lambda own: own is None or isinstance(own, dict), n)
        ways = _list(about.get("ways"), "ways", _is_way, n)
        for r, row in enumerate(rows):
            _complete(row, recipe, settings[r], plans[r])
            row.way_in = _steps(arrays, f"row{r}.in", ways[r]) if ways[r] else []
    lines, columns = (tuple(_list(view.get(name, []), name, _is_text)) for name in ("rows", "columns"))
    if kind == "grid":  # rows that never came are empty places
        if (size := len(lines) * len(columns)) > MOST_PLACES:
            raise ValueError(f"a grid of {size} places")
        empty = [Row("", "") for _ in range(size)]
        places = _list(
            view.get("places", list(range(n))), "places", lambda place: is_whole(place) and 0 <= place < size, n
        )
        for place, row in zip(places, rows, strict=True):
            empty[place] = row
        rows = empty
    drawn = View.from_json({name: v for name, v in view.items() if name in VIEW_ROWS and v is not None})
    recipe = replace(recipe, view=drawn.over(recipe.view))
    mask, original = arrays.pop("mask", None), arrays.pop("original", None)
    originals = None
    if original is not None:
        grey = None if mask is None else _picture(mask).convert("L")
        name = view.get("name")
        if not isinstance(name, str) or (grey is not None and grey.size != _picture(original).size):
            raise ValueError("its original has no name, or a mask of another size")
        originals = Originals(_picture(original), grey, name)
    if arrays:
        raise ValueError(f"{min(arrays)!r} belongs to no step")
    if kind == "triangle" and originals is None:
        raise ValueError("a triangle without its original")
    if not any(row.steps for row in rows):
        raise ValueError("it has no steps")
    if (sheet := view.get("sheet")) is not None and not _is_ending(sheet):
        raise ValueError(f"{sheet!r:.40} is no ending of a sheet's name")
    return Record(recipe, kind, rows, sheet, originals, lines, columns)


def _list(value: Any, name: str, fine: Callable[[Any], bool], count: int | None = None) -> list[Any]:
    """A list of what a record says of itself. Raises ValueError for what is none, or not as long, or not fine."""
    if not isinstance(value, list) or count not in (None, len(value)) or not all(map(fine, value)):
        raise ValueError(f"what it says of its {name} is wrong")
    return value


def _is_text(value: Any) -> bool:
    return text().fault(value) is None


def _is_ending(value: Any) -> bool:
    """Can a file's name end so? A record from a stranger is to write nowhere else."""
    return _is_text(value) and len(value) <= 200 and not set(value) & set("/\\\0")


def _is_way(steps: Any) -> bool:
    """Are these the places and levels of steps?"""
    return isinstance(steps, list) and all(
        isinstance(step, list) and len(step) == 2 and is_whole(step[0]) and abs(step[0]) <= 10**6 and _is_level(step[1])
        for step in steps
    )


def _is_level(value: Any) -> bool:
    return is_finite(value) and value >= 0


def _is_plan(plan: Any) -> bool:
    return (
        isinstance(plan, list)
        and len(plan) == 2
        and all(isinstance(of, list) and all(map(is_finite, of)) for of in plan)
    )


def _complete(row: Row, recipe: Recipe, own: Any, plan: Any) -> None:
    """A row's settings and plan. Raises ValueError for what is none."""
    sigmas, times = ([float(value) for value in values] for values in plan)
    if len(sigmas) != len(times) + bool(sigmas):
        raise ValueError(f"{len(sigmas)} levels with {len(times)} times are no plan")
    row.sigmas, row.times = tuple(sigmas), tuple(times)
    if own is not None:
        row.settings = CompleteSettings.from_json({**recipe.settings.as_json(), **own})


def _steps(arrays: dict[str, mx.array], name: str, steps: Any) -> list[KeptStep]:
    """Steps that are there. Raises ValueError where there are not as many arrays: MLX would read behind their end."""
    x, clean = (arrays.pop(f"{name}.{of}", None) for of in ("x", "clean"))
    if x is None or clean is None:
        raise ValueError(f"{name} has no latents")
    if x.shape != clean.shape or x.shape[0] != len(steps) or x.ndim != 5 or x.shape[4] != 4 or not x.size:
        raise ValueError(f"{name} has {len(steps)} steps, and arrays of {x.shape} and {clean.shape}")
    if x.dtype != mx.float32 or clean.dtype != mx.float32:
        raise ValueError(f"the latents of {name} are no 32-bit floats")
    found = [Step(index, float(sigma), x[i], clean[i]) for i, (index, sigma) in enumerate(steps)]
    kept = [KeptStep(step.index, step.sigma, step) for step in found]
    for i, step in enumerate(kept):
        for kind in FRAME_KINDS:
            if (array := arrays.pop(f"{name}.frame{i}.{kind}", None)) is not None:
                step.pictures[kind] = _picture(array)
    return kept


def _picture(array: mx.array) -> Picture:
    """A picture of the file. Raises ValueError for an array that is none."""
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != mx.uint8 or not array.size:
        raise ValueError(f"an array of {array.shape} is no picture")
    return from_bytes(array)
