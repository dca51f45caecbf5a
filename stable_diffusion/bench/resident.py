"""Time and peak memory of a piece of work in this process. Both sides use it; it knows neither MLX nor torch."""

import resource
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

SMALLEST = 64  # pixels a side of the run before all others
WARMED = 10.0  # seconds: a first run that takes no longer does not count


def _forget() -> None:
    """Let the peak of this process begin anew, where Linux allows it."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    """The most bytes that this process has had in memory at once."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def measured(
    once: Callable[[int], float],
    size: int,
    runs: int,
    count: tuple[Callable[[], Any], Callable[[], int]] | None = None,
) -> dict[str, Any]:
    """The seconds of runs of `once(pixels a side)`, and the peak memory meanwhile, weights and all.

    A small run goes before them, which makes the weights and compiles what is to be compiled; and one of the size asked
    for, as far as it is quick: of a long one, what only the first has to do is no part that matters.
    count: what resets and what tells the peak of a GPU's memory; None: the whole process's memory is measured.
    """
    once(min(SMALLEST, size))
    forget, peak = count or (_forget, _peak)
    forget()
    first = once(size)
    seconds = [first] if first > WARMED else []
    seconds += [once(size) for _ in range(runs - len(seconds))]
    return {"seconds": seconds, "peak": peak()}
