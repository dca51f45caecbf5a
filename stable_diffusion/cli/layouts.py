"""From the command line to the runs that it asks for: some pictures, children of one, a triangle, or a grid."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import mlx.core as mx

from ..diffusion.noise import Perturbations, child_seed, packed
from ..pipeline import Planner
from ..pipeline.laboratory import varied
from ..pipeline.run import shrunk
from ..settings import CompleteSettings, Settings
from .replay import Source
from .start import Start


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The runs of a command, each of one picture, and how they are shown."""

    kind: str  # see sheets.DRAW
    base: CompleteSettings  # what they have in common
    settings: Sequence[CompleteSettings]
    endings: Sequence[str]  # of the finished pictures' names
    headings: Sequence[str]
    batch_size: int | None
    sheet: str | None = None  # the ending of the sheet's name; None: no sheet
    view: dict[str, Any] = field(default_factory=dict)  # what drawing the sheet takes
    again: dict[str, Any] = field(default_factory=dict)  # the options that lead to the same sheet
    only: int | None = None  # the one picture that is wanted

    def __len__(self) -> int:
        return len(self.settings)


def layout_of(
    args: argparse.Namespace,
    planner: Planner,
    settings: Settings,
    start: Start | None,
    mask: mx.array | None,
    source: Source | None,
) -> Layout:
    """The layout that the options ask for. mask: of the perturbations, (H, W). Raises ValueError for what cannot be."""
    image, hole = (None, None) if start is None else (start.image, start.mask)
    n = settings.n_images

    def complete(s: Settings) -> CompleteSettings:
        if start is None and (s.strength is not None or s.start_step is not None):
            raise ValueError("strength and start_step need a picture to start from: use image2image")
        return planner.completed(replace(s, n_images=1), image, hole)

    f = planner.description.vae.factor
    code = () if mask is None else (packed(shrunk(mask, mask.shape[0] // f, mask.shape[1] // f)),)
    lineage: Perturbations = (*settings.perturb, *((s, a, *code) for s, a in args.variation or ()))
    settings = replace(settings, perturb=tuple(lineage))
    base = complete(settings)
    size = {"batch_size": args.batch_size, "decoding_batch_size": args.decoding_batch_size}
    common: dict[str, Any] = {"base": base, "again": {k: v for k, v in size.items() if v is not None}}

    if getattr(args, "generate_triangle", None):
        if n != 1:
            raise ValueError(f"n_images is {n}: a triangle is of 1 picture")
        return _triangle(args, settings, complete, common)
    if args.grid:
        if n != 1:
            raise ValueError(f"n_images is {n}: each place of a grid has 1 picture")
        return _grid(args, planner, settings, complete, common, start, code)
    if args.perturb is not None:
        children = [(child_seed(settings.seed, lineage, k), args.perturb, *code) for k in range(n)]
        common["again"] |= {"n_images": n, "n_rows": args.n_rows or 1, "perturb": args.perturb}
        return Layout(
            kind="children",
            settings=[complete(replace(settings, perturb=(*lineage, child))) for child in children],
            endings=[f"-child{k + 1}" for k in range(n)] if n > 1 else [""],
            headings=[f"{seed}:{amount:.4g}" for seed, amount, *_ in children],
            batch_size=args.batch_size or 1,
            sheet="" if n > 1 else None,
            view={"n_rows": args.n_rows, "sheet_size": args.sheet_size},
            **common,
        )
    together = source and source.recipe and source.recipe.together
    if together and n == 1 and args.batch_size is None and together.settings[together.index] == base:
        return Layout(
            kind="pictures",
            settings=together.settings,
            endings=[""] * len(together.settings),
            headings=[""] * len(together.settings),
            batch_size=together.batch_size,
            only=together.index,
            **common,
        )
    common["again"] |= {"n_images": n, "n_rows": args.n_rows or 1} if n > 1 else {}
    seeds = [settings.seed + k for k in range(n)]
    return Layout(
        kind="pictures",
        settings=[complete(replace(settings, seed=seed)) for seed in seeds],
        endings=[f"-seed{seed}" for seed in seeds] if n > 1 else [""],
        headings=[f"seed {seed}" for seed in seeds],
        batch_size=args.batch_size or 1,
        sheet="" if n > 1 else None,
        view={"n_rows": args.n_rows, "sheet_size": args.sheet_size},
        **common,
    )


def row_of(strength: float, values: Sequence[float]) -> float:
    """The one of a triangle's strengths that somebody means. Raises ValueError where there is none."""
    near = min(values, key=lambda value: abs(value - strength))
    if abs(near - strength) > 5e-4:
        known = ", ".join(f"{value:g}" for value in values)
        raise ValueError(f"there is no row of strength {strength:g} to highlight: the triangle has {known}")
    return near


def _triangle(args: argparse.Namespace, settings: Settings, complete: Any, common: dict[str, Any]) -> Layout:
    values = args.generate_triangle
    view = {
        "strengths": values,
        "triangle_align": args.triangle_align,
        "highlight": None if args.highlight is None else row_of(args.highlight, values),
        "sheet_size": args.sheet_size,
    }
    again = {
        "generate_triangle": list(values),
        **{name: value for name, value in view.items() if name != "strengths" and value is not None},
        **{name: value for name in ("show_denoising", "frames") if (value := getattr(args, name)) is not None},
    }
    return Layout(
        kind="triangle",
        settings=[complete(varied(settings, "strength", value)) for value in values],
        endings=[f"-strength{value:g}" for value in values],
        headings=[f"strength {value:g}" for value in values],
        batch_size=args.batch_size,
        sheet="-triangle",
        view=view,
        **{**common, "again": common["again"] | again},
    )


def _grid(
    args: argparse.Namespace,
    planner: Planner,
    settings: Settings,
    complete: Any,
    common: dict[str, Any],
    start: Start | None,
    code: tuple[str, ...],
) -> Layout:
    # A perturbation keeps to the mask here as everywhere.
    axes = [
        (name, [tuple((*entry[:2], *(entry[2:] or code)) for entry in v) for v in of] if name == "perturb" else of)
        for name, of in args.grid
    ]
    cells = []
    for values in product(*(of for _, of in axes)):
        cell = settings
        for (name, _), value in zip(axes, values, strict=True):
            cell = varied(cell, name, value)
        cells.append(complete(cell))
    image, mask = (None, None) if start is None else (start.image, start.mask)
    plans = [planner.plan(cell, image, mask) for cell in cells]
    # Where the grid changes how many steps are run, or from where, each picture says so.
    differ = len({(plan.steps_run, plan.start_sigma) for plan in plans}) > 1
    labels = [f"{plan.steps_run} of {plan.steps} steps from {plan.start_sigma:.2f}" if differ else "" for plan in plans]
    named = [[f"{name.replace('_', ' ')} {_shown(value)}" for value in of] for name, of in args.grid]
    # One setting lies in a row; of two, the first goes down.
    rows, columns = (named[0], named[1]) if len(named) > 1 else ([""], named[0])
    numbered = list(product(range(1, len(rows) + 1), range(1, len(columns) + 1)))
    places = [f"-row{i}-column{j}" if len(named) > 1 else f"-column{j}" for i, j in numbered]
    view = {"rows": rows, "columns": columns, "labels": labels, "sheet_size": args.sheet_size}
    again = {"grid": [[name, list(of)] for name, of in axes]}
    return Layout(
        kind="grid",
        settings=cells,
        endings=places,
        headings=[", ".join(words) for words in product(*named)],
        batch_size=args.batch_size,
        sheet="-grid",
        view=view,
        **{**common, "again": common["again"] | again},
    )


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        # Of a perturbation its seed and amount; the mask that may follow is not for reading.
        return ", ".join(":".join(map(_shown, v[:2])) if isinstance(v, tuple) else _shown(v) for v in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
