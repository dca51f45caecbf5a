"""Nets as lists of layers: a net names its layers once, and they are run here, whole, or in stripes by `stripes`."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from .convolution import Conv2d, same
from .elementwise import silu
from .norm import GroupNorm
from .streams import by_rows

Layer = Callable[..., mx.array]  # x (B, H, W, C) -> (B, H', W', O)


@dataclass(frozen=True)
class Window:
    """The part of a picture that a layer sees: to make `up` rows of `down`, and `halo` more above and below them."""

    halo: int = 0
    up: int = 1
    down: int = 1
    channels: int | None = None  # that it makes; None: as many as it is given


class Chain(nn.Module):
    """A net that is its links, one after the other."""

    def links(self) -> Sequence[Layer]:
        """The layers, in the order in which they are run."""
        raise NotImplementedError

    def __call__(self, x: mx.array, *told: Any) -> mx.array:
        """x (B, H, W, C), and what the links are told besides -> (B, H', W', O)."""
        return run(self.links(*told), x)


@dataclass(frozen=True)
class Residual:
    """Links, and what the shortcut makes of their input, pixel by pixel, added (He et al. 2015)."""

    links: Sequence[Layer]
    shortcut: Layer = same

    def __call__(self, x: mx.array) -> mx.array:
        """x (B, H, W, C) -> (B, H, W, O)."""
        return by_rows(lambda h, x: h + self.shortcut(x), run(self.links, x), x)


@dataclass(frozen=True)
class Whole:
    """Links that see a whole picture, as attention does."""

    links: Sequence[Layer]

    def __call__(self, x: mx.array) -> mx.array:
        """x (B, H, W, C) -> (B, H', W', O)."""
        return run(self.links, x)


def run(links: Sequence[Layer], x: mx.array) -> mx.array:
    """What the links make of x (B, H, W, C), one after the other."""
    for norm, link in normed(links):
        x = link(x) if norm is None else link(x, norm.with_silu(x))
    return x


def normed(links: Sequence[Layer]) -> Iterator[tuple[GroupNorm | None, Layer]]:
    """Each link; a norm and SiLU stand beside the convolution after them, which takes them in its own pieces."""
    while links:
        match links:
            case [GroupNorm() as norm, function, Conv2d() as conv, *links] if function is silu:
                yield norm, conv
            case [link, *links]:
                yield None, link


def window_of(link: Layer) -> Window | None:
    """The window of a layer, or of all of a chain's; None where a part of a picture does not suffice."""
    if isinstance(link, Conv2d):
        return Window(link.padding[0], down=link.stride[0], channels=link.weight.shape[0])
    if isinstance(link, nn.ReLU):
        return Window()
    if isinstance(link, Residual):
        return _together(link.links)
    return _together(link.links()) if isinstance(link, Chain) else getattr(link, "window", None)


def _together(links: Sequence[Layer]) -> Window | None:
    """The window of links that keep a picture's size."""
    halo, channels = 0, None
    for link in links:
        window = window_of(link)
        if window is None or (window.up, window.down) != (1, 1):
            return None
        halo, channels = halo + window.halo, window.channels or channels
    return Window(halo, channels=channels)
