#!/usr/bin/env python3
"""Pictures of a prompt that start from a picture."""

import sys

from txt2image import run


def main(argv: list[str] | None = None) -> int:
    return run("image2image", argv)


if __name__ == "__main__":
    sys.exit(main())
