#!/usr/bin/env python3
"""Pictures of a prompt that start from a picture."""

import sys

from stable_diffusion.cli.command import main as command
from stable_diffusion.cli.options import Parser, add_common, add_frames, add_laboratory, add_start, add_variations

EXAMPLES = (
    'image2image.py photo.jpg "a lit fireplace, oil painting" --strength 0.6',
    'image2image.py photo.jpg "an oil painting" -gt 0.2:1:0.2 --highlight 0.8',
)


def main(argv: list[str] | None = None) -> int:
    parser = Parser("Make pictures of a prompt, starting from a picture.", EXAMPLES)
    parser.add_argument("image", nargs="?", help="the picture to start from; with --from, - is the one in that file")
    parser.add_argument("prompt", nargs="?", help="what the new picture shows")
    add_start(parser)
    add_common(parser)
    add_variations(parser)
    add_frames(parser)
    add_laboratory(parser)
    return command(parser, argv)


if __name__ == "__main__":
    sys.exit(main())
