"""Another form of a model: python -m stable_diffusion.convert SOURCE TARGET."""

import sys

from .cli.converting import convert

if __name__ == "__main__":
    sys.exit(convert(None))
