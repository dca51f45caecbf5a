"""Classifier-free guidance (Ho & Salimans 2022): away from the negative prompt, towards the prompt."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import mlx.core as mx

Conditioning = dict[str, mx.array]  # what a net is told besides x and t, one row of each, by the net's argument names
NetRows = Callable[[mx.array, mx.array, Sequence[int]], mx.array]


@dataclass(frozen=True)
class Guide:
    """What steers one run: cfg 1, and by the custom of all other tools also 0, is the positive alone."""

    positive: Conditioning
    negative: Conditioning
    cfg: float
    rescale: float = 0.0  # in [0, 1]: take the result's standard deviation that far back to the positive's

    @property
    def steers(self) -> bool:
        return self.cfg not in (0, 1)


def _predicted(
    net: Callable[..., mx.array], x: mx.array, t: mx.array, at: Sequence[int], told: Sequence[Conditioning]
) -> mx.array:
    """What a net predicts for the rows `at` of x and t, each told its own conditioning: float32, in that order."""
    alike: dict[tuple[tuple[int, ...], ...], list[int]] = {}
    for i, one in enumerate(told):
        alike.setdefault(tuple(array.shape for array in one.values()), []).append(i)
    parts = []
    for places in alike.values():
        rows = mx.array([at[i] for i in places])
        conditioning = {name: mx.concatenate([told[i][name] for i in places]) for name in told[0]}
        parts.append(net(x[rows], t[rows], **conditioning).astype(mx.float32))
    if len(parts) == 1:
        return parts[0]
    order = [i for places in alike.values() for i in places]
    return mx.concatenate(parts)[mx.array([order.index(i) for i in range(len(order))])]


def guided(net: Callable[..., mx.array], guides: Sequence[Guide]) -> NetRows:
    """A net of (x, t, which) whose row i is steered by guide which[i]: `negative + cfg * (positive - negative)`.

    One call of the net for all rows, or one for those whose conditioning has each length: no row sees another's
    padding. Those that are not steered go into it once, the others twice. rescale is that of Lin et al. 2023,
    section 3.4, which high cfg needs with v-prediction.

    It wraps the net and not the estimate: the two are equal without rescale, which is defined on the prediction.
    """

    def predict(x: mx.array, t: mx.array, which: Sequence[int]) -> mx.array:
        rows = [guides[w] for w in which]
        twice = [i for i, guide in enumerate(rows) if guide.steers]
        told = [*(rows[i].negative for i in twice), *(guide.positive for guide in rows)]
        prediction = _predicted(net, x, t, [*twice, *range(len(rows))], told)
        away, towards = prediction[: len(twice)], prediction[len(twice) :]
        if not twice:
            return towards

        def column(values: Sequence[float]) -> mx.array:
            return mx.array(list(values)).reshape(-1, *(1,) * (x.ndim - 1))

        steering = [rows[i] for i in twice]
        aim = towards if len(twice) == len(rows) else towards[mx.array(twice)]
        steered = away + column([guide.cfg for guide in steering]) * (aim - away)
        if any(guide.rescale > 0 for guide in steering):
            axes, rescale = tuple(range(1, x.ndim)), column([guide.rescale for guide in steering])
            ratio = mx.std(aim, axis=axes, keepdims=True, ddof=1) / mx.std(steered, axis=axes, keepdims=True, ddof=1)
            steered = steered * (rescale * ratio + (1 - rescale))
        if len(twice) < len(rows):
            towards[mx.array(twice)] = steered
            return towards
        return steered

    return predict
