"""Classifier-free guidance (Ho & Salimans 2022): away from the negative prompt, towards the prompt."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import mlx.core as mx

Conditioning = dict[str, mx.array]  # what a net is told besides x and t, one row of each, by the net's argument names
NetRows = Callable[[mx.array, mx.array, Sequence[int]], mx.array]


@dataclass(frozen=True)
class Guide:
    """What steers one run: cfg 1, and by the custom of all other tools also 0, is the positive alone.

    Several texts at once, each with its weight, are composed (Liu et al. 2022, 2206.01714): the ways that lead from the
    negative to each of them, times its weight, are added.
    """

    positive: Conditioning  # a row for each weight
    negative: Conditioning
    cfg: float
    rescale: float = 0.0  # in [0, 1]: take the result's standard deviation that far back to the positive's
    weights: tuple[float, ...] = (1.0,)

    @property
    def composes(self) -> bool:
        return self.weights != (1.0,)

    @property
    def steers(self) -> bool:
        return self.cfg not in (0, 1) or self.composes

    def at(self, call: int) -> "Guide":
        """The guide of a call of the net, counted from 0."""
        return self


@dataclass(frozen=True)
class ChangingGuide:
    """Guides that follow each other, each with the last call that it is for; the last one lasts to the end."""

    spans: Sequence[tuple[int, Guide]]

    def at(self, call: int) -> Guide:
        return next((guide for last, guide in self.spans if call <= last), self.spans[-1][1])


_Asked = tuple[int, Conditioning, int]  # a row of x and t, what the net is told with it, and how many rows that has


def _predicted(net: Callable[..., mx.array], x: mx.array, t: mx.array, asked: Sequence[_Asked]) -> mx.array:
    """What a net predicts for rows of x and t, each told its own conditioning: float32, in that order."""
    alike: dict[tuple[tuple[int, ...], ...], list[int]] = {}
    for i, (_, told, _) in enumerate(asked):
        alike.setdefault(tuple(array.shape[1:] for array in told.values()), []).append(i)
    parts = []
    for places in alike.values():
        rows = mx.array([row for i in places for row in [asked[i][0]] * asked[i][2]])
        names = asked[0][1]
        conditioning = {name: mx.concatenate([asked[i][1][name] for i in places]) for name in names}
        parts.append(net(x[rows], t[rows], **conditioning).astype(mx.float32))
    if len(parts) == 1:
        return parts[0]
    order = [(i, k) for places in alike.values() for i in places for k in range(asked[i][2])]
    return mx.concatenate(parts)[mx.array(sorted(range(len(order)), key=order.__getitem__))]


def _composed(towards: mx.array, away: mx.array, guides: Sequence[Guide], twice: Sequence[int]) -> mx.array:
    """What each guide leads to at cfg 1: of a composed one, the sum of its ways, from what it leads away from."""
    rows, at = [], 0
    for i, guide in enumerate(guides):
        row = towards[at : at + 1]
        if guide.composes:
            start = away[twice.index(i) : twice.index(i) + 1]
            row = start
            for k, weight in enumerate(guide.weights):
                row = row + weight * (towards[at + k : at + k + 1] - start)
        rows.append(row)
        at += len(guide.weights)
    return mx.concatenate(rows)


def guided(net: Callable[..., mx.array], guides: Sequence[Guide]) -> NetRows:
    """A net of (x, t, which) whose row i is steered by guide which[i]: `negative + cfg * (positive - negative)`.

    One call of the net for all rows, or one for those whose conditioning has each length: no row sees another's
    padding. Those that are not steered go into it once, the others once for the negative and once for each text.
    rescale is that of Lin et al. 2023, section 3.4, which high cfg needs with v-prediction.

    It wraps the net and not the estimate: the two are equal without rescale, which is defined on the prediction.
    """

    def predict(x: mx.array, t: mx.array, which: Sequence[int]) -> mx.array:
        rows = [guides[w] for w in which]
        twice = [i for i, guide in enumerate(rows) if guide.steers]
        positives = [(i, guide.positive, len(guide.weights)) for i, guide in enumerate(rows)]
        prediction = _predicted(net, x, t, [*((i, rows[i].negative, 1) for i in twice), *positives])
        away, towards = prediction[: len(twice)], prediction[len(twice) :]
        if not twice:
            return towards
        if any(guide.composes for guide in rows):
            towards = _composed(towards, away, rows, twice)

        def column(values: Sequence[float]) -> mx.array:
            return mx.array(list(values)).reshape(-1, *(1,) * (x.ndim - 1))

        steering = [rows[i] for i in twice]
        aim = towards if len(twice) == len(rows) else towards[mx.array(twice)]
        steered = away + column([guide.cfg or 1.0 for guide in steering]) * (aim - away)
        if any(guide.rescale > 0 for guide in steering):
            axes, rescale = tuple(range(1, x.ndim)), column([guide.rescale for guide in steering])
            ratio = mx.std(aim, axis=axes, keepdims=True, ddof=1) / mx.std(steered, axis=axes, keepdims=True, ddof=1)
            steered = steered * (rescale * ratio + (1 - rescale))
        if len(twice) < len(rows):
            towards[mx.array(twice)] = steered
            return towards
        return steered

    return predict
