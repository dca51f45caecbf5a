"""When pictures are coded in stripes, and what becomes of those that half precision is too small for."""

import warnings
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten
from PIL import Image

import image2image
import txt2image
from stable_diffusion import Settings, StableDiffusion
from stable_diffusion.compute.stripes import Tiling
from stable_diffusion.config import TILE, TinyVAEConfig
from stable_diffusion.models.taesd import TinyAutoencoder
from stable_diffusion.models.vae import AutoencoderKL
from stable_diffusion.pipeline import memory
from stable_diffusion.pipeline.memory import Weights, coding, needed, tiling_for
from tests.commands import pixels

SKETCH = "stable_diffusion/demo/sketch.png"
FEW = {"prompt": "a meadow in the fog, photo", "seed": 7, "steps": 1}


@pytest.fixture(scope="module")
def sd() -> StableDiffusion:
    return StableDiffusion("demo", float16=False)


@pytest.fixture
def tiles(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, Tiling | None]]:
    """What the autoencoder is asked for from here on: the way, how many pictures at once, in which tile."""
    seen: list[tuple[str, int, Tiling | None]] = []
    encode, decode = AutoencoderKL.encode, AutoencoderKL.decode

    def encoding(net: AutoencoderKL, x: mx.array, tiling: Tiling | None = None) -> tuple[mx.array, mx.array]:
        seen.append(("encode", x.shape[0], tiling))
        return encode(net, x, tiling)

    def decoding(net: AutoencoderKL, z: mx.array, tiling: Tiling | None = None) -> mx.array:
        seen.append(("decode", z.shape[0], tiling))
        return decode(net, z, tiling)

    monkeypatch.setattr(AutoencoderKL, "encode", encoding)
    monkeypatch.setattr(AutoencoderKL, "decode", decoding)
    return seen


@pytest.fixture
def memory_for(sd: StableDiffusion, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """A machine of just so much memory that so many pixels are coded whole."""

    def make(count: int) -> None:
        there = 2 * coding(sd.description.vae, count, mx.float32)
        monkeypatch.setattr(memory, "available", lambda: there)

    return make


def latents(sd: StableDiffusion, count: int = 1, side: int = 16) -> mx.array:
    return mx.random.normal((count, side, side, 4), key=mx.random.key(3))


# Stripes


def test_pictures_are_coded_whole_where_they_fit(
    sd: StableDiffusion, tiles: list[tuple[str, int, Tiling | None]], memory_for: Callable[[int], None]
) -> None:
    memory_for(2 * 128**2)
    whole = sd.decode(latents(sd, 2))
    sd.encode(whole[0] * 2 - 1)
    assert tiles == [("decode", 2, None), ("encode", 1, None)]


def test_they_follow_one_another_where_they_fit_apart(
    sd: StableDiffusion, tiles: list[tuple[str, int, Tiling | None]], memory_for: Callable[[int], None]
) -> None:
    z = latents(sd, 2)
    wanted = sd.decode(z)
    tiles.clear()
    memory_for(2 * 128**2 - 1)
    found = sd.decode(z)
    assert tiles == [("decode", 1, None)] * 2
    assert float(mx.abs(found - wanted).max()) < 1e-5


def test_they_go_in_stripes_by_themselves_where_one_does_not_fit(
    sd: StableDiffusion, tiles: list[tuple[str, int, Tiling | None]], memory_for: Callable[[int], None]
) -> None:
    z = latents(sd, side=40)
    memory_for(320**2 - 1)
    sd.encode(sd.decode(z)[0] * 2 - 1)
    assert [tiling and tiling.side for *_, tiling in tiles] == [TILE, TILE]
    tiles.clear()
    memory_for(128**2 - 1)  # in which no stripe of theirs fits either
    sd.decode(latents(sd))
    assert tiles == [("decode", 1, None)]


def test_a_tile_that_is_asked_for_is_taken(tiles: list[tuple[str, int, Tiling | None]]) -> None:
    asked = StableDiffusion("demo", float16=False, tile=64)
    asked.encode(asked.decode(latents(asked))[0] * 2 - 1)
    assert tiles == [("decode", 1, Tiling(64)), ("encode", 1, Tiling(64))]
    plain = StableDiffusion("demo", float16=False)
    assert float(mx.abs(asked.decode(latents(asked)) - plain.decode(latents(plain))).max()) < 1e-5


@pytest.mark.parametrize("tile", [0, 15, -1, 2**17, 64.5, "64", True])
def test_a_tile_that_cannot_be_is_refused(tile: object) -> None:
    with pytest.raises(ValueError, match=r"tile is .*: it must be"):
        StableDiffusion("demo", tile=tile)  # type: ignore[arg-type]


def test_stripes_are_told_of_where_nobody_asked_for_them(
    sd: StableDiffusion, memory_for: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stable_diffusion.pipeline.stable_diffusion.check_memory", lambda *_, **__: None)
    memory_for(320**2 - 1)
    run = sd.planner.run(Settings(**FEW, width=320, height=320))  # type: ignore[arg-type]
    with pytest.warns(UserWarning, match=f"decode 320 x 320 whole would take about .* GiB .* --tile {TILE}"):
        sd.begin([run])
    memory_for(320**2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sd.begin([run])
        memory_for(320**2 - 1)
        StableDiffusion("demo", float16=False, tile=64).begin([run])


def test_stripes_take_less_by_the_estimate(sd: StableDiffusion, monkeypatch: pytest.MonkeyPatch) -> None:
    vae = StableDiffusion("demo", float16=False).description.vae
    for cpu in (True, False):
        monkeypatch.setattr(memory, "on_cpu", lambda cpu=cpu: cpu)
        takes = [
            coding(vae, 4096**2, mx.float32, t) for t in (Tiling(64, 1), Tiling(64), Tiling(512), Tiling(4096), None)
        ]
        assert takes == sorted(takes) and takes[0] < takes[1] < takes[2] < takes[3] == takes[4]
        assert coding(vae, 4096**2, mx.float16, Tiling(256)) < coding(vae, 4096**2, mx.float32, Tiling(256))
        assert coding(vae, 128**2, mx.float32, Tiling(256)) == coding(vae, 128**2, mx.float32)


def test_the_estimate_knows_of_stripes(sd: StableDiffusion, monkeypatch: pytest.MonkeyPatch) -> None:
    run = sd.planner.run(Settings(prompt="a", steps=1, width=2048, height=2048, cfg=1.0))
    monkeypatch.setattr(memory, "kept", lambda *_: 0)
    for name in ("WIDEST", "KERNELS", "PROCESS"):
        monkeypatch.setattr(memory, name, 0)
    whole, striped = needed(sd.description, [run]), needed(sd.description, [run], weights=Weights(tile=256))
    assert striped < whole
    vae, ample = sd.description.vae, Tiling(TILE)
    twice = 2 * coding(vae, 2048**2, mx.float32, ample)  # half of it is for stripes, which are taken by themselves
    for there, found in ((twice, ample), (twice - 1, Tiling(TILE, room=1))):
        monkeypatch.setattr(memory, "available", lambda there=there: there)
        assert tiling_for(vae, 2048**2, mx.float32, None) == found
        takes = needed(sd.description, [run])
        assert takes - coding(vae, 2048**2, mx.float32, found) == 2 * 4 * 3 * 2048**2  # the picture, and once more
        assert takes == striped if found == ample else takes < striped


def test_commands_take_a_tile_and_write_it_down(tmp_path: Path, tiles: list[tuple[str, int, Tiling | None]]) -> None:
    out, again, whole = (tmp_path / f"{name}.png" for name in ("out", "again", "whole"))
    words = [SKETCH, "a meadow", "--seed", "3", "--steps", "2"]
    assert image2image.main([*words, "--tile", "48", "-o", str(out)]) == 0
    assert tiles == [("encode", 1, Tiling(48)), ("decode", 1, Tiling(48))]
    assert txt2image.main(["a meadow", "--steps", "1", "--tile", "-o", str(whole)]) == 0
    assert tiles[2:] == [("decode", 1, None)]  # a picture that it covers is coded whole
    tiles.clear()
    assert image2image.main(["--from", str(out), "-o", str(again)]) == 0
    assert tiles == [("encode", 1, Tiling(48)), ("decode", 1, Tiling(48))]
    assert np.array_equal(pixels(again), pixels(out))


def test_a_command_refuses_a_tile_that_cannot_be(capsys: pytest.CaptureFixture[str]) -> None:
    assert txt2image.main(["a meadow", "--tile", "3"]) == 1
    assert capsys.readouterr().err == "error: tile is 3: it must be from 16 to 65536\n"
    with pytest.raises(SystemExit) as ended:
        txt2image.main(["a meadow", "--tile", "large"])
    assert ended.value.code == 2


# Half precision


def picture(side: int) -> mx.array:
    with Image.open(SKETCH) as sketch:
        return mx.array(np.array(sketch.convert("RGB").resize((side, side)), np.float32) / 127.5 - 1)


def test_half_precision_is_safe_in_the_demos_autoencoder(sd: StableDiffusion) -> None:
    """Trained weights and a picture: half a level of 255 at the most, and nothing that half precision cannot hold."""
    half = StableDiffusion("demo", float16=True)
    assert half.description.vae.force_upcast and half.autoencoder.decoder.conv_in.weight.dtype == mx.float16
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        z, wanted = half.encode(picture(64)), sd.encode(picture(64))
        assert float(mx.abs(z - wanted).max()) < 0.02
        assert float(mx.abs(half.decode(wanted) - sd.decode(wanted)).max()) < 0.5 / 255 * 1.5


@pytest.fixture
def small() -> StableDiffusion:
    """A model in half precision, whose autoencoder overflows for pictures and latents that are not small."""
    half = StableDiffusion("demo", float16=True)
    half.autoencoder.post_quant_conv.bias = mx.zeros((4,), mx.float16)
    for conv in (half.autoencoder.decoder.conv_in, half.autoencoder.encoder.conv_in):
        weight = conv.weight.astype(mx.float32)
        conv.weight = (weight * (3e4 / mx.abs(weight).max())).astype(mx.float16)
        conv.bias = mx.zeros_like(conv.bias)
    return half


def in_full(half: StableDiffusion) -> StableDiffusion:
    """The same weights, which calculate in full."""
    full = StableDiffusion("demo", float16=False)
    full.autoencoder.update(half.autoencoder.parameters())
    full.autoencoder.set_dtype(mx.float32)
    return full


def test_what_half_precision_is_too_small_for_is_decoded_in_full(small: StableDiffusion) -> None:
    z = latents(small, 3, side=4) * mx.array([1e-3, 10.0, 1e-3])[:, None, None, None]
    before = dict(tree_flatten(small.autoencoder.parameters()))
    with pytest.warns(UserWarning, match=r"too small .*: 1 of 3 pictures were coded in full \(--no-float16"):
        found = small.decode(z)
    wanted = in_full(small).decode(z)
    assert float(mx.abs(found[1] - wanted[1]).max()) < 1e-5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rest = small.decode(z[mx.array([0, 0, 2])])  # as many, since a BLAS may round otherwise for fewer
    assert mx.array_equal(found[::2], rest[::2])
    after = dict(tree_flatten(small.autoencoder.parameters()))
    assert all(mx.array_equal(after[name], before[name]) and after[name].dtype == mx.float16 for name in before)


def test_and_encoded_in_full(small: StableDiffusion) -> None:
    with pytest.warns(UserWarning, match="the picture was coded in full"):
        found = small.encode(picture(32))
    assert float(mx.abs(found - in_full(small).encode(picture(32))).max()) < 1e-4


def test_frames_and_stripes_too(small: StableDiffusion) -> None:
    small.tile = 16
    z = latents(small, 1, side=4) * 10
    with pytest.warns(UserWarning, match="the picture was coded in full"):
        found = small.decode(z)
    assert float(mx.abs(found - in_full(small).decode(z)).max()) < 1e-5


def test_what_was_no_number_before_is_an_error_and_no_matter_of_precision(small: StableDiffusion) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(FloatingPointError, match="what it was given holds some already"):
            small.decode(mx.full((1, 4, 4, 4), mx.nan))


@pytest.mark.parametrize("float16", [False, True])
def test_what_full_precision_is_too_small_for_is_no_matter_of_half(float16: bool) -> None:
    sd = StableDiffusion("demo", float16=float16)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(FloatingPointError, match=r"^decoding gave .*; try another autoencoder: --vae \(vae=...\)$"):
            sd.decode(latents(sd, 1, side=4) * 1e37)


def test_a_quick_look_that_shows_nothing_says_what_else_shows_it() -> None:
    sd = StableDiffusion("demo", float16=False)
    sd.tiny = TinyAutoencoder(TinyVAEConfig(channels=16))
    bias = sd.tiny.decoder.layers[-1].bias
    sd.tiny.decoder.layers[-1].bias = mx.full(bias.shape, 3e38)  # a float32 holds it, but not twice as much
    with pytest.raises(FloatingPointError, match=r"^decoding gave .*; try --preview full \(decode\)$"):
        sd.quick(latents(sd, 1, side=4))


def test_weights_that_half_precision_cannot_hold_are_an_error_that_says_so(small: StableDiffusion) -> None:
    small.autoencoder.decoder.conv_in.weight = small.autoencoder.decoder.conv_in.weight * 10
    with pytest.raises(FloatingPointError, match="infinite in half precision: --no-float16"):
        small.decode(latents(small, 1, side=4))


def test_pictures_that_a_tile_covers_are_as_without_one(
    tiles: list[tuple[str, int, Tiling | None]], memory_for: Callable[[int], None]
) -> None:
    """They go one by one where not all fit together, and the estimate knows."""
    sd = StableDiffusion("demo", float16=False, tile=256)
    (run,) = [sd.planner.run(Settings(prompt="a", steps=1, n_images=8))]
    assert needed(sd.description, [run], 1) == needed(sd.description, [run], 1, weights=Weights(tile=256))
    memory_for(2 * 128**2)
    sd.decode(latents(sd, 3))
    assert tiles == [("decode", 1, None)] * 3


def test_a_tile_is_checked_when_it_is_set() -> None:
    sd = StableDiffusion("demo", float16=False)
    with pytest.raises(ValueError, match="tile is 0: it must be from 16"):
        sd.tile = 0
    assert sd.tile is None
