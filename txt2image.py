#!/usr/bin/env python3
"""Pictures of a prompt."""

import sys

from stable_diffusion.cli.arguments import arguments
from stable_diffusion.cli.options import Parser, add_common, add_frames, add_variations
from stable_diffusion.cli.painting import paint
from stable_diffusion.cli.run import run


def main(argv: list[str] | None = None) -> int:
    parser = Parser("Make pictures of a prompt.")
    parser.add_argument("prompt", nargs="?", help="what the picture shows")
    add_common(parser)
    add_variations(parser).add_argument(
        "--mask", metavar="FILE", help="the variations change only the part that is white in this picture"
    )
    add_frames(parser)
    return run(paint, arguments(parser, argv))


if __name__ == "__main__":
    sys.exit(main())
