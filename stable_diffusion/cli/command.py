"""What both commands are: options, a request, and the job that it asks for."""

import argparse
import os
from collections.abc import Generator, Sequence
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
from .arguments import arguments, model_of, request_of, view_of
from .options import (
    Parser,
    add_common,
    add_frames,
    add_laboratory,
    add_mask_of_variations,
    add_start,
    add_variations,
)
from .terminal import run

if TYPE_CHECKING:
    from ..jobs.ranks import Ranks

# By what mlx.launch, or MPI, tells a process which of several it is.
LAUNCHED = {"MLX_RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK"}


def txt2image(argv: Sequence[str] | None) -> int:
    """Pictures of a prompt. Returns the exit status."""
    examples = (
        'txt2image.py "a poster of mountains at night" --n_images 4 --seed 1',
        "txt2image.py --from out.png --perturb 0.3 --n_images 6 -o wander.png",
    )
    parser = Parser("Make pictures of a prompt.", examples)
    parser.add_argument("prompt", nargs="?", help="what the picture shows")
    add_common(parser)
    add_mask_of_variations(add_variations(parser))
    add_frames(parser)
    return _main(parser, argv)


def image2image(argv: Sequence[str] | None) -> int:
    """Pictures of a prompt that start from a picture. Returns the exit status."""
    examples = (
        'image2image.py photo.jpg "a lit fireplace, oil painting" --strength 0.6',
        'image2image.py photo.jpg "an oil painting" -gt 0.2:1:0.2 --highlight 0.8',
    )
    parser = Parser("Make pictures of a prompt, starting from a picture.", examples)
    parser.add_argument("image", nargs="?", help="the picture to start from; with --from, - is the one in that file")
    parser.add_argument("prompt", nargs="?", help="what the new picture shows")
    add_start(parser)
    add_common(parser)
    add_variations(parser)
    add_frames(parser)
    add_laboratory(parser)
    return _main(parser, argv)


def _main(parser: Parser, argv: Sequence[str] | None) -> int:
    args = arguments(parser, argv)
    try:
        ranks = _ranks()
    except RuntimeError as error:
        parser.error(str(error))
    if ranks is None:
        return run(lambda: _job(args), args.verbose)
    return run(lambda: ranks.shared(lambda: _job(args, ranks)), args.verbose and ranks.first)


def _ranks() -> "Ranks | None":
    """The processes that share the job with this one, where it was started as one of several."""
    if LAUNCHED.isdisjoint(os.environ):
        return None
    from ..jobs.ranks import Ranks  # not where there is one

    return Ranks.here()


def _job(args: argparse.Namespace, ranks: "Ranks | None" = None) -> Generator[Event, None, None]:
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
        yield from show_plan(request, request.model.planner(), output)
        return
    if ranks is not None:
        request = ranks.agreed(request)
    yield from paint(request, _loaded(request.model, args.preload_models), output, ranks)


def _loaded(model: Model, at_once: bool) -> StableDiffusion:
    """The model, all of its weights read at once if that is wanted."""
    sd = model.load()
    if at_once:
        for net in tqdm(sd.nets.values(), desc="loading", unit="net", leave=False):
            mx.eval(net.parameters())
    return sd
