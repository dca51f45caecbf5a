"""What both commands do with a command line that is understood."""

import argparse
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import mlx.core as mx
from tqdm import tqdm

from ..jobs.events import Answer, Event
from ..jobs.files import Output
from ..jobs.model import Model
from ..jobs.painting import paint, show_plan
from ..jobs.redraw import redraw
from ..pipeline import StableDiffusion
from .arguments import model_of, request_of, view_of

if TYPE_CHECKING:
    from ..jobs.ranks import Ranks


def job(args: argparse.Namespace, ranks: "Ranks | None" = None) -> Generator[Event, None, None]:
    """All of it, as events; ranks: the processes that share it. Raises what `paint` and `redraw` raise."""
    if args.print_parser:
        yield from (Answer(f"{name} = {value!r}") for name, value in sorted(vars(args).items()))
    output = Output(args.output, args.overwrite)
    first = ranks is None or ranks.first
    if (args.redraw or args.plan) and not first:
        return
    if args.redraw:
        model = model_of(args) | ({} if args.model is None else {"name": args.model})
        yield from redraw(Path(args.redraw), view_of(args), output, model)
        return
    request = yield from request_of(args)
    if args.plan:
        yield from show_plan(request, request.model.planner(), output, args.low_memory)
        return
    if ranks is not None:
        request = ranks.agreed(request)
    sd = _loaded(request.model, args.preload_models, args.low_memory)
    yield from paint(request, sd, output, ranks)


def _loaded(model: Model, at_once: bool, low_memory: bool) -> StableDiffusion:
    """The model, all of its weights read at once if that is wanted."""
    sd = model.load(low_memory)
    if at_once:
        for net in tqdm(sd.nets.values(), desc="loading", unit="net", leave=False):
            mx.eval(net.parameters())
    return sd
