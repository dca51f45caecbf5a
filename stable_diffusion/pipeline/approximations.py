"""Runs that take less than the whole UNet in every step: deep features used again.

Each row of a call keeps to its own run's settings, and finds what its own run kept, whoever else is in the call.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import mlx.core as mx

from ..diffusion.guidance import ChangingGuide, Conditioning, Guide
from ..models.unet import UNet2DConditionModel
from .run import Run

SEAT = "seat"  # what rows are told besides, (B, 1): twice the number of the run, and 1 more for the negative prompt
Place = tuple[int, int]  # a seat, and the number of the row among those that have it


def seated(guides: Sequence[Guide | ChangingGuide]) -> list[Guide | ChangingGuide]:
    """The guides of some runs, whose rows can be told from each other in a call."""

    def at(conditioning: Conditioning, seat: int) -> Conditioning:
        rows = {array.shape[0] for array in conditioning.values()}
        return {**conditioning, SEAT: mx.array([[seat]] * max(rows))} if conditioning else {}

    def one(guide: Guide, k: int) -> Guide:
        return replace(guide, positive=at(guide.positive, 2 * k), negative=at(guide.negative, 2 * k + 1))

    return [
        one(guide, k) if isinstance(guide, Guide) else ChangingGuide([(last, one(g, k)) for last, g in guide.spans])
        for k, guide in enumerate(guides)
    ]


@dataclass(eq=False)
class Approximations:
    """What a walk of some runs remembers: how far each one is, and the deep features that it goes on with.

    A step of a run is whole in all of its network calls, or in none: the first is, and each deep_cache-th after it.
    """

    runs: Sequence[Run]
    _taken: Counter[int] = field(default_factory=Counter)  # steps, by run
    _kept: dict[Place, mx.array] = field(default_factory=dict)  # (1, h, w, C)

    @property
    def wanted(self) -> bool:
        return any(run.settings.deep_cache > 1 for run in self.runs)

    def moved(self, which: int) -> None:
        """A run has taken a step."""
        self._taken[which] += 1
        if self._taken[which] == self.runs[which].plan.steps_run:
            self._kept = {place: deep for place, deep in self._kept.items() if place[0] // 2 != which}

    def net(self, unet: Callable[..., tuple[mx.array, mx.array]]) -> Callable[..., mx.array]:
        """A net of rows that are told their seats, around a UNet that is called as in `shallow`."""

        def predict(x: mx.array, t: mx.array, seat: mx.array, **told: mx.array) -> mx.array:
            places = _places(seat)
            alike: dict[tuple[bool, bool], list[int]] = {}
            for row, (number, _) in enumerate(places):
                alike.setdefault(self._way(number // 2), []).append(row)
            parts = [self._part(unet, x, t, told, places, *group) for group in alike.items()]
            if len(parts) == 1:
                return parts[0]
            order = [row for rows in alike.values() for row in rows]
            return mx.concatenate(parts)[mx.array([order.index(row) for row in range(len(order))])]

        return predict

    def _way(self, which: int) -> tuple[bool, bool]:
        """How a run's next call goes: whether it reuses, and whether it keeps for later."""
        s = self.runs[which].settings
        reuses = self._taken[which] % s.deep_cache > 0
        return reuses, s.deep_cache > 1 and not reuses

    def _part(
        self,
        unet: Callable[..., tuple[mx.array, mx.array]],
        x: mx.array,
        t: mx.array,
        told: Conditioning,
        places: Sequence[Place],
        way: tuple[bool, bool],
        rows: Sequence[int],
    ) -> mx.array:
        """What the rows of a call that go one way come to."""
        reuses, keeps = way
        if len(rows) < x.shape[0]:
            at = mx.array(list(rows))
            x, t, told = x[at], t[at], {name: array[at] for name, array in told.items()}
        if reuses:
            told = {**told, "deep": mx.concatenate([self._kept[places[row]] for row in rows])}
        y, deep = unet(x, t, **told)
        if keeps:
            for k, row in enumerate(rows):
                self._kept[places[row]] = deep[k : k + 1]
        return y


def shallow(
    unet: UNet2DConditionModel, x: mx.array, t: mx.array, context: mx.array, deep: mx.array | None = None, **told: Any
) -> tuple[mx.array, mx.array]:
    """What the UNet predicts, and the deep feature that it does so from: its own, or one of another time."""
    x, time = unet.embed(x, t, **told)
    if deep is None:
        deep = unet.deep(x, time, context)
    return unet.last(deep, x, time, context), deep


def _places(seat: mx.array) -> list[Place]:
    """Of each row its seat (B, 1), and which of the rows with that seat it is: a run's rows are in order in a call."""
    seen: Counter[int] = Counter()
    places = []
    for row in range(seat.shape[0]):
        number = int(seat[row, 0])
        places.append((number, seen[number]))
        seen[number] += 1
    return places
