"""What both commands do: from the options to the pictures."""

import argparse
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import mlx.core as mx
from tqdm import tqdm

from ..diffusion.plan import Plan
from ..pictures.animation import ENDINGS
from ..pictures.images import check_writable, fitted, read_mask, to_mask
from ..pipeline import Planner, StableDiffusion
from ..pipeline.laboratory import way_up
from ..presets import DEFAULT_MODEL
from ..settings import CompleteSettings, Settings
from ..weights.checkpoint import CheckpointError
from .arguments import settings_of
from .gallery import Gallery, report
from .layouts import Layout, layout_of
from .redraw import redraw
from .replay import Source, missing_model, read_source
from .run import Output, load_model, multiple_of_8, note, tell
from .start import Start, read_start

Had = TypeVar("Had")


def paint(args: argparse.Namespace) -> None:
    """Make what the command line asks for. Its args have `image` where it is image2image's."""
    if args.redraw:
        redraw(args)
        return
    if args.animate:
        check_writable(Path(args.animate).expanduser(), ENDINGS)
        if Path(args.animate).expanduser().absolute() == Path(args.output).expanduser().absolute():
            raise ValueError(f"{args.animate} is the picture and the animation: give them different names")
    source = read_source(args)
    start = read_start(args, source) if hasattr(args, "image") else None
    settings = _settings(args, source, start)

    sd = None if args.plan else _had(source, args, lambda: load_model(args))
    planner = sd.planner if sd else _had(source, args, lambda: Planner.of(args.model or DEFAULT_MODEL))
    layout = layout_of(args, planner, settings, start, _perturbed_part(args, planner, settings, start), source)
    files = Output(args, [layout.sheet or "", *layout.endings])
    _announce(args, planner, layout, start)
    if sd is None:
        return
    if source and source.recipe and sd.identity != source.recipe.model_hash and args.model == source.recipe.model:
        note(f"note: the model {args.model} is not what it was when {source.path} was made: the picture will differ")
    _walk(sd, layout, args, files, start)


def _settings(args: argparse.Namespace, source: Source | None, start: Start | None) -> Settings:
    """The settings that the command line and the file of --from ask for."""
    base = source.settings if source else Settings(seed=random.randrange(2**31))  # small enough to be typed again
    if start is None and source and source.recipe and source.recipe.image is not None:
        raise ValueError(f"{source.path} was made from a picture: use image2image with --from")
    if start is not None:  # the size is that of the picture
        return replace(settings_of(args, base), width=None, height=None)
    sides: dict[str, Any] = {name: multiple_of_8(getattr(args, name), name) for name in ("width", "height")}
    return replace(settings_of(args, base), **{name: side for name, side in sides.items() if side is not None})


def _had(source: Source | None, args: argparse.Namespace, had: Callable[[], Had]) -> Had:
    """A model, or an error that says where its name came from."""
    try:
        return had()
    except CheckpointError as error:
        raise missing_model(source, args.model, error) from None


def _perturbed_part(
    args: argparse.Namespace, planner: Planner, settings: Settings, start: Start | None
) -> mx.array | None:
    """The mask of the perturbations, (H, W)."""
    if start is not None:
        return start.mask
    if not args.mask:
        return None
    perturbing = args.perturb is not None or args.variation or any(name == "perturb" for name, _ in args.grid or ())
    if not perturbing:
        raise ValueError("--mask is for the part that --perturb or --variation changes: name one of them")
    s = planner.completed(settings)
    mask = read_mask(args.mask)
    if (mask.width * s.height, mask.height * s.width) != (s.width * mask.height, s.height * mask.width):
        raise ValueError(f"the mask is {mask.width} x {mask.height}, and the picture {s.width} x {s.height}")
    return to_mask(fitted(mask, s.width, s.height))


def _announce(args: argparse.Namespace, planner: Planner, layout: Layout, start: Start | None) -> None:
    """The plan in one line, or in one for each strength or place of a grid; with --plan, all levels too."""
    image, mask = (None, None) if start is None else (start.image, start.mask)
    say = tell if args.plan else note
    runs = list(zip(layout.settings, layout.headings, strict=True))
    if layout.kind in ("pictures", "children"):  # which differ in their noise alone
        runs = [(layout.base, "")]
    known: dict[tuple[float, ...], list[str]] = {}
    for settings, heading in runs:
        plan = planner.plan(settings, image, mask)
        said = _line(plan, planner.calls(settings, image, mask), settings, layout)
        say(f"{heading}: {said}" if heading else said)
        if args.plan and plan.steps_run:
            tell(plan.table())
        known.setdefault(plan.sigmas, []).append(heading)
        if layout.kind in ("pictures", "children") and plan.strengths:
            low, high = plan.strengths
            text = f"every strength from {low:.4g} to just below {high:.4g} gives this same run"
            say(f"note: with --strength-mode skip, {text}")
    if layout.kind == "triangle":
        for headings in known.values():
            if len(headings) > 1:
                values = " and ".join(heading.removeprefix("strength ") for heading in headings)
                say(f"note: the strengths {values} give the same run: --strength-mode level tells them apart")


def _line(plan: Plan, calls: int, settings: CompleteSettings, layout: Layout) -> str:
    s, n = settings, len(layout)
    together = layout.kind == "pictures" and layout.only is None and n > 1
    seeds = f"seeds {s.seed} to {s.seed + n - 1}" if together else f"seed {s.seed}"
    if s.perturb:
        seeds += " and " + ", ".join(f"{seed}:{amount:.4g}" for seed, amount, *_ in s.perturb)
    if layout.kind == "children":
        amount = layout.settings[0].perturb[-1][1]
        seeds += f", {n} variations of {amount:.4g}" if n > 1 else f", a variation of {amount:.4g}"
    times = "1 network call" if calls == 1 else f"{calls} network calls"
    if s.start == "inversion":
        times += " and those of the inversion"
    levels = s.spacing if s.sigmas is None else "levels by hand"
    return f"{plan}; {s.sampler}, {levels}, {times}; {s.width} x {s.height}, {seeds}"


def _walk(sd: StableDiffusion, layout: Layout, args: argparse.Namespace, files: Output, start: Start | None) -> None:
    image, mask = (None, None) if start is None else (start.image, start.mask)
    runs = sd.runs(layout.settings, image, mask)
    if layout.only is not None:
        note(f"note: this picture was made together with {len(runs) - 1} others: all are run again, for the same bits")
    if start is not None and mask is not None and args.save_prompt and args.source_picture:
        note("note: the files keep the picture under the mask too; --no-source leaves it out")
    highest = max(runs, key=lambda run: run.plan.start_sigma)
    kind = getattr(args, "show_noising", None)
    inverted = [run for run in runs if run.settings.start == "inversion" and run.plan.steps_run]
    if kind == "inversion":
        inverted.append(highest)
    for inversion in {id(run.inversion): run.inversion for run in inverted}.values():
        report(inversion)
    with Gallery(sd, runs, layout, args, files, start) as gallery:
        if kind:
            which = runs.index(highest)
            if len(runs) > 1:
                note(f"note: the way up is that of {layout.headings[which] or 'the first picture'}")
            gallery.noising(way_up(highest, kind), kind, which)
        for which, run in enumerate(runs):
            if run.plan.steps_run == 0 and layout.only in (None, which):
                gallery.unchanged(which)
        with tqdm(total=sum(run.plan.steps_run for run in runs), desc="steps", unit="step", leave=False) as bar:
            for which, step in sd.walk(runs, layout.batch_size):
                gallery.take(which, step)
                bar.update()
        gallery.decode()
