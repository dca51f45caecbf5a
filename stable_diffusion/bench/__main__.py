"""python -m stable_diffusion.bench."""

import sys

from ..start import Command, started


def _load() -> Command:
    from .command import main

    return main


if __name__ == "__main__":
    sys.exit(started(_load))
