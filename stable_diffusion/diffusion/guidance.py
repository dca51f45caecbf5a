"""Classifier-free guidance (Ho & Salimans 2022): away from the negative prompt, towards the prompt."""

from collections.abc import Callable

import mlx.core as mx

from .denoiser import Net

Conditioning = dict[str, mx.array]  # what a net is told besides x and t, one row each, by the net's argument names


def guided(
    net: Callable[..., mx.array], positive: Conditioning, negative: Conditioning, cfg: float, rescale: float = 0.0
) -> Net:
    """A net of (x, t) that is steered by `negative + cfg * (positive - negative)`, both run as one batch.

    positive and negative: arrays of 1 row, or of as many rows as x. cfg 1, and by the custom of all other tools also
    0, is no guidance: the net runs once, on the positive alone. rescale in [0, 1] takes the standard deviation of the
    result that far back to the positive's (Lin et al. 2023, section 3.4), which high cfg needs with v-prediction.

    It wraps the net and not the estimate: the two are equal without rescale, which is defined on the prediction.
    """

    def alone(x: mx.array, t: mx.array) -> mx.array:
        return net(x, t, **_rows(positive, x.shape[0]))

    def both(x: mx.array, t: mx.array) -> mx.array:
        B = x.shape[0]
        p, n = _rows(positive, B), _rows(negative, B)
        prediction = net(
            mx.concatenate([x, x]), mx.concatenate([t, t]), **{name: mx.concatenate([n[name], p[name]]) for name in p}
        ).astype(mx.float32)
        away, towards = mx.split(prediction, 2)
        steered = away + cfg * (towards - away)
        if rescale > 0:
            axes = tuple(range(1, x.ndim))
            ratio = mx.std(towards, axis=axes, keepdims=True, ddof=1) / mx.std(
                steered, axis=axes, keepdims=True, ddof=1
            )
            steered = steered * (rescale * ratio + (1 - rescale))
        return steered

    return alone if cfg in (0, 1) else both


def _rows(conditioning: Conditioning, B: int) -> Conditioning:
    return {name: mx.broadcast_to(value, (B, *value.shape[1:])) for name, value in conditioning.items()}
