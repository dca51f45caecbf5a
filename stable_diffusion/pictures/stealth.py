"""Texts in the lowest bits of pixels: "stealth PNG info", as NovelAI and an extension of AUTOMATIC1111 hide them."""

import zlib

import numpy as np
import numpy.typing as npt

from .images import Picture

MOST = 2**22  # bytes of a text, unpacked
_SIGNED, _LENGTH = 15, 4  # bytes: a name, and how many bits follow
# Where bits are taken from, and the names that begin them there: as it is, and gzipped.
_PLACES = {"A": ("stealth_pnginfo", "stealth_pngcomp"), "RGB": ("stealth_rgbinfo", "stealth_rgbcomp")}


def stealth_texts(picture: Picture) -> dict[str, str]:
    """The texts that are hidden in a picture, by the names that begin them; "" for one that is damaged.

    Bits go down the columns, from left to right. Nothing but the first columns is looked at where no name stands.
    """
    found = {}
    for channels, names in _PLACES.items():
        if picture.mode not in ("RGB", "RGBA") or not set(channels) <= set(picture.getbands()):
            continue
        head = _bytes(picture, channels, 0, _SIGNED + _LENGTH)
        name = head[:_SIGNED].decode("latin-1")
        if len(head) == _SIGNED + _LENGTH and name in names:
            length = int.from_bytes(head[_SIGNED:], "big") // 8
            found[name] = _text(_bytes(picture, channels, len(head), length), length, name == names[1])
    return found


def _bytes(picture: Picture, channels: str, start: int, count: int) -> bytes:
    """Some of the bytes that the lowest bits make up; fewer where the picture ends."""
    W, H = picture.size
    per_column = H * len(channels)
    columns = min(W, -(-8 * (start + count) // per_column))
    pixels = np.asarray(picture.crop((0, 0, columns, H)))
    places = [picture.getbands().index(channel) for channel in channels]
    bits: npt.NDArray[np.uint8] = (pixels[..., places].transpose(1, 0, 2) & 1).ravel()
    bits = bits[8 * start : 8 * (start + count)]
    return np.packbits(bits[: len(bits) // 8 * 8]).tobytes()


def _text(data: bytes, length: int, packed: bool) -> str:
    if len(data) < length:  # the picture was cut
        return ""
    if packed:
        try:
            data = zlib.decompressobj(31).decompress(data, MOST + 1)
        except zlib.error:
            return ""
    return data.decode("utf-8", "replace")
