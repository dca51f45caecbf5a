"""Merging tokens, against the algorithm written out token by token."""

import mlx.core as mx
import numpy as np
import pytest

from stable_diffusion.models.merging import merging
from stable_diffusion.models.unet import BasicTransformerBlock
from tests.oracles import largest_difference


def groups(x: np.ndarray, size: tuple[int, int], share: float) -> list[list[int]]:
    """Bolya & Hoffman's bipartite soft matching of one picture (N, C): the tokens that go together, takers first."""
    H, W = size
    takers = [i * W + j for i in range(0, H, 2) for j in range(0, W, 2)]
    others = [k for k in range(H * W) if k not in takers]
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    best = {k: max(takers, key=lambda taker: unit[k] @ unit[taker]) for k in others}
    others.sort(key=lambda k: -(unit[k] @ unit[best[k]]))
    count = min(int(share * H * W), len(others))
    found = {taker: [taker] for taker in takers}
    for k in others[:count]:
        found[best[k]].append(k)
    return [*found.values(), *([k] for k in sorted(others[count:]))]


@pytest.mark.parametrize("size", [(4, 4), (5, 3), (1, 6), (8, 6)])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.75])
def test_the_most_alike_go_together_and_each_gets_what_comes_of_its_own(size: tuple[int, int], share: float) -> None:
    N, C = size[0] * size[1], 5
    x, values = (mx.random.normal((3, N, C), key=mx.random.key(k)) for k in (0, 1))
    found = merging(x, size, share)
    expected = [groups(np.array(one), size, share) for one in x]
    if found is None:
        assert int(share * N) == 0
        return
    fewer = found.merged(values)
    for b, together in enumerate(expected):
        means = np.stack([np.array(values[b])[places].mean(axis=0) for places in together])
        assert largest_difference(fewer[b], means) < 1e-6
        spread = np.zeros((N, C))
        for place, tokens in enumerate(together):
            spread[tokens] = means[place]
        assert largest_difference(found.unmerged(fewer)[b], spread) < 1e-6


def test_tokens_that_are_all_the_same_merge_and_stay_the_same() -> None:
    for token in (mx.ones((1, 16, 4)) / 3, mx.zeros((1, 16, 4))):
        found = merging(token, (4, 4), 0.75)
        assert found is not None and found.merged(token).shape == (1, 4, 4)
        assert largest_difference(found.unmerged(found.merged(token)), token) < 1e-6


def test_a_picture_merges_the_same_alone_and_among_others() -> None:
    x = mx.random.normal((4, 36, 8), key=mx.random.key(0))
    together, alone = merging(x, (6, 6), 0.5), merging(x[2:3], (6, 6), 0.5)
    assert together is not None and alone is not None
    assert mx.array_equal(together.home[2:3], alone.home)


@pytest.fixture
def block() -> BasicTransformerBlock:
    mx.random.seed(0)
    return BasicTransformerBlock(16, 2, 8, upcast=False)


def test_a_share_of_less_than_a_token_is_exact(block: BasicTransformerBlock) -> None:
    x, context = (mx.random.normal(shape, key=mx.random.key(1)) for shape in ((2, 16, 16), (2, 3, 8)))
    assert merging(x, (4, 4), 0.06) is None
    assert mx.array_equal(block(x, context, (4, 4), 0.06), block(x, context))


def test_attention_between_pairs_of_like_tokens_is_hardly_changed_by_merging_them(
    block: BasicTransformerBlock,
) -> None:
    """Where all four of a square are the same, merging them changes no mean that attention takes."""
    square = mx.random.normal((1, 4, 4, 16), key=mx.random.key(2))
    x = mx.repeat(mx.repeat(square, 2, axis=1), 2, axis=2).reshape(1, 64, 16)
    context = mx.random.normal((1, 3, 8), key=mx.random.key(3))
    assert largest_difference(block(x, context, (8, 8), 0.75), block(x, context)) < 1e-5
    other = mx.random.normal((1, 64, 16), key=mx.random.key(4))
    assert largest_difference(block(other, context, (8, 8), 0.75), block(other, context)) > 1e-3
