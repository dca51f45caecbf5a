#!/usr/bin/env python3
"""Pictures of a prompt."""

import os
import signal
import sys
from contextlib import suppress
from typing import Any


def main(argv: list[str] | None = None) -> int:
    return started("txt2image", argv)


def started(name: str, argv: list[str] | None) -> int:
    """Run a command of the package. It is imported here, so that Ctrl-C and a missing MLX are one line each."""
    before = signal.getsignal(signal.SIGINT)
    with suppress(ValueError):  # outside of the main thread, where signals do not come
        if before is signal.default_int_handler:  # which Python's imports may swallow: they take a second
            signal.signal(signal.SIGINT, stopped)

    def ready() -> None:
        with suppress(ValueError):
            signal.signal(signal.SIGINT, before)

    try:
        from stable_diffusion.cli.command import COMMANDS

        return COMMANDS[name](argv, ready)
    except ImportError as error:  # of what MLX runs on, most likely
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        ready()


def stopped(*_: Any) -> None:
    """End at once: nothing has been begun."""
    os.write(2, b"stopped\n")
    os._exit(130)


if __name__ == "__main__":
    sys.exit(main())
