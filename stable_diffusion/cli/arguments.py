"""From a command line to its options, and to the Settings that it asks for."""

import argparse
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

from ..diffusion.aliases import sampler_name
from ..settings import Settings
from .options import Parser

# Options that mean nothing without one of some others.
_NEEDS = {
    "triangle_align": ("generate_triangle", "redraw"),
    "highlight": ("generate_triangle", "redraw"),
    "frames": ("show_denoising", "save_last_N", "animate", "generate_triangle", "save_latents", "redraw"),
    "preview": ("show_denoising", "save_last_N", "animate", "generate_triangle", "save_latents", "show_noising"),
    "feather": ("mask", "source"),
}
# Options that cannot both be meant.
_APART = (
    ("generate_triangle", "grid"),
    ("generate_triangle", "strength"),
    ("generate_triangle", "start_step"),
    ("generate_triangle", "perturb"),
    ("grid", "perturb"),
    ("redraw", "source"),
    ("redraw", "plan"),
)


def arguments(parser: Parser, argv: Sequence[str] | None) -> argparse.Namespace:
    """The options of a command line. Ends with a usage error where something is missing, or would be ignored."""
    args = parser.parse_args(argv)
    if args.source is None and args.redraw is None:
        positional = [a.dest for a in parser._actions if not a.option_strings]
        if missing := [name for name in positional if getattr(args, name) is None]:
            parser.error(f"the following arguments are required: {', '.join(missing)}")
    check_together(parser, args)
    return args


def check_together(parser: Parser, args: argparse.Namespace) -> None:
    """End with a usage error where an option would be ignored."""

    def given(name: str) -> bool:
        return getattr(args, name, None) not in (None, False)

    def spelled(name: str) -> str:
        action = next(a for a in parser._actions if a.dest == name)
        return action.option_strings[-1] if action.option_strings else name.upper()

    for name, others in _NEEDS.items():
        there = [other for other in others if hasattr(args, other)]
        if given(name) and not any(map(given, there)):
            parser.error(f"{spelled(name)} does nothing without {' or '.join(map(spelled, there))}")
    for one, other in _APART:
        if given(one) and given(other):
            parser.error(f"{spelled(one)} and {spelled(other)} do not go together")
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
    plain = Settings(**{field.name: getattr(base, field.name) for field in fields(Settings)})
    instead: dict[str, Any] = {}
    if "strength" in given:
        instead["start_step"] = None
    if "start_step" in given:
        instead["strength"] = None
    if "sampler" in given and sampler_name(given["sampler"])[1]:
        instead["spacing"] = None
    if {"sigmas", "times"} & given.keys():
        instead |= {"sigmas": None, "times": None, "steps": None, "spacing": None}
    elif {"steps", "spacing"} & given.keys():
        instead |= {"sigmas": None, "times": None}
    if plain.sigmas is not None and "sigmas" not in instead:  # the count of them, which nobody set
        instead |= {"steps": None, "spacing": None}
    return replace(plain, **instead | given)
