"""From the words of a command line to a Request. Here argparse ends."""

import argparse
import math
from collections.abc import Callable, Generator
from dataclasses import replace
from itertools import combinations, product
from typing import Any

from ..jobs.events import Note
from ..jobs.kinds import OPTION_ROWS, OPTIONS, Grid, JobKind, kind_of
from ..jobs.lines import Line, read_lines
from ..jobs.model import Model
from ..jobs.originals import Originals, read_originals, side
from ..jobs.replay import Replay, read_replay, remaining
from ..jobs.request import Request
from ..jobs.translation import RULES
from ..jobs.view import VIEW_ROWS, View
from ..pictures.reading import read_mask
from ..pipeline.planner import changed
from ..settings import ROWS, Settings, random_seed
from .parser import Parser

# Options that mean nothing without one of some others.
_STEPS = ("show_denoising", "save_last_N", "animate", "html", "generate_triangle", "save_latents")
_NEEDS = {
    "triangle_shape": ("generate_triangle", "redraw", "replay"),
    "triangle_align": ("generate_triangle", "redraw", "replay"),
    "lora_partial": ("loras", "lora_dir", "grid", "prompts", "redraw", "replay"),
    "fps": ("animate",),
    "captions": ("animate",),
    "highlight": ("generate_triangle", "redraw", "replay"),
    "frames": (*_STEPS, "redraw", "replay"),
    "preview": (*_STEPS, "show_noising", "replay"),
    "source_prompt": ("start", "show_noising", "grid", "replay"),
}
# Options that cannot both be meant.
_APART = (
    ("strength_mode", "start_time"),
    ("full_size", "fit"),
    ("low_memory", "preload_models"),
    ("strength_mode", "start_step"),
    ("image_weight", "show_noising"),
    ("full_size", "width"),
    ("full_size", "height"),
)
# What --redraw takes; everything else was decided when the file was made.
_REDRAWS = {
    "redraw", "output", "overwrite", "triangle_shape", "triangle_align", "highlight", "sheet_size", "n_rows",
    "show_denoising", "frames", "animate", "fps", "captions", "html",
    "model", "float16", "quantize", "loras", "lora_partial", "lora_dir", "vae", "embeddings", "prediction", "tile",
    "save_prompt", "originals", "print_parser", "verbose",
}  # fmt: skip


def check(parser: Parser, args: argparse.Namespace) -> None:
    """End with a usage error where something is missing in a command line, or would be ignored."""

    def given(name: str) -> bool:
        return bool(getattr(args, name, None) != parser.get_default(name))

    axes = [name for name, _ in args.grid or ()]
    if args.replay is None and args.redraw is None:
        elsewhere = axes if args.prompts is None else [*axes, "prompt"]
        positional = [a.dest for a in parser._actions if not a.option_strings and a.dest not in elsewhere]
        if missing := [name for name in positional if getattr(args, name) is None]:
            parser.error(f"the following arguments are required: {', '.join(missing)}")
    if len(axes) > 2:
        parser.error(f"--grid takes one or two settings, and not {len(axes)}")
    if len(set(axes)) < len(axes):
        parser.error(f"--grid has {axes[0]} twice")
    _check_together(parser, args, given)


def _spelled(parser: Parser, name: str) -> str:
    action = next(a for a in parser._actions if a.dest == name)
    return action.option_strings[-1] if action.option_strings else name.upper()


def _check_together(parser: Parser, args: argparse.Namespace, given: Callable[[str], bool]) -> None:
    """End with a usage error where an option would be ignored."""
    if given("redraw"):
        for name in vars(args):
            if given(name) and name not in _REDRAWS:
                parser.error(f"--redraw draws what its file has: {_spelled(parser, name)} does nothing with it")
    for name, others in _NEEDS.items():
        there = [other for other in others if hasattr(args, other)]
        if given(name) and not any(map(given, there)):
            needed = " or ".join(_spelled(parser, other) for other in there)
            parser.error(f"{_spelled(parser, name)} does nothing without {needed}")
    for one, other in (*_APART, *product(("prompts",), OPTIONS), *combinations(OPTIONS, 2)):
        if given(one) and given(other):
            parser.error(f"{_spelled(parser, one)} and {_spelled(parser, other)} do not go together")
    if (kind := _kind(args)) is not None:
        for other in sorted(filter(given, kind.contradicts)):
            one = _spelled(parser, next(filter(given, OPTIONS)))
            if isinstance(kind, Grid) and (axis := kind.axis_against(other)):
                one = f"{one} {axis}"
            parser.error(f"{one} and {_spelled(parser, other)} do not go together")
    if getattr(args, "alpha", None) and given("mask"):
        parser.error("--alpha and --mask do not go together: which of them is the mask?")


def _kind(args: argparse.Namespace) -> JobKind | None:
    """The kind of job that a command line asks for. Raises ValueError for two."""
    asked = {name: getattr(args, name, None) for name in OPTION_ROWS}
    return kind_of(asked | {"grid": None if args.grid is None else tuple(args.grid)})


def request_of(args: argparse.Namespace) -> Generator[Note, None, Request]:
    """What a command line asks for. Its args have `image` where a picture is to start from one.

    Raises ValueError for what cannot be.
    """
    from_image = hasattr(args, "image")
    replay = None if args.replay is None else (yield from read_replay(args.replay, from_image, args.lora_dir))
    model = _model(args, replay)
    view, named = view_of(args), _named(args)
    if replay is not None:
        view = view.over(remaining(replay.view, view, named))
    base = replay.settings if replay else Settings(seed=random_seed())
    settings = settings_of(args, base)
    if args.n_images is None and view.n_images is not None:
        settings = replace(settings, n_images=view.n_images)
    inputs: Originals | None = None
    if from_image:  # whose size is the picture's
        settings = replace(settings, width=None, height=None)
        height, width = model.planner().size if args.fit else (None, None)  # where a side is not named
        inputs = yield from read_originals(
            args.image,
            args.mask,
            replay,
            width=width if args.width is None else args.width,
            height=height if args.height is None else args.height,
            fit=args.fit,
            alpha=args.alpha,
            feather=view.feather,
            area=None if args.full_size or args.fit else _area(model, replay),
        )
    else:
        for name in ("width", "height"):
            if (pixels := (yield from side(getattr(args, name), name))) is not None:
                settings = replace(settings, **{name: pixels})  # type: ignore[arg-type]
        inputs = Originals(mask=read_mask(args.mask)) if args.mask else None
    return Request(
        settings=settings,
        inputs=inputs,
        model=model,
        view=view,
        lines=_lines(args, settings),
        variations=tuple(args.variation or ()),
        batch=replay.batch if replay else None,
        tool=replay.tool if replay else None,
        by_model=tuple(r for r in replay.by_model if getattr(args, RULES[r].setting) is None) if replay else (),
    )


def _lines(args: argparse.Namespace, settings: Settings) -> tuple[Line, ...]:
    """The lines of the file of prompts, each on top of what all have in common. Raises ValueError, which names one."""
    if args.prompts is None:
        return ()
    found, made = read_lines(args.prompts), []
    if args.prompt is not None and all("prompt" in asked.given for asked in found):
        raise ValueError(f"every line of {args.prompts} has its own prompt: leave {args.prompt[:40]!r} out")
    for asked in found:
        try:
            line = Line(asked.name, asked.number, changed(settings, asked.given))
        except ValueError as error:
            raise ValueError(f"{asked.name}: {error}") from None
        if not line.settings.prompt and "prompt" not in asked.given and args.prompt is None:
            raise ValueError(f"{asked.name} has no prompt, and the command line names none")
        made.append(line)
    return tuple(made)


def _area(model: Model, replay: Replay | None) -> int | None:
    """The most pixels that a picture is painted with unless more are asked for: those of the model's own size.

    A picture that is made again keeps its size.
    """
    own = math.prod(model.planner().size)
    if replay is not None and replay.recipe is not None and replay.recipe.image is not None:
        return max(own, replay.recipe.settings.width * replay.recipe.settings.height)
    return own


def _named(args: argparse.Namespace) -> set[str]:
    return {name for name, value in vars(args).items() if value is not None and value is not False}


def _model(args: argparse.Namespace, replay: Replay | None) -> Model:
    """The model that is named, or else the one of the file of --from; what lies on it stays unless it is named too."""
    if args.model == "":
        raise ValueError("--model is empty: name a model, or leave it out")
    was = None if replay is None else replay.model
    if was is None:
        if replay is not None and args.model is None:
            raise ValueError(replay.no_model)
        was = Model(loras=replay.loras if replay else ())
    known = was if args.model in (None, was.name) else was.on(args.model)
    return replace(known, **model_of(args))


def model_of(args: argparse.Namespace) -> dict[str, Any]:
    """What a command line asks for of a model, but its name."""
    lists = {name: tuple(value) for name in ("loras", "embeddings") if (value := getattr(args, name)) is not None}
    plain = ("float16", "quantize", "vae", "prediction", "lora_partial", "lora_dir", "tile")
    return {name: value for name in plain if (value := getattr(args, name)) is not None} | lists


def view_of(args: argparse.Namespace) -> View:
    """What a command line asks to see, draw and keep."""
    asked: dict[str, Any] = {name: getattr(args, name, None) for name in VIEW_ROWS if name != "n_images"}
    return View(
        **asked,
        kind=_kind(args),
        animate=args.animate,
        html=args.html,
        captions=args.captions,
        details=args.verbose,
        latents=args.save_latents,
        metadata=args.save_prompt,
        originals=getattr(args, "originals", True),
    )


def settings_of(args: argparse.Namespace, base: Settings) -> Settings:
    """The base with what a command line asks for, all but the size. Raises ValueError for what no run could have."""
    names = ROWS.keys() - {"perturb", "width", "height"}
    given = {name: value for name in ROWS if name in names and (value := getattr(args, name, None)) is not None}
    if given.get("seed") == -1:  # as other tools write it
        given["seed"] = random_seed()
    if (time := getattr(args, "start_time", None)) is not None:
        given |= {"strength": (time + 1) / 1000, "strength_mode": "full"}
    return changed(base, given)
