#!/usr/bin/env python3
"""Pictures of a prompt."""

import sys


def main(argv: list[str] | None = None) -> int:
    try:
        from stable_diffusion.cli.command import txt2image

        return txt2image(argv)
    except ImportError as error:  # of what MLX runs on, most likely
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # while Python was still importing, which takes a second
        print("stopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
