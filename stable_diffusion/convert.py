"""Another form of a model: python -m stable_diffusion.convert SOURCE TARGET."""

import sys

from .start import Command, started


def _load() -> Command:
    from .cli.converting import convert

    return convert


if __name__ == "__main__":
    sys.exit(started(_load))
