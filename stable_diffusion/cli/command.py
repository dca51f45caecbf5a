"""What both commands are: options, a request, and the job that it asks for."""

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from .options import (
    add_common,
    add_frames,
    add_laboratory,
    add_mask_of_variations,
    add_start,
    add_variations,
)
from .parser import Parser

if TYPE_CHECKING:
    from ..jobs.ranks import Ranks

# By what mlx.launch, or MPI, tells a process which of several it is.
LAUNCHED = {"MLX_RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK"}


def _nothing() -> None:
    pass


def txt2image(argv: Sequence[str] | None, ready: Callable[[], None] = _nothing) -> int:
    """Pictures of a prompt. Returns the exit status. ready: called when all is imported, before the work begins."""
    examples = (
        'txt2image.py "a poster of mountains at night" --n_images 4 --seed 1',
        "txt2image.py --from out.png --perturb 0.3 --n_images 6 -o wander.png",
    )
    parser = Parser("Make pictures of a prompt.", examples)
    parser.add_argument("prompt", nargs="?", help="what the picture shows")
    add_common(parser)
    add_mask_of_variations(add_variations(parser))
    add_frames(parser)
    return _main(parser, argv, ready)


def image2image(argv: Sequence[str] | None, ready: Callable[[], None] = _nothing) -> int:
    """Pictures of a prompt that start from a picture. Returns the exit status; ready as above."""
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
    return _main(parser, argv, ready)


COMMANDS = {"txt2image": txt2image, "image2image": image2image}


def _main(parser: Parser, argv: Sequence[str] | None, ready: Callable[[], None]) -> int:
    args = parser.parse_args(argv)
    # Pictures, bars and nets take most of a start, and --help has ended by now.
    from .arguments import check
    from .job import job
    from .terminal import run

    check(parser, args)
    try:
        ranks = _ranks()
    except RuntimeError as error:
        parser.error(str(error))
    if ranks is None:
        return run(lambda: job(args), args.verbose, ready)
    return run(lambda: ranks.shared(lambda: job(args, ranks)), args.verbose and ranks.first, ready)


def _ranks() -> "Ranks | None":
    """The processes that share the job with this one, where it was started as one of several."""
    if LAUNCHED.isdisjoint(os.environ):
        return None
    from ..jobs.ranks import Ranks  # not where there is one

    return Ranks.here()
