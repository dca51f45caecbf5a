"""All steps of many runs in one safetensors file: to be drawn again, or to be worked with elsewhere."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx

from ..diffusion.samplers import Step
from ..weights.checkpoint import open_tensors
from .recipe import Recipe

VERSION = 1
KINDS = ("pictures", "children", "triangle", "grid")


@dataclass(frozen=True)
class Record:
    """rows of steps, the first of each its start; frames by (row, place in it, "noisy" or "clean").

    In the file, `row0.x` and `row0.clean` are (steps, n, h, w, 4) float32 in the order of the walk, `row0.frame3.noisy`
    is (H, W, 3) uint8, and `original` and `mask` what the runs start from, likewise. The metadata hold the recipe, and
    index and sigma of every step.
    """

    recipe: Recipe
    kind: str  # how the rows belong together: one of KINDS
    rows: Sequence[Sequence[Step]]
    headings: Sequence[str]  # of the rows
    frames: Mapping[tuple[int, int, str], mx.array] = field(default_factory=dict)
    original: mx.array | None = None  # (H, W, 3) uint8
    mask: mx.array | None = None  # likewise, grey
    view: Mapping[str, Any] = field(default_factory=dict)  # whatever else drawing it takes


def save_record(record: Record, path: Path) -> None:
    """Write a record to a path that ends in .safetensors."""
    arrays = {}
    for r, row in enumerate(record.rows):
        arrays[f"row{r}.x"] = mx.stack([step.x for step in row])
        arrays[f"row{r}.clean"] = mx.stack([step.clean for step in row])
    for (r, i, kind), picture in record.frames.items():
        arrays[f"row{r}.frame{i}.{kind}"] = picture
    arrays |= {name: a for name, a in (("original", record.original), ("mask", record.mask)) if a is not None}
    about = {
        "version": VERSION,
        "kind": record.kind,
        "headings": list(record.headings),
        "steps": [[[step.index, step.sigma] for step in row] for row in record.rows],
        "view": dict(record.view),
    }
    mx.save_safetensors(
        str(path), arrays, {"stable-diffusion-mlx": record.recipe.as_json(), "record": json.dumps(about)}
    )


def load_record(path: Path) -> Record:
    """A record from its file. Raises ValueError, one sentence, for one that is missing, damaged or something else."""
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
    if about.get("version") != VERSION:
        raise ValueError(
            f"{str(path)!r} is of version {about.get('version')!r}, and {VERSION} is known here: update this package"
        )
    try:
        rows = [_row(arrays, r, steps) for r, steps in enumerate(about["steps"])]
        frames = {}
        for name, array in arrays.items():
            row, _, rest = name.partition(".frame")
            if rest:
                i, _, kind = rest.partition(".")
                frames[int(row.removeprefix("row")), int(i), kind] = array
        recipe, kind, headings = Recipe.from_json(metadata["stable-diffusion-mlx"]), about["kind"], about["headings"]
        if kind not in KINDS or len(headings) != len(rows) or not all(isinstance(text, str) for text in headings):
            raise ValueError(f"its {kind!r} with {headings!r} is no sheet")
        original, mask = arrays.get("original"), arrays.get("mask")
        return Record(recipe, kind, rows, headings, frames, original, mask, dict(about["view"]))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ValueError(f"{str(path)!r} is damaged ({error})") from None


def _row(arrays: Mapping[str, mx.array], r: int, steps: Any) -> list[Step]:
    """The steps of a row. Raises ValueError where there are not as many arrays: MLX would read behind their end."""
    x, clean = arrays[f"row{r}.x"], arrays[f"row{r}.clean"]
    if x.shape != clean.shape or x.shape[0] != len(steps):
        raise ValueError(f"row {r} has {len(steps)} steps, and arrays of {x.shape} and {clean.shape}")
    return [Step(int(index), float(sigma), x[i], clean[i]) for i, (index, sigma) in enumerate(steps)]
