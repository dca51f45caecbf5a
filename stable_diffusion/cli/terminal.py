"""What both commands do around a job: messages, bars, and the exit status. Nothing else prints."""

import sys
import time
import warnings
from collections.abc import Callable, Generator
from typing import Any

import mlx.core as mx
from tqdm import tqdm

from .. import backend
from ..jobs.events import Answer, Event, Note, Progress

INTERRUPTED = 130  # the shell's own status for Ctrl-C


def note(text: str) -> None:
    """One line for the person, out of the way of what may be piped."""
    tqdm.write(text, file=sys.stderr)


def tell(text: str) -> None:
    """One line of the result."""
    tqdm.write(text, file=sys.stdout)


def show(events: Generator[Event, None, None]) -> None:
    """Show what a job says as it says it. Ctrl-C, wherever it comes, lets the job keep what is finished."""
    steps: tqdm[Any] | None = None
    stop: KeyboardInterrupt | None = None
    try:
        while True:
            event = next(events) if stop is None else events.throw(stop)
            stop = None
            try:
                if isinstance(event, Progress):
                    if steps is None:
                        steps = tqdm(total=event.total, desc="steps", unit="step", leave=False)
                    steps.update(event.done - steps.n)
                elif isinstance(event, Note):
                    note(event.text)
                else:
                    tell(event.text if isinstance(event, Answer) else str(event.path))
            except KeyboardInterrupt as pressed:  # while it was being shown
                stop = pressed
    except StopIteration:
        pass
    finally:
        if steps is not None:
            steps.close()


def run(job: Callable[[], Generator[Event, None, None]], verbose: bool = False) -> int:
    """Do a job, show it, and turn what goes wrong into one sentence and an exit status."""
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *_, **__: note(f"note: {message}")
        try:
            if backend.advice:
                note(f"note: {backend.advice}")
            show(job())
        except KeyboardInterrupt:
            note("stopped")
            return INTERRUPTED
        except MemoryError as error:
            note(
                f"error: {error}" if str(error) else "error: there is not enough memory: make fewer or smaller pictures"
            )
            return 1
        except (ValueError, ArithmeticError, OSError, RuntimeError) as error:  # RuntimeError: MLX's own
            note(f"error: {error}")
            return 1
    if verbose:
        note(f"{time.perf_counter() - started:.1f} s, at most {mx.get_peak_memory() / 2**30:.2f} GiB of memory")
    return 0
