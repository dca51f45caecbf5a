"""Pictures that are too large to be worked on whole: in stripes of rows, to the same numbers.

A convolution sees a row beyond a stripe, and only a group norm sees the whole picture: what it needs of it is gathered
from all stripes first. What is between two norms is kept where there is room for it, and else made anew for each.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import mlx.core as mx

from .chain import Chain, Layer, Residual, Whole, Window, normed, window_of
from .norm import GroupNorm
from .streams import joined

Net = Callable[[mx.array], mx.array]


@dataclass(frozen=True)
class Tiling:
    """How pictures are coded in stripes."""

    side: int  # a stripe has about as many pixels as a square of it
    room: int = 2  # how often the largest level may be kept; with once, more is made anew: it takes 1.4 times as long


class Kept:
    """Stripes of an activation that are in memory, until they are dropped."""

    def __init__(self) -> None:
        self.stripes: list[tuple[int, mx.array]] = []  # each with its first row, in order
        self.numbers = 0
        self._lowest: int | None = None  # row that was taken since the last drop

    def add(self, first: int, stripe: mx.array) -> None:
        self.stripes.append((first, stripe))
        self.numbers += stripe.size

    def take(self, a: int, b: int) -> mx.array:
        """Rows a to b, (1, b - a, W, C)."""
        self._lowest = a if self._lowest is None else min(a, self._lowest)
        parts = [
            stripe[:, max(a - first, 0) : b - first]
            for first, stripe in self.stripes
            if first < b and a < first + stripe.shape[1]
        ]
        rows = joined(parts, axis=1)
        assert rows.shape[1] == b - a, "rows were dropped that are wanted still"
        return rows

    def drop(self) -> None:
        """Let go what lies above all that was taken since the last time: who goes on from there takes none of it."""
        if self._lowest is not None:
            self.stripes = [(i, stripe) for i, stripe in self.stripes if i + stripe.shape[1] > self._lowest]
        self._lowest = None


@dataclass(frozen=True)
class Rows:
    """An activation (1, H, W, C), of which rows are made when they are taken."""

    shape: tuple[int, int, int]  # H, W, C
    take: Callable[[int, int], mx.array]  # rows a to b
    of: tuple[Kept, ...]  # what they are made of

    @property
    def kept(self) -> bool:
        """Is all of it in memory?"""
        return len(self.of) == 1 and self.take == self.of[0].take

    @property
    def numbers(self) -> int:
        H, W, C = self.shape
        return H * W * C


def whole(x: mx.array) -> Rows:
    """An activation (1, H, W, C) that is there."""
    kept = Kept()
    kept.add(0, x)
    return Rows((x.shape[1], x.shape[2], x.shape[3]), kept.take, (kept,))


def through(net: Net, x: Rows, window: Window) -> Rows:
    """What a net makes of x through a window.

    The net may fill up what is beyond the rows that it is given: what it makes of that is cut off, but at the edges.
    """
    (H, W, C), up, down = x.shape, window.up, window.down

    def take(a: int, b: int) -> mx.array:
        first = max(a * down // up - window.halo, 0) // down * down
        last = min(-(-(-(-b * down // up) + window.halo) // down) * down, H)
        y = net(x.take(first, last))
        cut = first * up // down
        return y[:, a - cut : b - cut]

    return Rows((-(-H * up // down), -(-W * up // down), window.channels or C), take, x.of)


class Stripes:
    """How a picture is walked: in stripes of about so many numbers, and with no more than there is room for kept.

    channels: the fewest that a stripe of a net's activations has; what is made of them may have fewer.
    """

    def __init__(self, numbers: int, channels: int, room: int) -> None:
        self.numbers, self.channels, self.room = numbers, channels, room

    def _spans(self, x: Rows) -> list[tuple[int, int]]:
        H, W, C = x.shape
        count = max(1, min(H * W * max(C, self.channels) // self.numbers, H // 2))
        return list(pairwise(H * k // count for k in range(count + 1)))

    def keep(self, x: Rows, spending: bool = False) -> Rows:
        """All of x, made now; spending: what it is made of is not needed any more, and goes while this comes."""
        if x.kept:
            return x
        kept = Kept()
        for a, b in self._spans(x):
            stripe = x.take(a, b)
            mx.eval(stripe)
            kept.add(a, stripe)
            for source in x.of if spending else ():
                source.drop()
        for source in x.of if spending else ():
            source.stripes.clear()  # whoever still names it
        return Rows(x.shape, kept.take, (kept,))

    def fits(self, x: Rows, beside: Sequence[Kept] = ()) -> bool:
        """Is there room to keep x, beside what is kept already?"""
        return x.numbers + sum(kept.numbers for kept in beside) <= self.room

    def norm(self, norm: GroupNorm, x: Rows) -> Net:
        """The norm that all of x asks for, and SiLU, to be used on any rows of it."""
        parts = []
        for a, b in self._spans(x):
            part = norm.moments(x.take(a, b))
            mx.eval(part.values)
            parts.append(part)
        return norm.by_moments(parts)

    def run(self, links: Sequence[Layer], x: Rows) -> Rows:
        """What the links make of x, one after the other. x is spent."""
        y = x
        for norm, link in normed(links):
            if norm is not None and y is not x and self.fits(y, x.of):
                y = self.keep(y)  # it is taken for the norm, and once more for what comes after
            y = self._link(link if norm is None else partial(link, before=self.norm(norm, y)), window_of(link), y)
        return y

    def _link(self, link: Layer, window: Window | None, x: Rows) -> Rows:
        if isinstance(link, Whole):
            return whole(link(x.take(0, x.shape[0])))
        if window is None:
            assert isinstance(link, Chain | Residual), f"stripes of {link} are not known"
            return self.run(link.links(), x) if isinstance(link, Chain) else self._added(link, x)
        if window.up > 1:
            x = self.keep(x, spending=True)
        y = through(link, x, window)
        # What is enlarged by more than repetition is dear to make anew.
        dear = window.down > 1 or (window.up > 1 and window.halo > 0 and self.fits(y))
        return self.keep(y, spending=True) if dear else y

    def _added(self, link: Residual, x: Rows) -> Rows:
        y = self.run(link.links, x)

        def take(a: int, b: int) -> mx.array:
            return y.take(a, b) + link.shortcut(x.take(a, b))

        return self.keep(Rows(y.shape, take, tuple(dict.fromkeys((*y.of, *x.of)))), spending=True)


def made(net: Chain, x: mx.array, scale: int, tiling: Tiling | None, channels: int) -> mx.array:
    """What a net makes of x (B, H, W, C); tiling: in stripes, one picture after the other, if they are larger.

    scale: the sides of the pictures for one of x; channels: of the net at that size.
    """
    pixels = x.shape[1] * x.shape[2] * scale**2
    if tiling is None or pixels <= tiling.side**2:
        return net(x)
    walk = Stripes(tiling.side**2 * channels, channels, pixels * (tiling.room * channels + 3))

    def one(x: mx.array) -> mx.array:
        y = walk.keep(walk.run(net.links(), whole(x)), spending=True)
        return y.take(0, y.shape[0])

    return joined([one(picture) for picture in mx.split(x, x.shape[0])])
