"""A cheap look at latents: the linear map to colours that suits an autoencoder best."""

import math
from collections.abc import Callable

import mlx.core as mx

from ..cache import recall, remember

SIDE, COUNT = 16, 24  # latents along a side, and pictures, that it is fitted to
SOFT = 0.9  # correlation of a practice latent with a soft field; the rest is grain


def practice_latents(channels: int, count: int = COUNT, side: int = SIDE) -> mx.array:
    """Soft fields with a little grain, of variance 1, which is what latents are scaled to: (count, side, side, C).

    Always the same. White noise would not do: no picture has such latents, and a decoder makes little of them.
    """
    hills, grain = mx.random.split(mx.random.key(0))
    at, k = (mx.arange(side) + 0.5) / side, mx.arange(5)
    waves = mx.cos(math.pi * k[:, None] * at)  # (5, side): from flat to two hills
    amounts = mx.random.normal((count, channels, 5, 5), key=hills) / (1 + k[:, None] + k)
    soft = mx.einsum("nckl,ky,lx->nyxc", amounts, waves, waves)
    return SOFT * soft / mx.std(soft) + math.sqrt(1 - SOFT**2) * mx.random.normal(soft.shape, key=grain)


def fit(decode: Callable[[mx.array], mx.array], channels: int) -> mx.array:
    """The (C + 1, 3) map from a latent and a constant 1 to colours in [0, 1], by least squares.

    decode: latents (B, h, w, C) -> pictures (B, f h, f w, 3) in [0, 1]. The colour of a latent is the mean of the
    f x f pixels in its place.
    """
    rows, colours = [], []
    for latents in mx.split(practice_latents(channels), COUNT):
        picture = decode(latents)[0]
        f = picture.shape[0] // SIDE
        colours.append(picture.reshape(SIDE, f, SIDE, f, 3).mean(axis=(1, 3)).reshape(-1, 3))
        rows.append(mx.concatenate([latents.reshape(-1, channels), mx.ones((SIDE**2, 1))], axis=1))
        mx.eval(colours[-1])
    A, b = mx.concatenate(rows), mx.concatenate(colours)
    return mx.linalg.solve(A.T @ A, A.T @ b, stream=mx.cpu)


def applied(coefficients: mx.array, latents: mx.array) -> mx.array:
    """Latents (B, h, w, C) at the scale of a picture -> colours (B, h, w, 3) in [0, 1]."""
    return mx.clip(latents @ coefficients[:-1] + coefficients[-1], 0, 1)


def fitted(decode: Callable[[mx.array], mx.array], channels: int, identity: str) -> mx.array:
    """What `fit` finds, remembered from run to run by the identity of the autoencoder."""
    known = recall("previews").get(identity)
    try:
        coefficients = mx.array(known if known is not None else mx.nan)
        if coefficients.shape == (channels + 1, 3) and mx.isfinite(coefficients).all():
            return coefficients
    except (TypeError, ValueError):  # somebody else's, or damaged: fitted anew
        pass
    coefficients = fit(decode, channels)
    remember("previews", {identity: coefficients.tolist()})
    return coefficients
