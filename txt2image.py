#!/usr/bin/env python3
"""Pictures of a prompt."""

import signal
import sys


def main(argv: list[str] | None = None) -> int:
    return run("txt2image", argv)


def run(name: str, argv: list[str] | None) -> int:
    """Run a command of the package. A stop waits until the package can take it: see `start`."""
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        from stable_diffusion.start import Command, started
    except ImportError as error:  # of MLX, most likely
        print(f"error: {error}", file=sys.stderr)
        return 1

    def load() -> Command:
        from stable_diffusion.cli.command import COMMANDS

        return COMMANDS[name]

    return started(load, argv)


if __name__ == "__main__":
    sys.exit(main())
