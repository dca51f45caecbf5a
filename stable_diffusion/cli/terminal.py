"""What both commands do around a job: messages, bars, and the exit status. Nothing else prints."""

import contextlib
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterator
from typing import Any

import mlx.core as mx
from tqdm import tqdm

from .. import backend
from ..jobs.events import Answer, Event, Note, Progress
from ..values import line

INTERRUPTED = 130  # the shell's own status for Ctrl-C
TERMINATED = 143  # and for SIGTERM


# Its own lock is made at the first line that is said, by an import that a signal must not come into.
tqdm.set_lock(threading.RLock())


class Terminated(KeyboardInterrupt):
    """SIGTERM came: what is finished is kept, as after Ctrl-C."""


class _Streams:
    """Standard output and error, which may be closed, full, or read by nobody: that is no reason to stop painting."""

    def __init__(self) -> None:
        self.lost = False  # something that was asked for could not be said

    def write(self, text: str, name: str) -> None:
        stream = getattr(sys, name)
        if stream is None:  # closed before the program began
            return
        try:
            tqdm.write(text, file=stream)
            stream.flush()
        except UnicodeEncodeError:  # a terminal of another alphabet
            with contextlib.suppress(OSError, ValueError):
                stream.write(text.encode(stream.encoding, "backslashreplace").decode(stream.encoding) + "\n")
        except RuntimeError as error:  # tqdm lets go of its lock even where it was stopped before it had it
            if isinstance(error.__context__, KeyboardInterrupt):
                raise error.__context__ from None
            raise
        except BrokenPipeError:  # the reader has seen enough
            self._close(name)
        except (OSError, ValueError):
            self.lost |= name == "stdout"
            self._close(name)

    @staticmethod
    def _close(name: str) -> None:
        """Let no later write, nor Python at its end, stumble over it again."""
        setattr(sys, name, None)


_streams = _Streams()


def note(text: str) -> None:
    """One line for the person, out of the way of what may be piped."""
    _streams.write(line(text), "stderr")


def tell(text: str) -> None:
    """One line of the result."""
    _streams.write(text, "stdout")


def show(events: Generator[Event, None, None], pressed: list[KeyboardInterrupt] | None = None) -> None:
    """Show what a job says as it says it. Ctrl-C, wherever it comes, lets the job keep what is finished.

    pressed: the stops that have come so far, raised or not. A job that goes on stepping after one never saw it: native
    code swallows what is raised in a Python function that it calls.
    """
    steps: tqdm[Any] | None = None
    stop: KeyboardInterrupt | None = None
    try:
        while True:
            event = next(events) if stop is None else events.throw(stop)
            stop = None
            try:
                if isinstance(event, Progress):
                    if pressed:
                        stop = pressed.pop()
                        continue
                    if event.total == 0:  # nothing is run, and there is nothing to count
                        continue
                    if steps is None:
                        quiet = sys.stderr is None
                        steps = tqdm(total=event.total, desc="steps", unit="step", leave=False, disable=quiet)
                    steps.update(event.done - steps.n)
                elif isinstance(event, Note):
                    note(event.text)
                else:
                    tell(event.text if isinstance(event, Answer) else str(event.path))
            except KeyboardInterrupt as shown:  # while it was being shown
                stop = shown
                if pressed:
                    pressed.clear()
    except StopIteration:
        pass
    finally:
        if steps is not None:
            steps.close()


def _fill_closed_descriptors() -> None:
    """Put /dev/null where a shell has closed a standard stream, or a file of weights would be opened in its place."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


@contextlib.contextmanager
def _stoppable(ready: Callable[[], None]) -> Iterator[list[KeyboardInterrupt]]:
    """For as long as it lasts, SIGTERM ends what is done as Ctrl-C would, and both are kept in a list as they come.

    ready: called once SIGTERM is caught; it may give SIGINT its handler back.
    """
    pressed: list[KeyboardInterrupt] = []

    def stopped(number: int, *_: object) -> None:
        pressed.append(Terminated() if number == signal.SIGTERM else KeyboardInterrupt())
        raise pressed[-1]

    before: dict[int, Any] = {}
    try:
        with contextlib.suppress(ValueError):  # outside of the main thread, where signals do not come
            before[signal.SIGTERM] = signal.signal(signal.SIGTERM, stopped)
        ready()
        if before and signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where a shell ignores it
            before[signal.SIGINT] = signal.signal(signal.SIGINT, stopped)
        yield pressed
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run(
    job: Callable[[], Generator[Event, None, None]], verbose: bool = False, ready: Callable[[], None] = lambda: None
) -> int:
    """Do a job, show it, and turn what goes wrong into one sentence and an exit status.

    ready: called once Ctrl-C and SIGTERM are caught here.
    """
    started = time.perf_counter()
    _streams.lost = False
    _fill_closed_descriptors()
    with warnings.catch_warnings(), contextlib.ExitStack() as stack:
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *_, **__: note(f"note: {message}")
        try:
            pressed = stack.enter_context(_stoppable(ready))
            if backend.advice:
                note(f"note: {backend.advice}")
            show(job(), pressed)
        except KeyboardInterrupt as stop:
            note("stopped")
            return TERMINATED if isinstance(stop, Terminated) else INTERRUPTED
        except MemoryError as error:
            note(
                f"error: {error}" if str(error) else "error: there is not enough memory: make fewer or smaller pictures"
            )
            return 1
        except (ValueError, ArithmeticError, OSError, RuntimeError) as error:  # RuntimeError: MLX's own
            note(f"error: {error}")
            return 1
    if _streams.lost:
        note("error: not all that was asked for could be written to standard output")
        return 1
    if verbose:
        note(f"{time.perf_counter() - started:.1f} s, at most {mx.get_peak_memory() / 2**30:.2f} GiB of memory")
    return 0
