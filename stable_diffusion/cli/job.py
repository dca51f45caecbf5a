"""What both commands do with a command line that is understood."""

import argparse
from collections.abc import Generator
from pathlib import Path

import mlx.core as mx
from tqdm import tqdm

from ..jobs.events import Answer, Event
from ..jobs.files import Output
from ..jobs.model import Model
from ..jobs.painting import paint, show_plan
from ..jobs.redraw import redraw
from ..pipeline import StableDiffusion
from .arguments import model_of, request_of, view_of


def job(args: argparse.Namespace) -> Generator[Event, None, None]:
    """All of it, as events. Raises what `paint` and `redraw` raise."""
    if args.print_parser:
        yield from (Answer(f"{name} = {value!r}") for name, value in sorted(vars(args).items()))
    output = Output(args.output, args.overwrite)
    if args.redraw:
        model = model_of(args) | ({} if args.model is None else {"name": args.model})
        yield from redraw(Path(args.redraw), view_of(args), output, model)
        return
    request = yield from request_of(args)
    if args.plan:
        yield from show_plan(request, request.model.planner(), output)
    else:
        yield from paint(request, _loaded(request.model, args.preload_models), output)


def _loaded(model: Model, at_once: bool) -> StableDiffusion:
    """The model, all of its weights read at once if that is wanted."""
    sd = model.load()
    if at_once:
        for net in tqdm(sd.nets.values(), desc="loading", unit="net", leave=False):
            mx.eval(net.parameters())
    return sd
