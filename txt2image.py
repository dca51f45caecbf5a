#!/usr/bin/env python3
"""Pictures of a prompt."""

import argparse
import sys
from dataclasses import replace

from stable_diffusion.cli.laboratory import add_frames, watched
from stable_diffusion.cli.options import Parser, add_common, settings_of
from stable_diffusion.cli.run import (
    Output,
    announce,
    decoded,
    load_model,
    multiple_of_8,
    parts,
    run,
    seed_of,
    walked,
)


def make(args: argparse.Namespace) -> None:
    width, height = multiple_of_8(args.width, "width"), multiple_of_8(args.height, "height")
    settings = replace(settings_of(args, seed_of(args)), width=width, height=height)
    files = Output(args, settings)
    sd = load_model(args)
    settings = sd.completed(settings)
    plan = sd.plan(settings)
    announce(args, plan, sd.calls(settings), settings)
    if args.plan:
        return
    with files as output:
        for part in parts(settings, args.batch_size):
            latents = walked(watched(sd, sd.sample(part), plan, args, output, part.n_images), plan)
            for picture in decoded(sd, latents, args.decoding_batch_size):
                output.add(picture)


def main(argv: list[str] | None = None) -> int:
    parser = Parser("Make pictures of a prompt.")
    parser.add_argument("prompt", help="what the picture shows")
    add_common(parser)
    add_frames(parser)
    return run(make, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
