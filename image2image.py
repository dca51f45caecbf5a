#!/usr/bin/env python3
"""Pictures of a prompt that start from a picture."""

import sys

from stable_diffusion.cli.arguments import arguments
from stable_diffusion.cli.options import (
    Parser,
    add_common,
    add_frames,
    add_laboratory,
    add_start,
    add_variations,
)
from stable_diffusion.cli.painting import paint
from stable_diffusion.cli.run import run


def main(argv: list[str] | None = None) -> int:
    parser = Parser("Make pictures of a prompt, starting from a picture.")
    parser.add_argument("image", nargs="?", help="the picture to start from; with --from, - is the one in that file")
    parser.add_argument("prompt", nargs="?", help="what the new picture shows")
    add_start(parser)
    add_common(parser)
    add_variations(parser)
    add_frames(parser)
    add_laboratory(parser)
    return run(paint, arguments(parser, argv))


if __name__ == "__main__":
    sys.exit(main())
