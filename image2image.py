#!/usr/bin/env python3
"""Pictures of a prompt that start from a picture."""

import argparse
import sys

from stable_diffusion.cli.options import Parser, add_common, settings_of
from stable_diffusion.cli.run import Output, announce, decoded, load_model, note, parts, run, seed_of, walked
from stable_diffusion.pictures.images import fitted, read_picture, to_array


def make(args: argparse.Namespace) -> None:
    settings = settings_of(args, seed_of(args))
    original = read_picture(args.image)
    picture = fitted(original, args.width, args.height, inside=args.fit)
    if picture.size != original.size:
        note(f"note: the picture is made {picture.width} x {picture.height} from {original.width} x {original.height}")
    image = to_array(picture)

    sd = load_model(args)
    settings = sd.completed(settings, image)
    plan = sd.plan(settings, image)
    announce(plan, sd.calls(settings, image), settings)
    if args.plan:
        return
    with Output(args, settings) as output:
        for part in parts(settings, args.batch_size):
            if plan.steps_run == 0:  # strength 0: the picture as it is
                for _ in range(part.n_images):
                    output.add(picture)
                continue
            latents = walked(sd.sample(part, image), plan)
            for made in decoded(sd, latents, args.decoding_batch_size):
                output.add(made)


def main(argv: list[str] | None = None) -> int:
    parser = Parser("Make pictures of a prompt that start from a picture.")
    parser.add_argument("image", help="the picture to start from")
    parser.add_argument("prompt", help="what the new picture shows")
    group = parser.add_argument_group("how much of the picture is kept")
    start, add = group.add_mutually_exclusive_group(), group.add_argument
    start.add_argument(
        "--strength", type=float, metavar="0..1", help="0 keeps the picture, 1 starts at the highest noise"
    )
    start.add_argument(
        "--start-step", type=int, metavar="K", help="instead of a strength: leave out the first K of the steps"
    )
    add(
        "--strength-mode",
        choices=("level", "skip", "full"),
        default="level",
        help="level: fewer steps from exactly that noise level; skip: all levels, less the first ones; "
        "full: all steps from exactly that level (default: level)",
    )
    add("--pure-noise", action="store_true", help="start from noise alone, with nothing of the picture in it")
    add("--fit", action="store_true", help="scale the picture to fit into --width x --height, instead of cutting it")
    add_common(parser)
    return run(make, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
