"""Lists of layers, run whole: against the layers themselves; and the windows that stripes are cut by."""

from collections.abc import Sequence

import mlx.core as mx
import mlx.nn as nn
import pytest

from stable_diffusion.compute.chain import Chain, Layer, Residual, Whole, Window, normed, run, window_of
from stable_diffusion.compute.convolution import Conv2d
from stable_diffusion.compute.elementwise import silu
from stable_diffusion.compute.norm import GroupNorm
from stable_diffusion.models.layers import Downsample2D, ResnetBlock2D, Upsample2D
from stable_diffusion.models.taesd import TinyBlock
from tests.oracles import largest_difference

X = mx.random.normal((2, 6, 5, 8), key=mx.random.key(1))
NORM, CONV, WIDER = GroupNorm(4, 8), Conv2d(8, 8, 3, padding=1), Conv2d(8, 12, 3, padding=1)


def by_hand(links: Sequence[Layer], x: mx.array) -> mx.array:
    for link in links:
        x = link(x)
    return x


@pytest.mark.parametrize(
    "links",
    [
        [],
        [CONV, nn.ReLU()],
        [NORM, silu, CONV],
        [NORM, silu, CONV, NORM, silu, WIDER],
        [NORM, CONV],  # without SiLU
        [silu, CONV, NORM, silu],
        [CONV, NORM, nn.ReLU(), CONV],
    ],
)
def test_links_are_run_one_after_the_other(links: Sequence[Layer]) -> None:
    for one in (run(links, X), Whole(links)(X)):
        assert largest_difference(one, by_hand(links, X)) < 1e-6


def test_a_residual_adds_what_its_shortcut_makes() -> None:
    shortcut = nn.Linear(8, 12)
    assert largest_difference(Residual([CONV, WIDER], shortcut)(X), WIDER(CONV(X)) + shortcut(X)) < 1e-6
    assert largest_difference(Residual([CONV])(X), CONV(X) + X) < 1e-6


def test_a_norm_and_silu_belong_to_the_convolution_after_them_and_to_nothing_else() -> None:
    links: list[Layer] = [CONV, NORM, silu, WIDER, NORM, CONV, silu]
    assert [(norm is not None, link) for norm, link in normed(links)] == [
        (False, CONV), (True, WIDER), (False, NORM), (False, CONV), (False, silu),
    ]  # fmt: skip


class Two(Chain):
    def links(self) -> list[Layer]:
        return [CONV, WIDER]


@pytest.mark.parametrize(
    ("link", "window"),
    [
        (CONV, Window(1, channels=8)),
        (Conv2d(8, 4, 3, padding=1, stride=2), Window(1, down=2, channels=4)),
        (Conv2d(8, 4, 1), Window(0, channels=4)),
        (nn.ReLU(), Window()),
        (TinyBlock(8), Window(3, channels=8)),
        (Two(), Window(2, channels=12)),
        (Residual([WIDER]), Window(1, channels=12)),
        (Downsample2D(8), Window(1, down=2)),
        (Upsample2D(8), Window(1, up=2)),
        (NORM, None),  # sees all of a picture
        (ResnetBlock2D(8, 8, 4, 1e-5), None),
        (Residual([CONV, Upsample2D(8)]), None),  # changes its size
        (Whole([CONV]), None),
        (nn.Linear(8, 8), None),  # of which nothing is known
    ],
)
def test_a_window_is_what_a_layer_sees(link: Layer, window: Window | None) -> None:
    assert window_of(link) == window
