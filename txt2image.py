#!/usr/bin/env python3
"""Pictures of a prompt."""

import sys

from stable_diffusion.cli.command import main as command
from stable_diffusion.cli.options import Parser, add_common, add_frames, add_mask_of_variations, add_variations

EXAMPLES = (
    'txt2image.py "a poster of mountains at night" --n_images 4 --seed 1',
    "txt2image.py --from out.png --perturb 0.3 --n_images 6 -o wander.png",
)


def main(argv: list[str] | None = None) -> int:
    parser = Parser("Make pictures of a prompt.", EXAMPLES)
    parser.add_argument("prompt", nargs="?", help="what the picture shows")
    add_common(parser)
    add_mask_of_variations(add_variations(parser))
    add_frames(parser)
    return command(parser, argv)


if __name__ == "__main__":
    sys.exit(main())
