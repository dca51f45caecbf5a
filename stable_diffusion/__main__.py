"""python -m stable_diffusion txt2image|image2image|convert|bench ...: the commands, without their scripts."""

import sys

from .start import Command, started

NAMES = ("txt2image", "image2image", "convert", "bench")


def main(argv: list[str]) -> int:
    """Run the command that is named first. Returns the exit status; 2 for one that is not there."""
    name, *words = argv or [""]
    if name not in NAMES:
        print(f"usage: python -m stable_diffusion {{{','.join(NAMES)}}} ...", file=sys.stderr)
        return 0 if name in ("-h", "--help") else 2
    return started(lambda: _command(name), words)


def _command(name: str) -> Command:
    """A command, and with it no more of the package than it needs."""
    if name == "bench":
        from .bench import main as bench

        return bench
    if name == "convert":
        from .cli.converting import convert

        return convert
    from .cli.command import COMMANDS

    return COMMANDS[name]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
