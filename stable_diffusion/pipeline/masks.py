"""Masks between pixels, latents and text."""

import base64
import zlib
from typing import cast

import mlx.core as mx

MOST_SIDE = 2**13  # latents along a side of a mask that is unpacked


def shrunk(mask: mx.array, h: int, w: int) -> mx.array:
    """A mask (H, W) of pixels as one of latents (h, w): the mean of the pixels of each."""
    H, W = mask.shape
    return mask.reshape(h, H // h, w, W // w).mean(axis=(1, 3))


def packed(mask: mx.array) -> str:
    """A mask (h, w) in [0, 1], rounded to 256 values, as text that fits into a picture's lineage: "h x w:..."."""
    values = cast(list[int], mx.round(mask * 255).astype(mx.uint8).flatten().tolist())
    code = base64.b64encode(zlib.compress(bytes(values), 9)).decode()
    return f"{mask.shape[0]}x{mask.shape[1]}:{code}"


def unpacked(text: str) -> mx.array:
    """A mask (h, w) in [0, 1] from its text. Raises ValueError for one that is damaged."""
    try:
        size, _, code = text.partition(":")
        h, w = map(int, size.split("x"))
        if not (0 < h <= MOST_SIDE and 0 < w <= MOST_SIDE):
            raise ValueError
        unpacking = zlib.decompressobj()
        values = unpacking.decompress(base64.b64decode(code, validate=True), h * w)  # and no more, whatever it holds
        if unpacking.unconsumed_tail or not unpacking.eof:
            raise ValueError
        return mx.array(list(values)).reshape(h, w) / 255
    except (ValueError, zlib.error):
        raise ValueError(f"{text[:40]!r} is no mask of a perturbation") from None
