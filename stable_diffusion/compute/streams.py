"""Work spread over the cores of a CPU.

MLX gives each of its CPU streams one thread, which does everything but the BLAS's products by itself. So work is cut
into pieces, and the pieces go to streams, as many as there are physical cores, with one BLAS thread each. On a GPU
there is one stream, which MLX keeps busy: there, pieces follow one another, so that they take memory for one alone.
"""

import ctypes
import os
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache, wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import mlx.core as mx

SHARED = 2**15  # numbers from which on rows are shared out
AT_ONCE = 4096 * 320  # and that a piece of long work has at the most

# What sets the number of a BLAS's threads, and what tells it.
_BLAS = (
    ("openblas_set_num_threads", "openblas_get_num_threads"),
    ("MKL_Set_Num_Threads", "MKL_Get_Max_Threads"),
    ("flexiblas_set_num_threads", "flexiblas_get_num_threads"),
    ("bli_thread_set_num_threads", "bli_thread_get_num_threads"),
)


class _End:
    """Lies with a thread, and goes when the thread ends.

    MLX (0.32.4) aborts when the process ends if a thread other than the main one had a default stream and did not clear
    it: six of six scripts that painted in two threads, and none with this.
    """

    def __del__(self) -> None:
        mx.clear_streams()


class _Here(threading.local):
    """What each thread knows of the work at hand."""

    exclusive = False  # does this thread have MLX to itself?
    shared: tuple[mx.Stream, ...] | None = None  # the streams that a piece has to itself; None: all

    def __init__(self) -> None:
        """Called in every thread that looks here."""
        if threading.current_thread() is not threading.main_thread():
            self.end = _End()


_here = _Here()
_lock = threading.RLock()
_made: list[mx.Stream] = []
P = ParamSpec("P")
T = TypeVar("T")
# MLX's own streams can be used in the thread that made them alone; these in any, by one thread at a time.
_new_stream: Callable[[mx.DeviceType], mx.Stream] = getattr(mx, "new_thread_unsafe_stream", mx.new_stream)


@cache
def cores() -> int:
    """Physical cores that this process may use; OMP_NUM_THREADS holds it to fewer."""
    try:
        mine = os.sched_getaffinity(0)
        topology = Path("/sys/devices/system/cpu")
        count = len({(topology / f"cpu{k}/topology/thread_siblings_list").read_text() for k in mine})
    except (AttributeError, OSError):  # another system than Linux
        count = os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        count = min(count, max(1, int(quota) // int(period)))
    except (OSError, ValueError):  # no container, or one without a limit
        pass
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return min(count, int(wanted)) if wanted.isdigit() and int(wanted) else count


def on_cpu() -> bool:
    return bool(mx.default_device() == mx.cpu)


def lanes() -> tuple[mx.Stream, ...]:
    """The streams that the work at hand may be spread over; on a GPU the one that there is."""
    if not on_cpu():
        return (mx.default_stream(mx.default_device()),)
    if _here.shared is not None:
        return _here.shared
    return _streams() if _here.exclusive else (mx.default_stream(mx.cpu), *_streams()[1:])


def _streams() -> tuple[mx.Stream, ...]:
    """One stream of the CPU for each core."""
    while len(_made) < cores():
        _made.append(_new_stream(mx.cpu))
    return tuple(_made[: cores()])


@cache
def _gpu_stream() -> mx.Stream:
    return _new_stream(mx.gpu)


@contextmanager
def exclusive() -> Iterator[None]:
    """Have MLX to oneself: other threads wait, and arrays are made on streams that every thread can go on with."""
    with _lock:
        if _here.exclusive:
            yield
            return
        _here.exclusive = True
        try:
            with mx.stream(_streams()[0]) if on_cpu() else _on_gpu():
                yield
        finally:
            _here.exclusive = False


@contextmanager
def _on_gpu() -> Iterator[None]:
    with mx.stream(_streams()[0]), mx.stream(_gpu_stream()):  # files are read on the CPU
        yield


def one_at_a_time(work: Callable[P, T]) -> Callable[P, T]:
    """A function that one thread runs at a time: see `exclusive`. An array that it returns has been calculated."""

    @wraps(work)
    def alone(*args: P.args, **named: P.kwargs) -> T:
        with exclusive():
            result = work(*args, **named)
            if isinstance(result, mx.array):
                mx.eval(result)
            return result

    return alone


def step_by_step(items: Iterator[T]) -> Iterator[T]:
    """An iterator whose every item is made by one thread at a time; others get their turn between two items."""
    try:
        while True:
            with exclusive():
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield item
    finally:
        if isinstance(items, Generator):
            with exclusive():
                items.close()


def each(work: Callable[..., mx.array], pieces: Sequence[mx.array], *others: Sequence[Any]) -> list[mx.array]:
    """`work` of every piece (and of its place in others), one stream for each, or several if there are more streams.

    Pieces of one stream follow each other strictly, so that what is between takes memory for one of them alone.
    """
    streams, results = lanes(), []
    last: dict[int, mx.array] = {}
    for k, (piece, *rest) in enumerate(zip(pieces, *others, strict=True)):
        lane = k % len(streams)
        mine = streams[k :: len(pieces)] if len(pieces) < len(streams) else (streams[lane],)
        with _alone(mine):
            if lane in last:
                piece = cast(mx.array, mx.depends(piece, last[lane]))
            last[lane] = work(piece, *rest)
        results.append(last[lane])
    return results


@contextmanager
def _alone(mine: tuple[mx.Stream, ...]) -> Iterator[None]:
    before, _here.shared = _here.shared, mine
    try:
        with mx.stream(mine[0]):
            yield
    finally:
        _here.shared = before


def cut(x: mx.array, size: int, axis: int = 1) -> list[mx.array]:
    """An array in pieces of size along an axis, the last one perhaps smaller."""
    return list(mx.split(x, list(range(size, x.shape[axis], size)), axis=axis)) if x.shape[axis] > size else [x]


def joined(parts: Sequence[mx.array], axis: int = 0) -> mx.array:
    """Pieces put together again; a single one as it is."""
    return parts[0] if len(parts) == 1 else mx.concatenate(list(parts), axis=axis)


def even(count: int) -> int:
    """As many pieces as that, or a few more, so that no stream waits for another's last one."""
    streams = len(lanes())
    return count if count < streams else -(-count // streams) * streams


def shared_out(x: mx.array) -> list[mx.array]:
    """The rows of x (B, N, ...), as many for each stream; all together on a GPU, and where there is little of them."""
    return cut(x, -(-x.shape[1] // len(lanes())) if x.size >= SHARED else x.shape[1])


def by_rows(work: Callable[..., mx.array], *arrays: mx.array, long: bool = False) -> mx.array:
    """What `work` makes of arrays (B, N, ...), of which it takes every row by itself.

    On a CPU the rows are shared out. long: it is worth it for a few rows too, and many are taken in smaller pieces, so
    that what `work` holds on its way is of one.
    """
    x = arrays[0]
    size = shared_out(x)[0].shape[1]
    if long and on_cpu():
        size = -(-x.shape[1] // even(max(len(lanes()), -(-x.size // AT_ONCE))))
    return joined(each(work, *(cut(y, size) for y in arrays)), axis=1)


def done(make: Callable[[], T]) -> T:
    """What `make` gives, an array or several.

    On a CPU it is calculated here, on all streams, with one thread of the BLAS for each.
    """
    if not on_cpu():
        return make()
    with _lock, _blas_threads(1):
        y = make()
        mx.eval(y)
    return y


def settled(arrays: Sequence[mx.array]) -> None:
    """Calculate arrays now, on a CPU as `done` does it, and on a GPU too."""
    with _lock, _blas_threads(1) if on_cpu() else nullcontext():
        mx.eval(arrays)


@contextmanager
def _blas_threads(count: int) -> Iterator[None]:
    everything = ctypes.CDLL(None)
    for setting, telling in _BLAS:
        if hasattr(everything, setting):
            before = getattr(everything, telling)()
            getattr(everything, setting)(count)
            try:
                yield
            finally:
                getattr(everything, setting)(before)
            return
    yield


def spread(net: Callable[..., mx.array]) -> Callable[..., mx.array]:
    """A net whose every call is calculated as `done` does it."""
    return lambda *arrays, **named: done(lambda: net(*arrays, **named))
