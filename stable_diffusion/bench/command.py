"""The command line of the bench: python -m stable_diffusion.bench."""

import argparse
import json
import sys
from collections.abc import Callable, Generator, Sequence
from importlib.util import find_spec
from typing import Any

import mlx.core as mx

from ..cli.parser import reading
from ..cli.terminal import run
from ..jobs.events import Answer, Event, Note, Progress
from ..values import whole
from .families import FAMILIES
from .figures import Figure, block, table
from .machine import machine
from .nets import WHAT
from .sizes import COUNT, check_sizes
from .workers import PROGRAMS, Measured, Work, check_there, measure

ON_TABLES = ("memory", "samplers", "quantized", "approximations")  # pages that come with a checkout alone
TABLES = find_spec(f"{__package__}.tables") is not None
OURS_ALONE = ("triangle",)  # what torch's side has no counterpart of


def main(argv: Sequence[str] | None = None, ready: Callable[[], None] = lambda: None) -> int:
    """Measure, and print tables. Returns the exit status; ready: called before the work begins."""
    words = _with_page(sys.argv[1:] if argv is None else argv)
    parser = _parser()
    if not TABLES and words[0] in ON_TABLES:
        parser.error(f"the page {words[0]} is not installed: run it in a checkout of the repository")
    args = parser.parse_args(words)
    ready()
    if args.page == "nets":
        return run(lambda: _nets(args))
    from .tables import PAGES

    return run(lambda: PAGES[args.page](args))


def _with_page(argv: Sequence[str]) -> list[str]:
    """The words, with the first page where none is named."""
    words = list(argv)
    return words if words[:1] and words[0] in ("nets", *ON_TABLES, "-h", "--help") else ["nets", *words]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m stable_diffusion.bench",
        description="What nets cost, measured, and more in a checkout. Without a page it is nets.",
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
    if TABLES:
        from .tables import add_pages

        add_pages(pages)
    return parser


def _nets(args: argparse.Namespace) -> Generator[Event, None, None]:
    """Each piece of work in turns with torch's, round by round; by itself, all runs in one process."""
    family = FAMILIES[args.family]
    size, half = args.size or family.side, args.float16
    check_sizes(size)
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
