"""What both commands are: options, a request, and the job that it asks for."""

import argparse
from collections.abc import Generator, Sequence
from pathlib import Path

import mlx.core as mx
from tqdm import tqdm

from ..jobs.events import Answer, Event
from ..jobs.files import Output
from ..jobs.model import Model
from ..jobs.painting import paint, show_plan
from ..jobs.redraw import redraw
from ..pipeline import StableDiffusion
from .arguments import arguments, request_of, view_of
from .options import Parser
from .terminal import run


def main(parser: Parser, argv: Sequence[str] | None) -> int:
    """Do what a command line asks for, and return the exit status."""
    args = arguments(parser, argv)
    return run(lambda: _job(args), args.verbose)


def _job(args: argparse.Namespace) -> Generator[Event, None, None]:
    if args.print_parser:
        yield from (Answer(f"{name} = {value!r}") for name, value in sorted(vars(args).items()))
    output = Output(args.output, args.overwrite)
    if args.redraw:
        named = {"name": args.model, "float16": args.float16, "quantize": args.quantize}
        model = {name: value for name, value in named.items() if value is not None}
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
