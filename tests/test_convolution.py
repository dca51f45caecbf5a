"""Convolutions in stripes, with fewer products, against MLX's own over the whole picture."""

from collections.abc import Callable

import mlx.core as mx
import mlx.nn as nn
import pytest

from stable_diffusion.compute import convolution
from stable_diffusion.compute.convolution import Conv2d, doubled
from stable_diffusion.compute.norm import GroupNorm
from stable_diffusion.compute.streams import _Here
from stable_diffusion.models.layers import Upsample2D

SIZES = [(1, 33, 47, 64, 64), (2, 32, 32, 70, 66), (1, 40, 64, 64, 96), (3, 9, 8, 4, 5), (1, 1, 1, 3, 2)]


@pytest.fixture(params=[(1, 2**23), (2, 2**16), (3, 1)], autouse=True)
def _striped(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    streams, unrolled = request.param
    monkeypatch.setattr("stable_diffusion.compute.streams.cores", lambda: streams)
    monkeypatch.setattr("stable_diffusion.compute.streams._here", _Here())
    monkeypatch.setattr(convolution, "UNROLLED", unrolled)
    monkeypatch.setattr(convolution, "WORTH", 2**10)
    monkeypatch.setattr(convolution, "WORTH_MANY", 2**10)


def apart(found: mx.array, wanted: mx.array) -> float:
    assert found.shape == wanted.shape
    return float(mx.abs(found - wanted).max() / mx.sqrt(mx.square(wanted).mean()))


def picture(B: int, H: int, W: int, C: int) -> mx.array:
    return mx.random.normal((B, H, W, C), key=mx.random.key(B + H + W + C))


@pytest.mark.parametrize(("B", "H", "W", "C", "out"), SIZES)
@pytest.mark.parametrize("before", [convolution.same, nn.silu])
@pytest.mark.parametrize("bias", [True, False])
def test_a_convolution_is_the_same(
    B: int, H: int, W: int, C: int, out: int, before: Callable[[mx.array], mx.array], bias: bool
) -> None:
    net, x = Conv2d(C, out, 3, padding=1, bias=bias), picture(B, H, W, C)
    assert apart(net(x, before), nn.Conv2d.__call__(net, before(x))) < 1e-5


@pytest.mark.parametrize(("B", "H", "W", "C", "out"), SIZES)
@pytest.mark.parametrize("padding", [0, 1])
def test_half_the_size_is_the_same(B: int, H: int, W: int, C: int, out: int, padding: int) -> None:
    if H + 2 * padding < 3:
        pytest.skip("smaller than the kernel")
    net, x = Conv2d(C, C, 3, stride=2, padding=padding), picture(B, H, W, C)
    assert apart(net(x), nn.Conv2d.__call__(net, x)) < 1e-5


@pytest.mark.parametrize(("B", "H", "W", "C", "out"), SIZES)
@pytest.mark.parametrize("less", [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_double_the_size_is_the_same(B: int, H: int, W: int, C: int, out: int, less: tuple[int, int]) -> None:
    net, x = Upsample2D(C), picture(B, H, W, C)
    h, w = 2 * H - less[0], 2 * W - less[1]
    assert apart(net(x, (h, w)), nn.Conv2d.__call__(net.conv, doubled(x)[:, :h, :w])) < 1e-5


def test_fewer_products_are_taken_where_they_pay() -> None:
    def takes(net: Conv2d, x: mx.array) -> bool:
        return net._fewer_products(x)

    net, large = Conv2d(64, 64, 3, padding=1), picture(1, 32, 32, 64)
    assert takes(net, large)
    assert not takes(net, picture(1, 16, 16, 64)) and not takes(Conv2d(64, 4, 3, padding=1), large)
    assert not takes(Conv2d(64, 64, 3, padding=1, stride=2), large) and not takes(Conv2d(64, 64, 1), large)
    net.set_dtype(mx.float16)
    assert not takes(net, large.astype(mx.float16))


@pytest.mark.parametrize("shape", [(1, 1, 1, 32), (2, 5, 7, 64), (1, 64, 96, 32), (3, 33, 20, 96)])
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_group_norm_is_right(shape: tuple[int, ...], offset: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stable_diffusion.compute.norm.NUMBERS", 1000)
    net = GroupNorm(32, shape[-1])
    net.weight, net.bias = (mx.random.normal((shape[-1],), key=mx.random.key(k)) for k in (8, 9))
    x = picture(*shape) + offset
    groups = x.reshape(shape[0], -1, 32, shape[-1] // 32).astype(mx.float64)
    with mx.stream(mx.cpu):
        mean = groups.mean(axis=(1, 3), keepdims=True)
        variance = mx.square(groups - mean).mean(axis=(1, 3), keepdims=True)
        y = ((groups - mean) * mx.rsqrt(variance + 1e-5)).reshape(shape)
        wanted = (y * net.weight + net.bias).astype(mx.float32)
    if shape[1] * shape[2] > 1 or shape[-1] > 32:
        assert float(mx.abs(net(x) - wanted).max()) < (2e-5 if offset == 0 else 2e-3)
    assert float(mx.abs(net.with_silu(x)(x) - nn.silu(net(x))).max()) < 1e-5
