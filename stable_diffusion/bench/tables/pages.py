"""The command lines of these pages."""

import argparse
from collections.abc import Callable, Generator
from typing import Any

from ...cli.parser import reading
from ...diffusion.spacing import SPACINGS
from ...jobs.events import Answer, Event, Progress
from ...jobs.model import QUANTIZE
from ...values import whole
from ..families import FAMILIES
from ..sizes import COUNT, check_sizes
from ..workers import Work, measure
from .approximations import approximations_table
from .estimates import PHASES, Compared, comparison, said
from .quantized import KINDS, layers_table, quantized_table
from .samplers import errors_table, samplers_error

SIDES = [512, 768, 1024]


def add_pages(pages: Any) -> None:
    """Their options, each page a command of its own."""
    page = pages.add_parser("memory", help="what is said of memory before work, beside what it takes")
    add = page.add_argument
    full_size = [name for name in FAMILIES if name != "demo"]
    add("--family", nargs="+", choices=list(FAMILIES), default=full_size, help=f"(default: {', '.join(full_size)})")
    side = reading(whole(64).strictly().read)
    add("--size", nargs="+", type=side, default=SIDES, metavar="PIXELS", help="sides (default: 512 768 1024)")
    add("--float16", action="store_true", help="half precision, which is slow on a CPU")
    about = f"some of {', '.join(PHASES)}, the last of which is a step with all weights there (default: all)"
    add("--only", nargs="+", choices=list(PHASES), default=list(PHASES), metavar="WHAT", help=about)
    page = pages.add_parser("samplers", help="error against network calls, of all samplers that add no noise")
    page.add_argument("--spacing", choices=sorted(SPACINGS), default="karras", help="(default: %(default)s)")
    page.add_argument("--points", type=COUNT, default=1000, metavar="N", help="walks to average (default: 1000)")
    page = pages.add_parser("quantized", help="what fewer bits do to a net's output, and to latents")
    kind = reading(QUANTIZE.read)
    page.add_argument("kinds", nargs="*", type=kind, metavar="BITS", help="(default: all but 2 and 3)")
    about = "what each kind of layer costs, in the first of BITS (default: 4)"
    page.add_argument("--layers", action="store_true", help=about)
    page = pages.add_parser("approximations", help="what --deep-cache does to pictures, and saves")
    counts = {"steps": (20, "of the demo's pictures"), "rounds": (5, "to measure"), "side": (32, "of SD 1.5's latents")}
    for name, (count, about) in counts.items():
        page.add_argument(f"--{name}", type=COUNT, default=count, metavar="N", help=f"{about} (default: {count})")


def _samplers(args: argparse.Namespace) -> Generator[Event, None, None]:
    yield Answer(errors_table(samplers_error(args.spacing, args.points)))


def _quantized(args: argparse.Namespace) -> Generator[Event, None, None]:
    yield Answer(layers_table((*args.kinds, 4)[0]) if args.layers else quantized_table(args.kinds or KINDS))


def _approximations(args: argparse.Namespace) -> Generator[Event, None, None]:
    yield from map(Answer, approximations_table(args.steps, args.rounds, args.side))


def _memory(args: argparse.Namespace) -> Generator[Event, None, None]:
    """Each family at each size, one process after the other."""
    check_sizes(*args.size)
    places = [(family, size, what) for family in args.family for size in args.size for what in args.only]
    yield Progress(0, len(places))
    rows = []
    for done, (name, size, what) in enumerate(places, start=1):
        family = FAMILIES[name]
        work = Work.of(family, what=what, size=size, float16=args.float16, steps=1, runs=1, threads=None)
        rows.append(Compared(name, size, what, said(family, what, size, args.float16), measure("mlx", work).peak))
        yield Progress(done, len(places))
    yield Answer(comparison(rows))


PAGES: dict[str, Callable[[argparse.Namespace], Generator[Event, None, None]]] = {
    "memory": _memory,
    "samplers": _samplers,
    "quantized": _quantized,
    "approximations": _approximations,
}
