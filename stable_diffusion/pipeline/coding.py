"""Pictures into latents and back: in stripes where memory asks for it, in full precision where half is too small."""

import warnings
from collections.abc import Callable

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from ..compute.streams import done, joined
from ..compute.stripes import Tiling
from ..models.taesd import TinyAutoencoder
from ..models.vae import AutoencoderKL
from .frames import FULL, finite
from .memory import fits_whole, tiling_for

Autoencoder = AutoencoderKL | TinyAutoencoder
Make = Callable[[mx.array, Tiling | None], mx.array]

ANOTHER = "try another autoencoder: --vae (vae=...)"


def encoded(net: Autoencoder, pictures: mx.array, tile: int | None = None) -> mx.array:
    """Pictures (B, H, W, 3) in [-1, 1] -> the means of their latents (B, H / f, W / f, 4), float32; tile: asked for.

    Raises FloatingPointError where one of them is NaN or infinite.
    """
    pixels = pictures.shape[1] * pictures.shape[2]
    means = _coded(net, lambda x, tiling: net.encode(x, tiling)[0], pictures, pixels, tile)
    return finite(means, "encoding the image", {"autoencoder": net}, pictures, ANOTHER, in_full=True)


def decoded(net: Autoencoder, latents: mx.array, tile: int | None = None, remedy: str = ANOTHER) -> mx.array:
    """Latents (B, h, w, 4) -> pictures (B, f h, f w, 3), about [-1, 1], float32; tile: asked for.

    Raises FloatingPointError where one of them is NaN or infinite; remedy: what it says a person can try then.
    """
    pixels = latents.shape[1] * latents.shape[2] * net.config.factor**2
    pictures = _coded(net, net.decode, latents, pixels, tile)
    return finite(pictures, "decoding", {"autoencoder": net}, latents, remedy, in_full=True)


def _coded(net: Autoencoder, make: Make, x: mx.array, pixels: int, asked: int | None) -> mx.array:
    """All of x together, if memory suffices; those of it that half precision is too small for once more, in full."""
    count, dtype = x.shape[0], _dtype_of(net)
    tiling = tiling_for(net.config, pixels, dtype, asked)
    apart = tiling is None and not fits_whole(net.config, count * pixels, dtype)
    y = joined([_made(make, part, dtype, tiling) for part in (mx.split(x, count) if apart else [x])])
    if dtype != mx.float16:
        return y
    small = [i for i in range(count) if _finite(x[i]) and not _finite(y[i])]
    if not small:
        return y
    half = net.parameters()
    net.set_dtype(mx.float32)
    try:
        again = dict(zip(small, _coded(net, make, x[mx.array(small)], pixels, asked), strict=True))
    finally:
        net.update(half)
    if all(map(_finite, again.values())):
        few = f"{len(small)} of {count} pictures were" if count > 1 else "the picture was"
        warnings.warn(f"half precision is too small for this autoencoder: {few} coded in full ({FULL})", stacklevel=5)
    return mx.stack([again.get(i, y[i]) for i in range(count)])


def _finite(x: mx.array) -> bool:
    return bool(mx.isfinite(x).all())


def _made(make: Make, x: mx.array, dtype: mx.Dtype, tiling: Tiling | None) -> mx.array:
    return done(lambda: make(x.astype(dtype), tiling).astype(mx.float32))


def _dtype_of(net: nn.Module) -> mx.Dtype:
    """The numbers that a net calculates with."""
    arrays: dict[str, mx.array] = dict(tree_flatten(net.parameters()))
    return next(iter(arrays.values())).dtype
