"""A request, from the plan to the files."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..diffusion.noising import Inversion
from ..diffusion.samplers import sampler_named
from ..pictures.animation import ENDINGS
from ..pictures.writing import check_writable
from ..pipeline import Planner, Run, StableDiffusion
from ..pipeline.laboratory import way_up
from ..pipeline.memory import check_memory, needed
from .events import Answer, Event, Note, Progress
from .files import Output
from .gallery import Gallery
from .layouts import Layout, layout_of
from .parameters import SYNTAX
from .request import Request


def show_plan(request: Request, planner: Planner, output: Output) -> Iterator[Event]:
    """What `paint` would do, without doing it: each run in a line, and all of its levels. Needs no weights.

    Raises what `paint` raises, MemoryError too.
    """
    layout = _checked_layout(request, planner, output)
    yield from map(Answer, _announcement(layout, tables=True))
    size = max((run.shape for run in layout.runs), key=math.prod)
    alike = [run for run in layout.runs if run.shape == size]
    check_memory(planner.description, alike, layout.batch_size)
    takes = needed(planner.description, alike, layout.batch_size)
    yield Note(f"about {takes / 2**30:.2f} GiB of memory at the most, besides the weights")


def paint(request: Request, sd: StableDiffusion, output: Output) -> Iterator[Event]:
    """Make what a request asks for, and write it. What is finished is kept, whatever happens on the way.

    Raises ValueError, before anything is made, for what cannot be; and what `StableDiffusion.walk` raises.
    """
    layout = _checked_layout(request, sd.planner, output)
    if request.view.metadata and not output.keeps_settings:
        yield Note(f"note: only .png files keep the settings: {output.path.name} will not")
    yield from map(Note, _announcement(layout, tables=False))
    if request.model.hash not in (None, sd.identity):
        yield Note(
            f"note: the model {request.model.name} is not what it was when {request.model.named_by} was made: "
            "the picture will differ"
        )
    yield from map(Note, _cautions(request, layout))
    runs = sd.begin(layout.runs)
    if layout.only is not None:
        others = len(runs) - 1
        yield Note(f"note: this picture was made together with {others} others: all are run again, for the same bits")
    if runs[0].inputs.mask is not None and request.view.metadata and request.view.originals:
        yield Note("note: the files keep the picture under the mask too; --no-source leaves it out")
    highest = max(range(len(runs)), key=lambda which: runs[which].plan.start_sigma)
    if request.view.show_noising == "inversion" and runs[highest].inversion is None:
        (runs[highest],) = sd.inverted([runs[highest]])
    for inversion in {id(run.inversion): run.inversion for run in runs if run.inversion}.values():
        yield Note(_exactness(inversion))

    gallery = Gallery(sd, runs, layout, request, output)
    try:
        yield from _walk(sd, runs, layout, request, gallery, highest)
    except OSError:  # the disk is full, say: no more of it
        raise
    except (Exception, KeyboardInterrupt):
        yield from gallery.close()
        raise
    yield from gallery.close()


def _checked_layout(request: Request, planner: Planner, output: Output) -> Layout:
    """The layout of a request, its files' names claimed. Raises ValueError for names that can't be written."""
    if request.view.animate:
        film = Path(request.view.animate).expanduser()
        check_writable(film, ENDINGS)
        if film.absolute() == output.path.absolute():
            raise ValueError(f"{film} is the picture and the animation: give them different names")
    layout = layout_of(request, planner)
    output.claim([layout.sheet or "", *layout.endings])
    return layout


def _walk(
    sd: StableDiffusion, runs: Sequence[Run], layout: Layout, request: Request, gallery: Gallery, highest: int
) -> Iterator[Event]:
    if kind := request.view.show_noising:
        if len(runs) > 1:
            yield Note(f"note: the way up is that of {layout.headings[highest] or 'the first picture'}")
        yield from gallery.noising(way_up(runs[highest], kind), highest)
    for which, run in enumerate(runs):
        if run.plan.steps_run == 0:
            yield from gallery.unchanged(which)
    total = sum(run.plan.steps_run for run in runs)
    yield Progress(0, total)
    for done, (which, step) in enumerate(sd.walk(runs, layout.batch_size), start=1):
        yield from gallery.take(which, step)
        yield Progress(done, total)


def _announcement(layout: Layout, tables: bool) -> Iterator[str]:
    """The plan in one line, or in one for each strength or place of a grid; with tables, all levels too."""
    alike = layout.kind in ("pictures", "children")  # which differ in their noise alone
    known: dict[tuple[float, ...], list[str]] = {}
    runs = [layout.runs[layout.only or 0]] if alike else layout.runs
    for run, heading in zip(runs, layout.headings, strict=False):
        said = _line(run, layout)
        yield said if alike else f"{heading}: {said}"
        if tables and run.plan.steps_run:
            yield run.plan.table()
        known.setdefault(run.plan.sigmas, []).append(heading)
        if alike and run.plan.strengths:
            low, high = run.plan.strengths
            text = f"every strength from {low:.4g} to just below {high:.4g} gives this same run"
            yield f"note: with --strength-mode skip, {text}"
    if layout.kind == "triangle":
        for headings in known.values():
            if len(headings) > 1:
                values = " and ".join(heading.removeprefix("strength ") for heading in headings)
                yield f"note: the strengths {values} give the same run: --strength-mode level tells them apart"


def _cautions(request: Request, layout: Layout) -> Iterator[str]:
    """What a person may expect of a request, and will not get."""
    prompts = dict.fromkeys(text for run in layout.runs for text in (run.settings.prompt, run.settings.negative_prompt))
    found = dict.fromkeys(word for prompt in prompts for word in SYNTAX.findall(prompt))
    if found and request.tool is None:
        yield f"note: {', '.join(list(found)[:3])} in the prompt is taken literally: it has no meaning of its own here"
    first = layout.runs[0].settings
    quiet = not (sampler_named(first.sampler).noise and first.eta != 0) and not first.s_churn and not first.eta
    several = layout.kind == "pictures" and layout.only is None and len(layout.runs) > 1
    if several and first.start == "inversion" and quiet:
        yield (
            f"note: these {len(layout.runs)} pictures are one and the same: an inversion has no noise that a seed "
            "could change; --perturb makes variations"
        )


def _line(run: Run, layout: Layout) -> str:
    s, n = run.settings, len(layout.runs)
    if layout.kind == "children":
        s = layout.base
    together = layout.kind == "pictures" and layout.only is None and n > 1
    seeds = f"seeds {s.seed} to {s.seed + n - 1}" if together else f"seed {s.seed}"
    if s.perturb:
        seeds += " and " + ", ".join(f"{seed}:{amount:.4g}" for seed, amount, *_ in s.perturb)
    if layout.kind == "children":
        amount = layout.view.perturb
        seeds += f", {n} variations of {amount:.4g}" if n > 1 else f", a variation of {amount:.4g}"
    times = "1 network call" if run.calls == 1 else f"{run.calls} network calls"
    if s.start == "inversion":
        times += " and those of the inversion"
    levels = s.spacing if s.sigmas is None else "levels by hand"
    return f"{run.plan}; {s.sampler}, {levels}, {times}; {s.width} x {s.height}, {seeds}"


def _exactness(inversion: Inversion) -> str:
    """How exact a way up is, in a line."""
    steps, worst = len(inversion.residuals), max(inversion.residuals, default=0.0)
    return f"inversion: {steps} steps up, each undone by the step down to within {worst:.1g} of the latents' size"
