"""A job that several processes share, on one machine or many, as `mlx.launch` starts them.

Every rank reads the same request, plans the same runs, and walks its share of them; after each network call all tell
each other what steps they have made. The first rank alone shows, writes and says what comes of it. Where one fails, or
is gone, all end, and the first writes what is finished.
"""

import contextlib
import hashlib
import json
import math
import os
import queue
import signal
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import mlx.core as mx

from ..diffusion.samplers import Step
from ..pictures.images import digest
from ..pipeline import Run, StableDiffusion
from .events import Event, Note
from .layouts import Layout
from .model import Model
from .request import Request

LOST = "another rank has died or cannot be reached: what was finished is saved"
# Seconds that others may be silent: while they load a model or write a film; and between two steps, besides some
# twenty times what this rank needs for its own.
LONG, SHORT, SLOWER = 6 * 3600.0, 600.0, 20.0
Move = tuple[int, Step]  # which run, and its step
Walk = Callable[[Sequence[Run], int | None], Iterator[Move]]
Told = tuple[dict[str, Any], mx.array]  # what one rank says: words, and numbers (N,) float32


class Lost(RuntimeError):
    """A rank does not answer."""


class Elsewhere(RuntimeError):
    """A rank has failed, and has said why."""


class Ranks:
    """The processes that share a job, seen from one of them."""

    def __init__(self, group: mx.distributed.Group) -> None:
        self.rank, self.size = group.rank(), group.size()
        self._over = False  # the others have ended, or are about to
        self._slowest = 0.0  # of this rank's own calls, in seconds
        self._said = 0  # how often
        self._asked: queue.SimpleQueue[tuple[int, mx.array]] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[tuple[int, list[mx.array] | None]] = queue.SimpleQueue()
        threading.Thread(target=self._tell, args=(group,), daemon=True).start()

    @classmethod
    def here(cls) -> "Ranks | None":
        """Those that this process is one of; None where it is alone. Raises RuntimeError where they cannot talk."""
        if "NCCL_HOST_IP" in os.environ:  # which tells of arrays on GPUs alone
            raise RuntimeError("ranks cannot share pictures by NCCL: give mlx.launch --backend ring")
        group = mx.distributed.init()
        return cls(group) if group.size() > 1 else None

    @property
    def first(self) -> bool:
        return self.rank == 0

    # A job

    def shared(self, job: Callable[[], Iterator[Event]]) -> Generator[Event, None, None]:
        """What a job says, on the first rank; on the others nothing. All end together.

        Raises, on the first rank, what its own job raises, and RuntimeError for what ended it elsewhere.
        """
        try:
            if self.first:
                yield from job()
            else:
                warnings.simplefilter("ignore")
                for _ in job():
                    pass
            self._round({"state": "end"}, patience=LONG)
        except (Exception, KeyboardInterrupt) as error:
            there = self._left(str(error) or type(error).__name__)
            if not self.first:
                return
            if not there and isinstance(error, KeyboardInterrupt):  # by whoever started all, since one is gone
                raise Lost(LOST) from None
            raise

    def agreed(self, request: Request) -> Request:
        """The request with the settings of the first rank, whose seed may be a random one."""
        words = {"state": "settings", "settings": request.settings.as_json() if self.first else None}
        told = self._round(words, patience=LONG)
        return replace(request, settings=type(request.settings).from_json(told[0][0]["settings"]))

    def dealt(self, layout: Layout) -> Layout:
        """The layout, its runs dealt to all; those that are only there for the bits of another stay together."""
        return layout if layout.only is not None else replace(layout, hands=self.size)

    def note(self, layout: Layout) -> Iterator[Event]:
        """What is to be known of sharing this layout."""
        if layout.hands == 1 or len(layout.runs) == 1:
            yield Note(f"note: nothing in this job can be shared: the first of {self.size} ranks does all of it")
        else:
            yield Note(f"note: {len(layout.runs)} pictures are shared by {self.size} ranks")

    def help(self, request: Request, layout: Layout, sd: StableDiffusion) -> None:
        """Walk this rank's share, and tell the first of its steps."""
        layout = self.dealt(layout)
        runs = sd.begin([layout.runs[i] for i in share]) if (share := self._share(layout)) else []
        for _ in self._walk(sd, dict(zip(share, runs, strict=True)), request, layout):
            pass

    def walking(self, sd: StableDiffusion, request: Request, layout: Layout) -> Walk:
        """On the first rank: what walks runs that have begun as `StableDiffusion.walk` does, all of them."""

        def walk(runs: Sequence[Run], batch_size: int | None) -> Iterator[Move]:
            return self._walk(sd, {i: runs[i] for i in self._share(layout)}, request, layout)

        return walk

    def _share(self, layout: Layout) -> Sequence[int]:
        return range(self.rank, len(layout.runs), layout.hands) if self.rank < layout.hands else ()

    def _walk(self, sd: StableDiffusion, mine: Mapping[int, Run], request: Request, layout: Layout) -> Iterator[Move]:
        same, patience, places = _fingerprint(sd, request, layout), LONG, list(mine)
        moves = sd.walk(list(mine.values()), layout.batch_size) if mine else iter(())
        calls, going = _calls((places[i], step) for i, step in moves), True
        while going:
            start = time.monotonic()
            steps = next(calls, None)
            self._slowest = max(self._slowest, time.monotonic() - start)
            about = [[which, step.index, step.sigma, *step.x.shape] for which, step in steps or ()]
            words = {"state": "steps", "same": same, "last": steps is None, "steps": about}
            told = self._round(words, [array for _, step in steps or () for array in (step.x, step.clean)], patience)
            patience = SHORT + SLOWER * self._slowest
            for rank, (said, _) in enumerate(told):
                if said["same"] != told[0][0]["same"]:
                    self._over = True
                    raise Elsewhere(f"rank {rank} has another model, picture or version than the first")
            for said, numbers in told if self.first else ():
                yield from _moves(said["steps"], numbers)
            going = not all(said["last"] for said, _ in told)

    # What ranks say to each other

    def _round(self, words: dict[str, Any], arrays: Sequence[mx.array] = (), patience: float = LONG) -> list[Told]:
        """What each rank says, in order. Raises Elsewhere where one has failed, and Lost where one is gone.

        It waits where Ctrl-C can come, unlike MLX. What was said when it came is still told, before anything else.
        """
        self._said += 1
        said = self._said
        self._asked.put((said, _packed(words, arrays)))
        try:
            while True:
                number, answer = self._answers.get(timeout=patience)
                if answer is None:
                    break
                told = [_unpacked(row) for row in answer]
                for rank, (theirs, _) in enumerate(told):
                    if theirs["state"] == "failed" and rank != self.rank:
                        self._over = True
                        raise Elsewhere(f"rank {rank}: {theirs['why']}")
                if number == said:
                    return told
        except queue.Empty:
            # The thread that waits for the others would keep this process from ending.
            threading.Thread(target=_end_later, daemon=True).start()
        # Whoever has started all ends all, since one is gone: let this one write what is finished.
        self._over = True
        with contextlib.suppress(ValueError, KeyboardInterrupt):  # not in the main thread; it has come already
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Lost(LOST)

    def _left(self, why: str) -> bool:
        """Tell the others that this rank is ending. False: one of them is gone already."""
        if not self._over:
            try:
                self._round({"state": "failed", "why": why}, patience=SHORT + SLOWER * self._slowest)
            except Elsewhere:  # who are ending too
                pass
            except Lost:
                return False
        return True

    def _tell(self, group: mx.distributed.Group) -> None:
        """Give what is to be told to all, and get theirs: rows of bytes, or None where one is gone. A thread's work."""

        def all_of(array: mx.array) -> mx.array:
            y = mx.distributed.all_gather(array[None], group=group, stream=mx.cpu)
            mx.eval(y)
            return y

        while True:
            number, data = self._asked.get()
            try:
                sizes = [int(size) for size in all_of(mx.array([data.size], mx.int32)).flatten()]
                rows = all_of(mx.pad(data, (0, max(sizes) - data.size)))
                answer = [row[:size] for row, size in zip(rows, sizes, strict=True)]
                mx.eval(answer)
            except RuntimeError:  # the ring's own
                self._answers.put((number, None))
                return
            self._answers.put((number, answer))


def _packed(words: dict[str, Any], arrays: Sequence[mx.array]) -> mx.array:
    """Words and numbers as bytes: the length of the words, the words, the numbers."""
    text = json.dumps(words).encode()
    text += b" " * (-len(text) % 4)  # numbers lie at multiples of their size
    parts = [mx.array([len(text)], mx.uint32).view(mx.uint8), mx.array(list(text), mx.uint8)]
    data = mx.concatenate([*parts, *(array.astype(mx.float32).flatten().view(mx.uint8) for array in arrays)])
    mx.eval(data)
    return data


def _unpacked(data: mx.array) -> Told:
    """The words, and the numbers."""
    (length,) = cast(list[int], data[:4].view(mx.uint32).tolist())
    text = bytes(cast(list[int], data[4 : 4 + length].tolist()))
    return json.loads(text), data[4 + length :].view(mx.float32)


def _end_later() -> None:
    """End this process when its main thread has ended."""
    threading.main_thread().join()
    os._exit(1)


def _calls(moves: Iterator[Move]) -> Iterator[list[Move]]:
    """Steps as they come of one network call after the other: a run makes one in each, at most."""
    together: dict[int, Step] = {}
    for which, step in moves:
        if which in together:
            yield list(together.items())
            together = {}
        together[which] = step
    if together:
        yield list(together.items())


def _moves(steps: Sequence[Any], numbers: mx.array) -> Iterator[Move]:
    """Steps again, from what was told of them."""
    at = 0
    for which, index, sigma, *shape in steps:
        size = math.prod(shape)
        x, clean = (numbers[at + k * size : at + (k + 1) * size].reshape(shape) for k in (0, 1))
        at += 2 * size
        yield which, Step(index, sigma, x, clean)


def _fingerprint(sd: StableDiffusion, request: Request, layout: Layout) -> str:
    """A hash of all that decides the pictures, and that each rank has found for itself."""
    model, inputs = Model.of(sd), request.inputs
    pictures = () if inputs is None else (inputs.picture, inputs.mask)
    about = [
        model.hash,
        model.quantize,
        model.prediction,
        [lora[1:] for lora in model.loras],
        [picture and digest(picture) for picture in pictures],
        [run.settings.as_json() for run in layout.runs],
        layout.batch_size,
    ]
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()
