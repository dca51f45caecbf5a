"""From a request to the runs that it asks for: some pictures, children of one, a triangle, or a grid."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, Literal

from ..diffusion.noise import child_seed
from ..pictures.images import fitted, to_mask
from ..pipeline import NOTHING, Inputs, Planner, Run
from ..pipeline.laboratory import grid_settings, triangle_settings
from ..pipeline.masks import packed, shrunk
from ..settings import CompleteSettings, Perturbation, Settings
from ..weights.extras import LoRAUse
from .kinds import Children, Grid, Triangle
from .request import Request
from .translation import for_model
from .view import View

LayoutKind = Literal["pictures", "children", "triangle", "grid"]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The runs of a job, each of one picture, and how they belong together."""

    kind: LayoutKind
    base: CompleteSettings  # what the runs have in common
    runs: Sequence[Run]
    endings: Sequence[str]  # of the names of the finished pictures
    headings: Sequence[str]
    batch_size: int | None
    hands: int = 1  # the runs are walked by so many, run i by the i-th, the same one again after the last
    view: View  # what was asked for, as far as it leads to the same runs and their sheet again
    sheet: str | None = None  # the ending of the sheet's name; None: no sheet
    of_lines: bool = False  # of a file, which may differ in any setting
    only: int | None = None  # the one picture that is wanted
    strengths: Sequence[float | None] = ()  # of a triangle's rows
    lines: Sequence[str] = ()  # what a grid says beside its lines, above its columns and under its pictures
    columns: Sequence[str] = ()
    labels: Sequence[str] = ()


def layout_of(request: Request, planner: Planner) -> Layout:
    """The layout that a request asks for, its runs planned. Raises ValueError for what cannot be."""
    inputs = NOTHING if request.inputs is None else request.inputs.arrays
    settings = _of_tool(request, planner, request.settings)
    _check_start(settings, inputs)
    code = _mask_code(request, planner, inputs)
    added = [_masked(entry, code) for entry in request.variations]
    settings = replace(settings, perturb=(*settings.perturb, *added))
    if request.lines:
        return _lines(request, planner, added, inputs)
    match request.view.kind:
        case Triangle() as kind:
            return _triangle(kind, request.view, planner, settings, inputs)
        case Grid() as kind:
            return _grid(kind, request.view, planner, settings, inputs, code)
        case Children() as kind:
            return _children(kind, request.view, planner, settings, inputs, code)
        case _:
            return _pictures(request, planner, settings, inputs)


def _check_start(settings: Settings, inputs: Inputs) -> None:
    if inputs.image is None and (settings.strength is not None or settings.start_step is not None):
        raise ValueError("strength and start_step need a picture to start from: use image2image")


def _of_tool(request: Request, planner: Planner, settings: Settings) -> Settings:
    return for_model(settings, request.settings, request.by_model, planner.description)


def _mask_code(request: Request, planner: Planner, inputs: Inputs) -> tuple[str, ...]:
    """The mask that perturbations keep to, as it stands in a lineage: one, or none."""
    f, kind = planner.description.vae.factor, request.view.kind
    if inputs.mask is not None:
        return (packed(shrunk(inputs.mask, inputs.mask.shape[0] // f, inputs.mask.shape[1] // f)),)
    if request.inputs is None or (mask := request.inputs.mask) is None:
        return (kind.perturb_mask,) if isinstance(kind, Children) and kind.perturb_mask is not None else ()
    perturbs = isinstance(kind, Children) or (isinstance(kind, Grid) and "perturb" in dict(kind.grid))
    if not perturbs and not request.variations:
        raise ValueError("--mask is for the part that --perturb or --variation changes: name one of them")
    s = planner.completed(request.settings)
    if (mask.width * s.height, mask.height * s.width) != (s.width * mask.height, s.height * mask.width):
        raise ValueError(f"the mask is {mask.width} x {mask.height}, and the picture {s.width} x {s.height}")
    return (packed(shrunk(to_mask(fitted(mask, s.width, s.height)), s.height // f, s.width // f)),)


def _every(view: View) -> View:
    """What every picture depends on besides its settings, be it in its last bits alone."""
    return view.only("batch_size", "decoding_batch_size", "feather")


def _pictures(request: Request, planner: Planner, settings: Settings, inputs: Inputs) -> Layout:
    """Pictures of seeds that follow each other; or one that shared its network calls with others."""
    view, n, batch = request.view, settings.n_images, request.batch
    first = planner.run(replace(settings, n_images=1), inputs)
    if batch and n == 1 and view.batch_size is None and batch.settings[batch.index] == first.settings:
        others = len(batch.settings)
        return Layout(
            kind="pictures",
            base=first.settings,
            runs=[first if i == batch.index else planner.run(s, inputs) for i, s in enumerate(batch.settings)],
            endings=[""] * others,
            headings=[""] * others,
            batch_size=batch.batch_size,
            view=_every(view),
            only=batch.index,
        )
    seeds = [settings.seed + k for k in range(n)]
    again = _every(view)
    return Layout(
        kind="pictures",
        base=first.settings,
        runs=[first, *(planner.run(replace(settings, seed=seed, n_images=1), inputs) for seed in seeds[1:])],
        endings=[f"-seed{seed}" for seed in seeds] if n > 1 else [""],
        headings=[f"seed {seed}" for seed in seeds],
        batch_size=view.batch_size or 1,
        view=replace(again, n_images=n, n_rows=view.n_rows or 1) if n > 1 else again,
        sheet="" if n > 1 else None,
    )


def _lines(request: Request, planner: Planner, added: Sequence[Perturbation], inputs: Inputs) -> Layout:
    """A picture, or several, for each line of a file of prompts. Raises ValueError, which names the line."""
    runs, endings, headings = [], [], []
    width = len(str(max(line.number for line in request.lines)))
    for line in request.lines:
        settings = _of_tool(request, planner, line.settings)
        for k in range(settings.n_images):
            alone = replace(settings, seed=settings.seed + k, n_images=1, perturb=(*settings.perturb, *added))
            try:
                _check_start(alone, inputs)
                runs.append(planner.run(alone, inputs))
            except ValueError as error:
                raise ValueError(f"{line.name}: {error}") from None
            several = settings.n_images > 1
            endings.append(f"-line{line.number:0{width}}" + (f"-seed{alone.seed}" if several else ""))
            headings.append(f"line {line.number}" + (f", seed {alone.seed}" if several else ""))
    return Layout(
        kind="pictures",
        base=runs[0].settings,
        runs=runs,
        endings=endings,
        headings=headings,
        batch_size=request.view.batch_size or 1,
        view=_every(request.view),
        of_lines=True,
    )


def _children(
    kind: Children, view: View, planner: Planner, settings: Settings, inputs: Inputs, code: tuple[str, ...]
) -> Layout:
    """Pictures whose start is perturbed by noise of their own."""
    n, lineage, amount = settings.n_images, settings.perturb, kind.perturb
    children = [_masked((child_seed(settings.seed, lineage, k), amount), code) for k in range(n)]
    alone = replace(settings, n_images=1)
    runs = [planner.run(replace(alone, perturb=(*lineage, child)), inputs) for child in children]
    endings, headings = [""], [f"{children[0][0]}:{amount:.4g}"]
    base = replace(runs[0].settings, perturb=lineage)
    if n > 1:  # beside their parent
        runs = [planner.run(alone, inputs), *runs]
        endings = ["-parent", *(f"-child{k + 1}" for k in range(n))]
        headings = ["parent", *(f"{k + 1}: {seed}:{amount:.4g}" for k, (seed, *_) in enumerate(children))]
    return Layout(
        kind="children",
        base=base,
        runs=runs,
        endings=endings,
        headings=headings,
        batch_size=view.batch_size or 1,
        view=replace(
            _every(view),
            n_images=n,
            n_rows=view.n_rows or 1,
            kind=Children(amount, code[0] if code and inputs.mask is None else None),  # or else it lies in the file
        ),
        sheet="" if n > 1 else None,
    )


def _triangle(kind: Triangle, view: View, planner: Planner, settings: Settings, inputs: Inputs) -> Layout:
    """A row of steps for each strength."""
    values = kind.generate_triangle
    highlight = None if view.highlight is None else row_of(view.highlight, values)
    names = ["kind", "triangle_shape", "triangle_align", "sheet_size", "show_denoising", "frames"]
    if view.triangle_shape == "pyramid":
        names.append("show_noising")
        if settings.image_weight != 1:
            raise ValueError(f"image_weight is {settings.image_weight:g}: the way in of a pyramid is for 1")
    again = view.only(*names)
    runs = [planner.run(row, inputs) for row in triangle_settings(settings, values)]
    words = _told_apart(values)
    return Layout(
        kind="triangle",
        base=planner.completed(settings, inputs),
        runs=runs,
        endings=[f"-strength{word}" for word in words],
        headings=[f"strength {word}" for word in words],
        batch_size=view.batch_size,
        view=_every(view).over(replace(again, highlight=highlight)),
        sheet="-triangle",
        strengths=values,
    )


def _told_apart(values: Sequence[float]) -> list[str]:
    """Numbers with as few digits behind the point as tell them apart, two or more: 0.33 for a third."""
    for digits in range(2, 7):
        words = [f"{round(value, digits):g}" for value in values]
        if len(set(words)) == len(words):
            return words
    return [f"{value:g}" for value in values]


def row_of(strength: float, values: Sequence[float]) -> float:
    """The one of a triangle's strengths that somebody means. Raises ValueError where there is none."""
    near = min(values, key=lambda value: abs(value - strength), default=-1.0)
    if abs(near - strength) > 5e-4:
        known = ", ".join(f"{value:g}" for value in values) or "none"
        raise ValueError(f"there is no row of strength {strength:g} to highlight: the triangle has {known}")
    return near


def _grid(
    kind: Grid, view: View, planner: Planner, settings: Settings, inputs: Inputs, code: tuple[str, ...]
) -> Layout:
    """A picture for each pair of values of two settings, or for each value of one."""
    # A perturbation keeps to the mask here as everywhere.
    axes = [
        (name, tuple(tuple(_masked(e, code) for e in v) for v in values) if name == "perturb" else values)
        for name, values in kind.grid
    ]
    # A LoRA is no setting: it changes the model, in some of the runs.
    plain = grid_settings(settings, [axis for axis in axes if axis[0] != "lora"])
    runs = [planner.run(place, inputs) for place in plain]
    if "lora" in (names := [name for name, _ in axes]):
        worn: Sequence[Any] = axes[names.index("lora")][1]
        uses = [LoRAUse(path, unet, texts) for path, unet, texts, _ in worn]
        pairs = product(uses, runs) if names[0] == "lora" else ((use, run) for run, use in product(runs, uses))
        runs = [replace(run, lora=use) for use, run in pairs]
    plans = [run.plan for run in runs]
    # Where the grid changes how many steps are run, or from where, each picture says so.
    differ = len({(plan.steps_run, plan.start_sigma) for plan in plans}) > 1
    named = [
        [f"{name.replace('_', ' ')} {_lora_words(v) if name == 'lora' else _words(v)}" for v in values]
        for name, values in axes
    ]
    # One setting lies in a line; of two, the first goes down.
    lines, columns = (named[0], named[1]) if len(named) > 1 else ([""], named[0])
    places = product(range(1, len(lines) + 1), range(1, len(columns) + 1))
    return Layout(
        kind="grid",
        base=planner.completed(settings, inputs),
        runs=runs,
        endings=[f"-row{i}-column{j}" if len(named) > 1 else f"-column{j}" for i, j in places],
        headings=[", ".join(words) for words in product(*named)],
        batch_size=view.batch_size,
        view=replace(_every(view), kind=Grid(tuple(axes))),
        sheet="-grid",
        lines=lines,
        columns=columns,
        labels=[f"{p.steps_run} of {p.steps} steps from {p.start_sigma:.2f}" if differ else "" for p in plans],
    )


def _masked(entry: Perturbation, code: tuple[str, ...]) -> Perturbation:
    """A perturbation that keeps to a mask, unless it has one of its own."""
    seed, amount, *own = entry
    masks = own or code
    return (seed, amount, str(masks[0])) if masks else (seed, amount)


def _lora_words(lora: Any) -> str:
    path, unet, texts, _ = lora
    return f"{Path(path).stem} {unet:g}" + (f":{texts:g}" if texts != unet else "")


def _words(value: Any) -> str:
    if isinstance(value, tuple):
        # Of a perturbation its seed and amount; the mask that may follow is not for reading.
        return ", ".join(":".join(map(_words, v[:2])) if isinstance(v, tuple) else _words(v) for v in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
