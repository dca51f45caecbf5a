#!/usr/bin/env python3
"""Pictures of a prompt."""

import os
import signal
import sys
from contextlib import suppress
from typing import Any


def main(argv: list[str] | None = None) -> int:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def take(number: int, handler: Any) -> None:
        with suppress(ValueError):  # outside of the main thread, where signals do not come
            signal.signal(number, handler)

    for number, handler in before.items():
        if handler in (signal.default_int_handler, signal.SIG_DFL):  # which Python's imports may swallow
            take(number, stopped)

    def ready() -> None:
        take(signal.SIGINT, before[signal.SIGINT])  # from here on the job takes both

    try:
        from stable_diffusion.cli.command import txt2image

        return txt2image(argv, ready)
    except ImportError as error:  # of what MLX runs on, most likely
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        for number, handler in before.items():
            take(number, handler)


def stopped(number: int, *_: Any) -> None:
    """End at once: nothing has been begun."""
    os.write(2, b"stopped\n")
    os._exit(128 + number)  # 130 for Ctrl-C, 143 for SIGTERM, as a shell has it


if __name__ == "__main__":
    sys.exit(main())
