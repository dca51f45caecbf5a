"""python -m stable_diffusion txt2image|image2image|bench ...: the commands, where their scripts are not at hand."""

import sys
from collections.abc import Callable

from .cli import command


def _bench(words: list[str]) -> int:
    from .bench import main  # and with it all of the package, which --help of the others does without

    return main(words)


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    **command.COMMANDS,
    "bench": _bench,
}


def main(argv: list[str]) -> int:
    """Run the command that is named first. Returns the exit status; 2 for one that is not there."""
    name, *words = argv or [""]
    if name not in COMMANDS:
        print(f"usage: python -m stable_diffusion {{{','.join(COMMANDS)}}} ...", file=sys.stderr)
        return 0 if name in ("-h", "--help") else 2
    return COMMANDS[name](words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
