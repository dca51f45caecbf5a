"""From a command line to its options, and to the Settings that it asks for."""

import argparse
from collections.abc import Sequence
from dataclasses import fields

from ..pipeline.planner import changed
from ..settings import Settings
from .options import Parser

# Options that mean nothing without one of some others.
_NEEDS = {
    "triangle_align": ("generate_triangle", "redraw", "source"),
    "highlight": ("generate_triangle", "redraw", "source"),
    "frames": ("show_denoising", "save_last_N", "animate", "generate_triangle", "save_latents", "redraw", "source"),
    "preview": (
        "show_denoising",
        "save_last_N",
        "animate",
        "generate_triangle",
        "save_latents",
        "show_noising",
        "source",
    ),
    "source_prompt": ("start", "show_noising", "grid", "source"),
}
# Options that cannot both be meant.
_APART = (
    ("generate_triangle", "grid"),
    ("generate_triangle", "strength"),
    ("generate_triangle", "start_step"),
    ("generate_triangle", "perturb"),
    ("grid", "perturb"),
    ("strength_mode", "start_step"),
    ("image_weight", "show_noising"),
)
# What --redraw takes; everything else was decided when the file was made.
_REDRAWS = {
    "redraw", "output", "overwrite", "triangle_align", "highlight", "sheet_size", "n_rows", "show_denoising", "frames",
    "model", "float16", "quantize", "save_prompt", "source_picture", "print_parser", "verbose",
}  # fmt: skip


def arguments(parser: Parser, argv: Sequence[str] | None) -> argparse.Namespace:
    """The options of a command line. Ends with a usage error where something is missing, or would be ignored."""
    args = parser.parse_args(argv)
    if args.source is None and args.redraw is None:
        in_grid = {name for name, _ in args.grid or ()}
        positional = [a.dest for a in parser._actions if not a.option_strings and a.dest not in in_grid]
        if missing := [name for name in positional if getattr(args, name) is None]:
            parser.error(f"the following arguments are required: {', '.join(missing)}")
    check_together(parser, args)
    return args


def check_together(parser: Parser, args: argparse.Namespace) -> None:
    """End with a usage error where an option would be ignored."""

    def given(name: str) -> bool:
        value = getattr(args, name, None)
        return value is not None and value is not False

    def spelled(name: str) -> str:
        action = next(a for a in parser._actions if a.dest == name)
        return action.option_strings[-1] if action.option_strings else name.upper()

    if given("redraw"):
        for name in vars(args):
            if given(name) and name not in _REDRAWS:
                parser.error(f"--redraw draws what its file has: {spelled(name)} does nothing with it")
    for name, others in _NEEDS.items():
        there = [other for other in others if hasattr(args, other)]
        if given(name) and not any(map(given, there)):
            parser.error(f"{spelled(name)} does nothing without {' or '.join(map(spelled, there))}")
    for one, other in _APART:
        if given(one) and given(other):
            parser.error(f"{spelled(one)} and {spelled(other)} do not go together")
    if given("fit") and not (given("width") and given("height")):
        parser.error("--fit needs both --width and --height")
    for name in [name for name, _ in args.grid or ()]:
        alike = {"strength": "start_step", "start_step": "strength", "perturb": "variation"}
        for flag in (name, alike.get(name, name)):
            if given(flag):
                parser.error(f"--grid {name} and {spelled(flag)} do not go together")
    if given("grid") and len(args.grid) > 2:
        parser.error(f"--grid takes one or two settings, and not {len(args.grid)}")
    if given("grid") and len(args.grid) == 2 and args.grid[0][0] == args.grid[1][0]:
        parser.error(f"--grid has {args.grid[0][0]} twice")


def settings_of(args: argparse.Namespace, base: Settings) -> Settings:
    """The base with what a command line asks for, all but the size. Raises ValueError for what no run could have."""
    names = [field.name for field in fields(Settings) if field.name not in ("perturb", "width", "height")]
    given = {name: getattr(args, name) for name in names if getattr(args, name, None) is not None}
    for name in ("prompt", "negative_prompt", "source_prompt"):
        try:
            given.get(name, "").encode()
        except UnicodeEncodeError:
            raise ValueError(f"the prompt {given[name]!r} holds bytes that are no text") from None
    return changed(base, given)
