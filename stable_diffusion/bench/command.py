"""The command line of the bench: python -m stable_diffusion.bench."""

import argparse
import json
import sys
from collections.abc import Generator, Sequence
from typing import Any

import mlx.core as mx

from ..cli.parser import reading
from ..cli.terminal import run
from ..diffusion.spacing import SPACINGS
from ..jobs.events import Answer, Event, Note, Progress
from ..jobs.model import QUANTIZE
from ..values import whole
from .approximations import approximations_table
from .estimates import PHASES, Compared, comparison, said
from .families import FAMILIES
from .figures import Figure, block, table
from .machine import machine
from .nets import WHAT
from .quantized import KINDS, layers_table, quantized_table
from .samplers import errors_table, samplers_error
from .workers import PROGRAMS, Measured, Work, check_there, measure

PAGES = ("nets", "memory", "samplers", "quantized", "approximations")
OURS_ALONE = ("triangle",)  # what torch's side has no counterpart of
SIDES = [512, 768, 1024]
COUNT = reading(whole(1).strictly().read)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print tables. Returns the exit status."""
    args = _parser().parse_args(_with_page(argv))
    pages = {
        "nets": _nets,
        "memory": _memory,
        "samplers": _samplers,
        "quantized": _quantized,
        "approximations": _approximations,
    }
    return run(lambda: pages[args.page](args))


def _with_page(argv: Sequence[str] | None) -> list[str]:
    """The words, with the first page where none is named."""
    words = list(sys.argv[1:] if argv is None else argv)
    return words if words[:1] and words[0] in (*PAGES, "-h", "--help") else ["nets", *words]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m stable_diffusion.bench",
        description="What nets, samplers and fewer bits cost, measured. Without a page it is nets.",
        allow_abbrev=False,
    )
    pages = parser.add_subparsers(dest="page", required=True)
    page = pages.add_parser("nets", help="time and memory of full-size nets with random weights", allow_abbrev=False)
    add = page.add_argument
    add("--family", choices=list(FAMILIES), default="sd1.5", help="the shapes of the nets (default: %(default)s)")
    add("--size", type=reading(whole(64).strictly().read), metavar="PIXELS", help="a side (default: the family's own)")
    half = add("--float16", action=argparse.BooleanOptionalAction, help="half precision (default: on a GPU)")
    half.default = None
    add("--runs", type=COUNT, default=3, metavar="N", help="how often each is measured (default: %(default)s)")
    add("--steps", type=COUNT, default=4, metavar="N", help="of whole runs (default: %(default)s)")
    add("--only", nargs="+", choices=WHAT, default=WHAT, metavar="WHAT", help=f"some of {', '.join(WHAT)}")
    add("--against", choices=["torch"], help="measure diffusers' nets of the same shapes too, in turns")
    add("--threads", type=COUNT, metavar="N", help="hold both to so many (OMP_NUM_THREADS)")
    form = page.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON instead of a table")
    form.add_argument("--report", action="store_true", help="print what to paste into a bug report")
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
    return parser


def _samplers(args: argparse.Namespace) -> Generator[Event, None, None]:
    yield Answer(errors_table(samplers_error(args.spacing, args.points)))


def _quantized(args: argparse.Namespace) -> Generator[Event, None, None]:
    yield Answer(layers_table((*args.kinds, 4)[0]) if args.layers else quantized_table(args.kinds or KINDS))


def _approximations(args: argparse.Namespace) -> Generator[Event, None, None]:
    yield from map(Answer, approximations_table(args.steps, args.rounds, args.side))


def _check_sizes(*sizes: int) -> None:
    for size in sizes:
        if size % 64:
            raise ValueError(f"size is {size}: it must be a multiple of 64, so that every level has whole pixels")


def _memory(args: argparse.Namespace) -> Generator[Event, None, None]:
    """Each family at each size, one process after the other."""
    _check_sizes(*args.size)
    places = [(family, size, what) for family in args.family for size in args.size for what in args.only]
    yield Progress(0, len(places))
    rows = []
    for done, (name, size, what) in enumerate(places, start=1):
        family = FAMILIES[name]
        work = Work.of(family, what=what, size=size, float16=args.float16, steps=1, runs=1, threads=None)
        rows.append(Compared(name, size, what, said(family, what, size, args.float16), measure("mlx", work).peak))
        yield Progress(done, len(places))
    yield Answer(comparison(rows))


def _nets(args: argparse.Namespace) -> Generator[Event, None, None]:
    """Each piece of work in turns with torch's, round by round; by itself, all runs in one process."""
    family = FAMILIES[args.family]
    size, half = args.size or family.side, args.float16
    _check_sizes(size)
    half = mx.default_device() == mx.gpu if half is None else half
    sides = ["mlx"] if args.against is None else ["mlx", args.against]
    for side in sides:
        check_there(side)
    rounds, runs = (1, args.runs) if args.against is None else (args.runs, 1)
    asked = f"{args.family}, {size} x {size}, {'float16' if half else 'float32'}, {args.steps} steps, {args.runs} runs"
    asked += f", {args.threads} threads" if args.threads else ""
    total = sum(rounds * (1 if what in OURS_ALONE else len(sides)) for what in args.only)
    yield Note(asked)
    yield Progress(0, total)
    done, figures = 0, []
    for what in args.only:
        work = Work.of(family, what=what, size=size, float16=half, steps=args.steps, runs=runs, threads=args.threads)
        found: dict[str, list[Measured]] = {side: [] for side in PROGRAMS}
        for _ in range(rounds):
            for side in sides if what not in OURS_ALONE else sides[:1]:
                found[side].append(measure(side, work))
                done += 1
                yield Progress(done, total)
        figures.append(Figure(what, tuple(found["mlx"]), tuple(found["torch"])))
    yield Answer(_said(args, asked, figures))


def _said(args: argparse.Namespace, asked: str, figures: Sequence[Figure]) -> str:
    if args.json:
        said: dict[str, Any] = {"machine": machine(), "asked": asked, "figures": [f.as_json() for f in figures]}
        return json.dumps(said, indent=1)
    return block(machine(), asked, figures) if args.report else table(figures)
