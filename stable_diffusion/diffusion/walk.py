"""The drivers: one sampler alone, or many in step, their questions gathered into one network call."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import mlx.core as mx

from .steps import Ask, Sampler, Step

Denoise = Callable[[mx.array, float], mx.array]
DenoiseRows = Callable[[mx.array, mx.array, mx.array], mx.array]


def _resume(sampler: Sampler, answer: mx.array | None) -> Ask | Step | None:
    """What a sampler says next, given the answer to its question if it had asked one; None at its end."""
    try:
        return next(sampler) if answer is None else sampler.send(answer)
    except StopIteration:
        return None


def walk(denoise: Denoise, sampler: Sampler) -> Iterator[Step]:
    """Drive one sampler to its end; `denoise(x, sigma)` returns the clean estimate, shaped like x."""
    event = _resume(sampler, None)
    while event is not None:
        answer = None
        if isinstance(event, Ask):
            answer = denoise(event.x, event.sigma)
        else:
            yield event
        event = _resume(sampler, answer)


@dataclass
class _Walker:
    """A sampler on its way, with the question that it waits for."""

    which: int
    sampler: Sampler
    ask: Ask

    @property
    def rows(self) -> int:
        return self.ask.x.shape[0]


def _onwards(which: int, sampler: Sampler, answer: mx.array | None) -> tuple[list[tuple[int, Step]], _Walker | None]:
    """Take a sampler to its next question: the steps on the way, and the walker unless it has ended."""
    steps = []
    event = _resume(sampler, answer)
    while isinstance(event, Step):
        steps.append((which, event))
        event = _resume(sampler, None)
    return steps, None if event is None else _Walker(which, sampler, event)


def lockstep(
    denoise: DenoiseRows, samplers: Iterable[Sampler], batch_size: int | None = None
) -> Iterator[tuple[int, Step]]:
    """Drive many samplers together: what all of them ask, each at its own sigma, becomes one call.

    `denoise(x, sigma, which)` gets the rows of all questions: x (B, ...), sigma (B,) float32, which (B,) int32, the
    index of the sampler that asks; it returns the clean estimates (B, ...). A sampler's own x may have several rows.
    At most `batch_size` rows go into a call (but one sampler's rows are never split); the others wait, and the place
    of a sampler that ends goes to the next one. Yields `(which, step)` as steps are made.
    """
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}: at least 1 is needed")
    waiting = enumerate(samplers)
    active: list[_Walker] = []
    next_in: _Walker | None = None  # begun, and not yet with a place

    while True:
        while True:  # fill the places
            if next_in is None:
                begun = next(waiting, None)
                if begun is None:
                    break
                steps, next_in = _onwards(*begun, None)
                yield from steps
                if next_in is None:
                    continue
            if active and batch_size is not None and sum(w.rows for w in active) + next_in.rows > batch_size:
                break
            active.append(next_in)
            next_in = None
        if not active:
            return

        clean = denoise(
            mx.concatenate([w.ask.x for w in active]),
            mx.array([w.ask.sigma for w in active for _ in range(w.rows)]),
            mx.array([w.which for w in active for _ in range(w.rows)]),
        )
        asked, active, at = active, [], 0
        for w in asked:
            steps, onwards = _onwards(w.which, w.sampler, clean[at : at + w.rows])
            at += w.rows
            yield from steps
            if onwards is not None:
                active.append(onwards)
