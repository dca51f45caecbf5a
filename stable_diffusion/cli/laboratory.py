"""Seeing the steps: frames of a run, the way up to its start, and triangles of strengths."""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

import mlx.core as mx
from tqdm import tqdm

from ..diffusion.plan import Plan
from ..diffusion.samplers import Step
from ..pictures.images import to_picture
from ..pictures.sheet import Cell, strip, triangle
from ..pipeline import StableDiffusion
from ..settings import CompleteSettings, Settings
from .options import Parser, number, whole
from .run import Output, tell


def add_frames(parser: Parser) -> None:
    """Options that show the steps of any run."""
    add = parser.add_argument_group("seeing the steps").add_argument
    add(
        "-sd",
        "--show_denoising",
        type=whole(1),
        metavar="N",
        help="a picture of every N-th step, and a strip of them all",
    )
    add("--save_last_N", type=whole(1), metavar="N", help="a picture of each of the last N steps, to choose the best")
    add(
        "--frames",
        choices=("noisy", "clean"),
        default="noisy",
        help="show what a step has come to, noise and all, or what it takes for the finished picture (default: noisy)",
    )


def add_laboratory(parser: Parser) -> None:
    """Options that show image-to-image."""
    add = parser.add_argument_group("seeing image-to-image").add_argument
    add(
        "--show-noising",
        choices=("ray", "chain", "inversion"),
        help="a strip of the way from the picture up to the start: with one noise, with noise added bit by bit, or "
        "without noise, by following the model backwards",
    )
    add(
        "-gt",
        "--generate_triangle",
        nargs="?",
        const="0.2,0.4,0.6,0.8,1",
        type=strengths,
        metavar="STRENGTHS",
        help="a sheet of all steps at many strengths: 0.1,0.5,0.9, or 5 for five of them up to 1 (default: 5)",
    )
    add(
        "--triangle-align",
        choices=("left", "right"),
        default="left",
        help="left: the noised pictures in one column; right: the finished ones (default: left)",
    )


def strengths(text: str) -> tuple[float, ...]:
    """Strengths between commas, or a count of them, evenly up to 1. Raises ArgumentTypeError."""
    if "," not in text and text.strip().isdigit() and int(text) > 1:
        n = whole(2, 100)(text)
        return tuple((k + 1) / n for k in range(n))
    values = tuple(number(word) for word in text.split(","))
    for value in values:
        if not 0 <= value <= 1:
            raise argparse.ArgumentTypeError(f"the strength {value:g} is not from 0 to 1")
    return values


def label(step: Step) -> str:
    """The line under a step's picture."""
    return f"{'start' if step.index < 0 else step.index + 1}: sigma {step.sigma:.2f}"


def watched(
    sd: StableDiffusion, steps: Iterator[Step], plan: Plan, args: argparse.Namespace, output: Output, n_images: int
) -> Iterator[Step]:
    """The same steps; the frames that were asked for are written on the way, and their strips at the end or Ctrl-C."""
    first = output.count
    strips: list[list[Cell]] = [[] for _ in range(n_images)]
    try:
        for step in steps:
            number = step.index + 1
            shown = bool(args.show_denoising) and (number % args.show_denoising == 0 or number == plan.steps_run)
            if shown or (args.save_last_N and number > plan.steps_run - args.save_last_N):
                for k, latents in enumerate(_rows(step)):
                    picture = to_picture(sd.frame(latents, args.frames)[0])
                    output.beside(picture, first + k, f"-step{number:0{len(str(plan.steps_run))}}")
                    if shown:
                        strips[k].append(Cell(picture, label(step)))
            yield step
    finally:
        for k, cells in enumerate(strips):
            if cells:
                output.beside(strip(cells), first + k, "-steps")


def _rows(step: Step) -> Iterator[Step]:
    """A step of each picture alone."""
    for k in range(step.x.shape[0]):
        yield replace(step, x=step.x[k : k + 1], clean=step.clean[k : k + 1])


def write_noising(
    sd: StableDiffusion, settings: Settings, image: mx.array, args: argparse.Namespace, output: Output
) -> None:
    """The strip of the way up."""
    steps = sd.noising(replace(settings, n_images=1), image, args.show_noising)
    frames = tqdm(steps, desc="decoding", unit="picture", leave=False)
    cells = [Cell(to_picture(sd.frame(step)[0]), f"sigma {step.sigma:.2f}") for step in frames]
    output.beside(strip(cells), None, f"-{args.show_noising}")


def announce_triangle(
    sd: StableDiffusion, settings: CompleteSettings, image: mx.array, values: Sequence[float]
) -> None:
    """The plan of every row."""
    for value in values:
        row = replace(settings, strength=value, start_step=None)
        tell(f"strength {value:g}: {sd.plan(row, image)}")


def write_triangle(
    sd: StableDiffusion,
    settings: Settings,
    image: mx.array,
    mask: mx.array | None,
    args: argparse.Namespace,
    output: Output,
) -> None:
    """The sheet of all rows, and each row's finished picture."""
    values = args.generate_triangle
    rows = sd.triangle(settings, image, values, mask, args.batch_size)
    cells = []
    for row in tqdm(rows, desc="decoding", unit="row", leave=False):
        cells.append([Cell(to_picture(sd.frame(step, _kind(step, args))[0]), label(step)) for step in row])
    headings = [f"strength {value:g}" for value in values]
    original = Cell(to_picture(image / 2 + 0.5), "original")
    output.beside(triangle(cells, headings, original, args.triangle_align), None, "-triangle")
    for value, row_cells in zip(values, cells, strict=True):
        output.beside(row_cells[-1].picture, None, f"-strength{value:g}")


def _kind(step: Step, args: argparse.Namespace) -> Literal["noisy", "clean"]:
    # The start has no estimate of its own yet, and the last step's is the picture itself.
    return "clean" if args.frames == "clean" and step.index >= 0 else "noisy"
