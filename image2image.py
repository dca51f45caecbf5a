#!/usr/bin/env python3
"""Pictures of a prompt that start from a picture."""

import argparse
import sys

from stable_diffusion.cli.laboratory import (
    add_frames,
    add_laboratory,
    announce_triangle,
    watched,
    write_noising,
    write_triangle,
)
from stable_diffusion.cli.options import Parser, add_common, number, settings_of, whole
from stable_diffusion.cli.run import (
    Output,
    announce,
    decoded,
    load_model,
    multiple_of_8,
    note,
    parts,
    run,
    seed_of,
    walked,
)
from stable_diffusion.pictures.images import (
    composed,
    fitted,
    read_mask,
    read_picture,
    read_transparency,
    to_array,
    to_mask,
)


def make(args: argparse.Namespace) -> None:
    settings = settings_of(args, seed_of(args))
    original = read_picture(args.image)
    width, height = multiple_of_8(args.width, "width"), multiple_of_8(args.height, "height")
    picture = fitted(original, width, height, inside=args.fit)
    if picture.size != original.size:
        sizes = f"from {original.width} x {original.height} to {picture.width} x {picture.height}"
        note(f"note: the picture is scaled and cut {sizes}, multiples of 8")
    image = to_array(picture)
    hole = read_mask(args.mask) if args.mask else None if args.no_alpha else read_transparency(args.image)
    if hole is not None and hole.size != original.size:
        raise ValueError(
            f"the mask is {hole.width} x {hole.height}, and the picture {original.width} x {original.height}"
        )
    hole = hole and fitted(hole, width, height, inside=args.fit)
    mask = None if hole is None else to_mask(hole)

    files = Output(args, settings)
    sd = load_model(args)
    settings = sd.completed(settings, image, mask)
    plan = sd.plan(settings, image, mask)
    if args.generate_triangle:
        announce_triangle(sd, settings, image, args.generate_triangle)
    else:
        announce(args, plan, sd.calls(settings, image, mask), settings)
    if args.plan:
        return
    with files as output:
        if args.generate_triangle:
            write_triangle(sd, settings, image, mask, args, output)
            return
        if args.show_noising:
            write_noising(sd, settings, image, args, output)
        for part in parts(settings, args.batch_size):
            if plan.steps_run == 0:  # strength 0: the picture as it is
                for _ in range(part.n_images):
                    output.add(picture)
                continue
            latents = walked(watched(sd, sd.sample(part, image, mask), plan, args, output, part.n_images), plan)
            for made in decoded(sd, latents, args.decoding_batch_size):
                output.add(made if hole is None else composed(made, picture, hole))


def main(argv: list[str] | None = None) -> int:
    parser = Parser("Make pictures of a prompt, starting from a picture.")
    parser.add_argument("image", help="the picture to start from")
    parser.add_argument("prompt", help="what the new picture shows")
    group = parser.add_argument_group("how much of the picture is kept")
    start, add = group.add_mutually_exclusive_group(), group.add_argument
    start.add_argument(
        "--strength",
        type=number,
        metavar="0..1",
        help="how much may change: 0 nothing, 1 nearly everything",
    )
    start.add_argument(
        "--start-step", type=whole(), metavar="K", help="instead of a strength: leave out the first K of the steps"
    )
    add(
        "--strength-mode",
        choices=("level", "skip", "full"),
        default="level",
        help="level: start at exactly the noise of this strength, with fewer steps; full: start there, with all steps; "
        "skip: lay the steps of a whole run, and leave out the first ones (default: level)",
    )
    add("--mask", metavar="FILE", help="a picture of the same size: white is painted anew, black is kept as it is")
    add("--no-alpha", action="store_true", help="do not take the transparent part of the picture for a mask")
    add("--pure-noise", action="store_true", help="start from noise alone, without the picture")
    add("--fit", action="store_true", help="scale the picture to fit into --width x --height, instead of filling it")
    add_common(parser)
    add_frames(parser)
    add_laboratory(parser)
    return run(make, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
