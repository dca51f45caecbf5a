"""How a command starts: a stop is one word, and so is a library that is missing, while all of it is imported."""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

STOPS = (signal.SIGINT, signal.SIGTERM)
Command = Callable[[Sequence[str] | None, Callable[[], None]], int]


def started(load: Callable[[], Command], argv: Sequence[str] | None = None) -> int:
    """Run a command, which `load` imports. Returns its exit status.

    The command is called with argv, and with a function to call once all is imported: from then on it takes Ctrl-C
    itself. A caller may have blocked SIGINT and SIGTERM until here.
    """
    before = {number: signal.getsignal(number) for number in STOPS}
    for number, handler in before.items():
        if handler in (signal.default_int_handler, signal.SIG_DFL):  # which imports may swallow: they take a second
            _take(number, stopped)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)

    def ready() -> None:
        _take(signal.SIGINT, before[signal.SIGINT])  # from here on the job takes both

    try:
        return load()(argv, ready)
    except ImportError as error:  # of what MLX runs on, most likely
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        for number, handler in before.items():
            _take(number, handler)


def _take(number: int, handler: Any) -> None:
    with suppress(ValueError):  # outside of the main thread, where signals do not come
        signal.signal(number, handler)


def stopped(number: int, *_: Any) -> None:
    """End at once: nothing has been begun."""
    os.write(2, b"stopped\n")
    os._exit(128 + number)  # 130 for Ctrl-C, 143 for SIGTERM, as a shell has it
