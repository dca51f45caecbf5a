"""What only a GPU can show: its nets, norms and attention against the CPU's, and the same bits every time.

The CPU's own results are held to float64 and to diffusers elsewhere, so they are the reference here.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from PIL import Image

import image2image
import txt2image
from stable_diffusion import Settings, StableDiffusion
from stable_diffusion.bench.families import FAMILIES
from stable_diffusion.bench.nets import Bench
from stable_diffusion.compute import attention, streams
from stable_diffusion.compute.attention import as_keys, as_values, attend
from stable_diffusion.compute.convolution import Conv2d
from stable_diffusion.compute.elementwise import exp2, geglu, silu
from stable_diffusion.compute.norm import GroupNorm
from stable_diffusion.models.layers import Downsample2D, Upsample2D
from tests.commands import pixels

GPU = mx.default_device() == mx.gpu
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not GPU, reason="MLX has no GPU here")]

SETTINGS = Settings(prompt="a photo of a house by a river at sunset, mountains", seed=3, steps=3)


@contextmanager
def on_the_cpu() -> Iterator[None]:
    """MLX, and the choices that this package makes for a CPU, for as long as it lasts."""
    mx.set_default_device(mx.cpu)
    try:
        yield
    finally:
        mx.set_default_device(mx.gpu)


def reference(make: Callable[[], mx.array]) -> mx.array:
    """What the CPU makes of it."""
    with on_the_cpu():
        y = streams.done(make)
        mx.eval(y)
    return y


def apart(found: mx.array, wanted: mx.array) -> float:
    """The largest difference over the largest number."""
    a, b = (np.array(y.astype(mx.float32)) for y in (found, wanted))
    assert a.shape == b.shape and np.isfinite(a).all()
    return float(np.abs(a - b).max() / np.abs(b).max())


def numbers(*shape: int, seed: int = 0) -> mx.array:
    """The same on either device."""
    return mx.array(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


# Nets


@pytest.mark.parametrize(("float16", "most"), [(False, 1e-3), (True, 2e-2)])
@pytest.mark.parametrize("what", ["unet", "text", "encode", "decode"])
def test_nets_are_the_cpus(what: str, float16: bool, most: float) -> None:
    """The demo's nets, with random weights, whose numbers are as large as any."""

    def made(half: bool) -> mx.array:
        x = getattr(Bench(FAMILIES["demo"], half, steps=1), what)(128)
        return x[0] if isinstance(x, list) else x

    assert apart(made(float16), reference(lambda: made(False))) < most


@pytest.mark.parametrize("float16", [False, True])
def test_pictures_are_the_cpus(float16: bool) -> None:
    """A few steps from one noise: what differs in a step may grow."""
    wanted = reference(lambda: StableDiffusion("demo", float16=False).txt2img(SETTINGS))
    found = StableDiffusion("demo", float16=float16).txt2img(SETTINGS)
    assert float(mx.abs(found - wanted).mean()) < (0.01 if float16 else 0.002)


@pytest.mark.parametrize("kind", [8, 4, "mxfp8", "mxfp4"])
def test_quantised_nets_are_the_cpus(kind: int | str) -> None:
    def made() -> mx.array:
        sd = StableDiffusion("demo", float16=False, quantize=kind)
        x, context = numbers(2, 16, 16, 4), numbers(2, 77, sd.description.unet.cross_attention_dim, seed=1)
        return sd.unet(x, mx.array([500.0, 20.0]), context)

    assert apart(made(), reference(made)) < 5e-3


# Attention


def attention_of(q: mx.array, k: mx.array, v: mx.array) -> mx.array:
    return attend(q, as_keys([k]), as_values([v]))


WIDTHS = [8, 40, 64, 72, 80, 96, 128, 160, 512]  # filled up, fused, and neither


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("dtype", [mx.float32, mx.float16])
def test_attention_is_the_cpus_at_every_width(width: int, dtype: mx.Dtype) -> None:
    q, k, v = numbers(2, 2, 100, width), numbers(2, 2, 77, width, seed=1), numbers(2, 2, 77, width, seed=2)
    wanted = reference(lambda: attention_of(q, k, v))
    found = attention_of(q.astype(dtype), k.astype(dtype), v.astype(dtype))
    assert found.dtype == dtype and apart(found, wanted) < (2e-5 if dtype == mx.float32 else 5e-3)


@pytest.mark.parametrize("width", WIDTHS)
def test_attention_in_chunks_is_attention(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = (numbers(2, 3, 130, width, seed=seed) for seed in range(3))
    plain = mx.fast.scaled_dot_product_attention(q, k, v, scale=width**-0.5)
    monkeypatch.setattr(attention, "SCORES_ON_GPU", 2 * 3 * 130 * 7)
    assert apart(attention_of(q, k, v), plain) < 2e-5


def test_chunks_hold_no_more_scores_than_they_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a width that nothing is fused for, 4096 x 4096 scores are 64 MiB a head."""
    monkeypatch.setattr(attention, "SCORES_ON_GPU", 2**20)
    q, k, v = (numbers(1, 8, 4096, 160, seed=seed).astype(mx.float16) for seed in range(3))
    mx.eval(q, k, v)
    mx.clear_cache()
    mx.reset_peak_memory()
    before = mx.get_active_memory()
    mx.eval(attention_of(q, k, v))
    assert mx.get_peak_memory() - before < 8 * 4096**2 * 2 // 2


# Layers


@pytest.mark.parametrize("shape", [(1, 64, 64, 320), (2, 33, 47, 64), (1, 128, 128, 128)])
@pytest.mark.parametrize("offset", [0.0, 10.0])
@pytest.mark.parametrize("dtype", [mx.float32, mx.float16])
def test_group_norm_is_the_cpus(shape: tuple[int, ...], offset: float, dtype: mx.Dtype) -> None:
    net, x = GroupNorm(32, shape[-1]), (numbers(*shape) + offset).astype(dtype)
    net.weight, net.bias = numbers(shape[-1], seed=1), numbers(shape[-1], seed=2)
    wanted = reference(lambda: net.with_silu(x.astype(mx.float32))(x.astype(mx.float32)))
    net.set_dtype(dtype)
    most = 2e-2 if dtype == mx.float16 else 1e-3 if offset else 1e-4
    assert apart(net.with_silu(x)(x), wanted) < most


@pytest.mark.parametrize(
    "make", [lambda: Conv2d(64, 96, 3, padding=1), lambda: Downsample2D(64), lambda: Upsample2D(64)]
)
@pytest.mark.parametrize("dtype", [mx.float32, mx.float16])
def test_convolutions_are_the_cpus(make: Callable[[], nn.Module], dtype: mx.Dtype) -> None:
    net, x = make(), numbers(2, 64, 64, 64)
    mx.eval(net.parameters())
    wanted = reference(lambda: net(x))
    net.set_dtype(dtype)
    assert apart(net(x.astype(dtype)), wanted) < (1e-3 if dtype == mx.float32 else 1e-2)


@pytest.mark.parametrize("function", [exp2, silu, lambda x: geglu(x, x[::-1])])
def test_functions_are_the_cpus(function: Callable[[mx.array], mx.array]) -> None:
    x = numbers(1000) * 4
    assert apart(function(x), reference(lambda: function(x))) < 1e-5


def test_work_is_not_spread_where_there_is_one_stream() -> None:
    assert not streams.on_cpu() and len(streams.lanes()) == 1


# The same bits


def test_a_picture_is_made_again_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert txt2image.main(["a house by the sea, photo", "--steps", "3", "--seed", "5", "--n_images", "2"]) == 0
    assert txt2image.main(["--from", "out-seed6.png", "-o", "again.png"]) == 0
    assert np.array_equal(pixels("out-seed6.png"), pixels("again.png"))


def test_a_picture_from_a_picture_is_made_again_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.linear_gradient("L").resize((128, 128)).convert("RGB").save("in.png")
    assert image2image.main(["in.png", "a house by the sea, photo", "--steps", "4", "--seed", "5"]) == 0
    assert image2image.main(["-", "--from", "out.png", "-o", "again.png"]) == 0
    assert np.array_equal(pixels("out.png"), pixels("again.png"))
