"""A request, from the plan to the files."""

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..diffusion.samplers import Step
from ..pipeline import Planner, Run, StableDiffusion
from ..pipeline.laboratory import way_up
from ..pipeline.memory import Weights, check_memory, fitting, needed, precision, tight, tiling
from ..weights.nets import sized_nets
from .announcements import announcement, cautions, exactness, same_runs, summary
from .events import Answer, Event, Note, Progress
from .files import Output
from .films import check_films
from .gallery import Gallery
from .kinds import Loopback, Triangle
from .layouts import Layout, layout_of
from .loopback import Loop, each
from .pages import check_page
from .record import Record
from .request import Request

if TYPE_CHECKING:  # a process that is alone needs nothing of it
    from .ranks import Ranks


def show_plan(request: Request, planner: Planner, output: Output, low_memory: bool = False) -> Iterator[Event]:
    """What `paint` would do, without doing it: each run in a line, and all of its levels. Needs no weights.

    low_memory: each net has its weights in memory only while it works. Raises what `paint` raises, MemoryError too.
    """
    yield from (Note(f"note: {said}") for said in planner.notes)
    parts = each(request, output) if isinstance(request.view.kind, Loopback) else _apart(request, output)
    model = request.model
    nets = sized_nets(planner.description, precision(model.float16), model.quantize)
    for one, place in parts:
        yield from _show_plan(one, planner, place, Weights.of(nets, low_memory, one.model.tile))


def _show_plan(request: Request, planner: Planner, output: Output, weights: Weights) -> Iterator[Event]:
    layout = _checked_layout(request, planner, output)
    yield from map(Answer, announcement(layout, tables=True))
    yield from map(Note, cautions(request, layout))
    description, alike, dtype = planner.description, _largest(layout), precision(request.model.float16)
    weights = replace(weights, coded=_decoded_together(layout))
    if tight(description, alike, dtype, weights):
        yield Note(_in_turn(alike[0]))
        weights = replace(weights, in_turn=True)
    check_memory(description, alike, dtype, weights)
    fit = fitting(description, alike, dtype, weights, layout.batch_size)
    takes = needed(description, alike, fit.rows, dtype, weights, fit.at_once)
    how = f"{weights.beside(0) / 2**30:.2f} of it weights"
    if weights.in_turn:
        how = "each net in memory only while it works"
    if fit.at_once is not None:
        how += f", {fit.at_once} of the UNet's rows at a time"
    if said := tiling(description, alike[0], dtype, weights.tile):
        yield Note(f"note: {said}")
    yield Note(f"about {takes / 2**30:.2f} GiB of memory at the most, {how}")


def _largest(layout: Layout) -> list[Run]:
    """The runs of the largest pictures."""
    size = max((run.shape for run in layout.runs), key=math.prod)
    return [run for run in layout.runs if run.shape == size]


def _decoded_together(layout: Layout) -> int:
    return min(layout.view.decoding_batch_size or 1, len(layout.runs))


def _has_made_room(sd: StableDiffusion, layout: Layout) -> bool:
    """Let nets work in turn where there is no room for all of them. Was that so?"""
    weights = replace(sd.weights, coded=_decoded_together(layout))
    found = tight(sd.description, _largest(layout), sd.dtype, weights)
    if found:
        sd.low_memory = True
    return found


def _in_turn(run: Run) -> str:
    s = run.settings
    return (
        f"note: there is no room for all nets beside a picture of {s.width} x {s.height}: each is in memory only while "
        "it works, as with --low-memory"
    )


def paint(request: Request, sd: StableDiffusion, output: Output, ranks: "Ranks | None" = None) -> Iterator[Event]:
    """Make what a request asks for, and write it. What is finished is kept, whatever happens on the way.

    ranks: the processes that share the job, of which the first makes the files; None: there is this one alone.
    Raises ValueError, before anything is made, for what cannot be; and what `StableDiffusion.walk` raises.
    """
    yield from (Note(f"note: {said}") for said in sd.notes)
    if isinstance(request.view.kind, Loopback):
        if ranks is None or ranks.first:  # each round waits for the one before
            yield from _loop(request, sd, output)
        return
    for one, place in _apart(request, output):
        if ranks is None or ranks.first:
            yield from _paint(one, sd, place, ranks)
        else:
            layout = layout_of(one, sd.planner)
            _has_made_room(sd, layout)
            ranks.help(one, layout, sd)


def _loop(request: Request, sd: StableDiffusion, output: Output) -> Iterator[Event]:
    """Rounds of image-to-image, each of which starts from the picture that the last one made."""
    loop = Loop(request, output)

    def rounds() -> Iterator[Event]:
        for one, place in loop.rounds():
            loop.ended(place, (yield from _paint(one, sd, place)))

    yield from _closed(rounds(), loop.close)


def _closed(events: Iterator[Event], close: Callable[[], Iterator[Event]]) -> Iterator[Event]:
    """What a job says, and at its end, whatever that is, what closes it; but nothing more on a disk that is full."""
    try:
        yield from events
    except OSError:
        raise
    except (Exception, KeyboardInterrupt):
        yield from close()
        raise
    yield from close()


def _apart(request: Request, output: Output) -> Iterator[tuple[Request, Output]]:
    """The parts of a request that follow each other: a triangle has one seed, and several are one each."""
    settings, view = request.settings, request.view
    if not isinstance(view.kind, Triangle) or settings.n_images == 1:
        yield request, output
        return
    for seed in range(settings.seed, settings.seed + settings.n_images):
        ending = f"-seed{seed}"
        own = replace(view, n_images=None, animate=_ending(view.animate, ending), html=_ending(view.html, ending))
        alone = replace(settings, seed=seed, n_images=1)
        yield replace(request, settings=alone, view=own), output.under(ending)


def _ending(file: str | None, ending: str) -> str | None:
    return None if file is None else str(Path(file).with_stem(Path(file).stem + ending))


def _paint(
    request: Request, sd: StableDiffusion, output: Output, ranks: "Ranks | None" = None
) -> Generator[Event, None, Record]:
    layout = _checked_layout(request, sd.planner, output)
    if ranks is not None:
        layout = ranks.dealt(layout)
        yield from ranks.note(layout)
    if request.view.metadata and not output.keeps_settings:
        yield Note(f"note: {output.path.suffix} files keep no settings: name it .png, .jpg or .webp for --from to work")
    elif request.view.metadata and request.inputs is not None and output.path.suffix.lower() != ".png":
        yield Note(f"note: {output.path.suffix} files keep the settings, but not the picture that they started from")
    if request.view.details:
        yield from map(Note, announcement(layout, tables=False))
    else:
        yield Note(summary(request, layout))
        yield from map(Note, same_runs(layout))
    yield from (Note(f"note: {said}") for said in request.model.changed_since(sd, layout.runs))
    yield from map(Note, cautions(request, layout))
    if _has_made_room(sd, layout):
        yield Note(_in_turn(_largest(layout)[0]))
    runs = sd.begin(layout.runs)
    if layout.only is not None:
        others = len(runs) - 1
        yield Note(f"note: this picture was made together with {others} others: all are run again, for the same bits")
    if runs[0].inputs.mask is not None and request.view.metadata and request.view.originals:
        yield Note("note: the files keep the picture under the mask too; --no-source leaves it out")
    highest = max(range(len(runs)), key=lambda which: runs[which].plan.start_sigma)
    if request.view.show_noising == "inversion":
        pyramid = request.view.triangle_shape == "pyramid"
        shown = [i for i, run in enumerate(runs) if (pyramid and run.plan.steps_run) or i == highest]
        missing = [i for i in shown if runs[i].inversion is None]
        for i, run in zip(missing, sd.inverted([runs[i] for i in missing]) if missing else (), strict=True):
            runs[i] = run
    for inversion in {id(run.inversion): run.inversion for run in runs if run.inversion}.values():
        yield Note(exactness(inversion))

    gallery = Gallery(sd, runs, layout, request, output)
    walk = sd.walk if ranks is None else ranks.walking(sd, request, layout)
    yield from _closed(_walk(walk, runs, layout, request, gallery, highest), gallery.close)
    return gallery.record


def _checked_layout(request: Request, planner: Planner, output: Output) -> Layout:
    """The layout of a request, its files' names claimed. Raises ValueError for names that can't be written."""
    check_films(request.view, output)
    check_page(request.view, output)
    layout = layout_of(request, planner)
    output.claim([layout.sheet or "", *layout.endings])
    return layout


def _walk(
    walk: Callable[[Sequence[Run], int | None], Iterator[tuple[int, Step]]],
    runs: Sequence[Run],
    layout: Layout,
    request: Request,
    gallery: Gallery,
    highest: int,
) -> Iterator[Event]:
    kind, pyramid = request.view.show_noising, request.view.triangle_shape == "pyramid"
    if pyramid:
        for which, run in enumerate(runs):
            if run.plan.steps_run:
                gallery.way_in(way_up(run, kind or "ray"), which)
    elif kind:
        if len(runs) > 1:
            yield Note(f"note: the way in is that of {layout.headings[highest] or 'the first picture'}")
        steps = way_up(runs[highest], kind)
        gallery.way_in(steps, highest)
        yield from gallery.noising(steps, highest)
    for which, run in enumerate(runs):
        if run.plan.steps_run == 0:
            yield from gallery.unchanged(which)
    total = sum(run.plan.steps_run for run in runs)
    yield Progress(0, total)
    for done, (which, step) in enumerate(walk(runs, layout.batch_size), start=1):
        yield from gallery.take(which, step)
        yield Progress(done, total)
