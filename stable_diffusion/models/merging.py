"""Token merging (Bolya & Hoffman 2023, 2303.17604): self-attention over fewer tokens, those that are alike as one.

One token of every square of four, the upper left, takes others in: always the same ones, so that a picture is the same
whenever it is made, alone and among others.
"""

from dataclasses import dataclass
from itertools import product

import mlx.core as mx


@dataclass(frozen=True, eq=False)
class Merging:
    """Which tokens go together, in each picture of a batch."""

    takers: mx.array  # (T,) places of the tokens that take others in
    kept: mx.array  # (B, K) of those that stay alone
    given: mx.array  # (B, G) of those that are taken in
    by: mx.array  # (B, G) by which of the takers, from 0
    home: mx.array  # (B, N) where each token is among the fewer: T takers, and then K that are alone

    def merged(self, x: mx.array) -> mx.array:
        """x (B, N, C) -> (B, T + K, C): of those that go together the mean."""
        takers = x[:, self.takers]  # (B, T, C)
        # A product, and no scattered sum, whose order is another each time on a GPU.
        sums = (self.by[:, None, :] == mx.arange(takers.shape[1])[:, None]).astype(x.dtype)  # (B, T, G)
        means = (takers + sums @ _at(x, self.given)) / (1 + sums.sum(axis=-1, keepdims=True))
        return mx.concatenate([means, _at(x, self.kept)], axis=1)

    def unmerged(self, y: mx.array) -> mx.array:
        """y (B, T + K, C) -> (B, N, C): to each token what came of its place."""
        return _at(y, self.home)


def merging(x: mx.array, size: tuple[int, int], share: float) -> Merging | None:
    """Merge a share of the tokens x (B, H W, C) of pictures (H, W): those most like one that takes others in.

    Alike are tokens with a small angle between them. At most all but those that take others in are merged: a share of
    0.75 where H and W are even. None where the share is less than one token.
    """
    (H, W), (B, N, _) = size, x.shape
    assert N == H * W, (size, N)
    takers = [i * W + j for i, j in product(range(0, H, 2), range(0, W, 2))]
    others = mx.array(sorted(set(range(N)).difference(takers)), mx.uint32)
    T, count = len(takers), min(int(share * N), others.size)
    if count == 0:
        return None
    ways = x.astype(mx.float32)
    ways = ways * mx.rsqrt(mx.square(ways).sum(axis=-1, keepdims=True) + 1e-12)
    alike = ways[:, others] @ ways[:, mx.array(takers)].transpose(0, 2, 1)  # (B, N - T, T)
    order = mx.argsort(-alike.max(axis=-1), axis=-1)
    gone, staying = order[:, :count], mx.sort(order[:, count:], axis=-1)
    by = mx.take_along_axis(alike.argmax(axis=-1), gone, axis=1)
    first, kept, given = mx.broadcast_to(mx.array(takers, mx.uint32), (B, T)), others[staying], others[gone]
    numbers = mx.broadcast_to(mx.arange(N - count, dtype=mx.uint32), (B, N - count))
    places = mx.concatenate([first, kept, given], axis=1)  # all N, each once
    home = mx.put_along_axis(mx.zeros((B, N), mx.uint32), places, mx.concatenate([numbers, by], axis=1), axis=1)
    return Merging(mx.array(takers), kept, given, by, home)


def _at(x: mx.array, places: mx.array) -> mx.array:
    """The tokens of x (B, N, C) at places (B, M): (B, M, C)."""
    return mx.take_along_axis(x, places[..., None], axis=1)
