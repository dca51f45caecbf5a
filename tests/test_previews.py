"""A linear map from latents to colours: how well it fits, and that it is fitted once."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from stable_diffusion import Settings, StableDiffusion
from stable_diffusion.cache import cache_folder, recall
from stable_diffusion.pictures.images import to_array
from stable_diffusion.pictures.reading import read_picture
from stable_diffusion.pipeline.previews import COUNT, SIDE, applied, fit, practice_latents
from tests.oracles import largest_difference

ROOT = Path(__file__).parents[1]
SD1 = ROOT / "tests" / "data" / "sd1"
TRUE = 0.1 * mx.random.normal((5, 3), key=mx.random.key(1)) + 0.3  # a map from latents to colours
LATENTS = mx.random.normal((2, 6, 8, 4), key=mx.random.key(5))


@pytest.fixture(scope="module")
def demo() -> StableDiffusion:
    return StableDiffusion("demo", float16=False)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that the maps are remembered in, for this test alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return cache_folder() / "previews.json"


def tiny(folder: Path = SD1) -> StableDiffusion:
    return StableDiffusion(str(folder), float16=False)


def blocks(picture: mx.array, f: int = 8) -> np.ndarray:
    """(B, f h, f w, 3) -> the mean of every f x f pixels, (B, h, w, 3)."""
    B, H, W, C = picture.shape
    return np.array(picture).reshape(B, H // f, f, W // f, f, C).mean(axis=(2, 4))


def linear(coefficients: mx.array, f: int, latents: mx.array) -> mx.array:
    """A decoder that is linear, f x f pixels of one colour for every latent."""
    colours = latents @ coefficients[:-1] + coefficients[-1]
    return mx.repeat(mx.repeat(colours, f, axis=1), f, axis=2)


# The fit


@pytest.mark.parametrize(("channels", "f"), [(4, 8), (4, 1), (16, 8)])
def test_a_linear_decoder_is_recovered(channels: int, f: int) -> None:
    true = 0.2 * mx.random.normal((channels + 1, 3), key=mx.random.key(1))
    assert largest_difference(fit(lambda latents: linear(true, f, latents), channels), true) < 1e-3


def test_grain_within_a_latents_pixels_does_not_matter() -> None:
    true = 0.2 * mx.random.normal((5, 3), key=mx.random.key(1))
    grain = mx.random.normal((8, 8, 3), key=mx.random.key(2))
    grain = mx.tile(grain - grain.mean(axis=(0, 1)), (SIDE, SIDE, 1))
    assert largest_difference(fit(lambda latents: linear(true, 8, latents) + grain, 4), true) < 1e-3


def test_the_fit_is_the_best_there_is() -> None:
    """Least squares: no other map is closer to a decoder that is not linear."""
    found = fit(lambda latents: mx.sigmoid(linear(mx.ones((5, 3)), 2, latents)), 4)
    practice = practice_latents(4)
    target = mx.sigmoid(linear(mx.ones((5, 3)), 1, practice))

    def error(coefficients: mx.array) -> float:
        return float(mx.square(linear(coefficients, 1, practice) - target).mean())

    for k in range(20):
        assert error(found) < error(found + 0.02 * mx.random.normal((5, 3), key=mx.random.key(k)))


@pytest.mark.parametrize("channels", [4, 16])
def test_practice_latents_are_soft_and_of_variance_1_and_always_the_same(channels: int) -> None:
    latents = practice_latents(channels)
    assert latents.shape == (COUNT, SIDE, SIDE, channels)
    assert mx.array_equal(latents, practice_latents(channels))
    values = np.array(latents)
    assert math.isclose(values.std(), 1, abs_tol=0.05)
    assert np.linalg.cond(values.reshape(-1, channels)) < 3  # no channel is another one's shadow
    beside = np.corrcoef(values[:, :, 1:].ravel(), values[:, :, :-1].ravel())[0, 1]
    assert 0.6 < beside < 0.95  # of white noise it would be 0


def test_colours_stay_within_what_can_be_shown() -> None:
    coefficients = mx.concatenate([mx.eye(4)[:, :3], mx.array([[0.5, 0.5, 0.5]])])
    latents = mx.array([[[[9.0, -9.0, 0.25, 7.0]]]])
    assert applied(coefficients, latents).tolist() == [[[[1.0, 0.0, 0.75]]]]


# The demo's autoencoder


def test_a_painted_picture_is_nearer_to_its_preview_than_to_any_one_colour(demo: StableDiffusion) -> None:
    settings = Settings(prompt="a house by the sea", seed=1, steps=6, width=64, height=64)
    steps = list(demo.sample(settings))
    for latents in (steps[2].clean, steps[-1].x):
        colours, preview = blocks(demo.decode(latents)), np.array(demo.preview(latents))
        assert preview.shape == colours.shape == (1, 8, 8, 3)
        error, spread = np.square(preview - colours).mean(), colours.var(axis=(1, 2)).mean()
        assert error < spread / 2, f"{error:.4f} off, and the picture itself varies by {spread:.4f}"


def test_a_bright_picture_has_a_bright_preview_with_the_same_shapes(demo: StableDiffusion) -> None:
    # Nearly white all over, where the decoder is far from linear: its preview is 0.06 too dark.
    latents = demo.encode(to_array(read_picture(ROOT / "stable_diffusion" / "demo" / "sketch.png")))
    colours, preview = blocks(demo.decode(latents)), np.array(demo.preview(latents))
    assert preview.shape == colours.shape == (1, 16, 16, 3)
    assert np.square(preview - colours).mean() < np.square(0.5 - colours).mean() / 5
    assert np.corrcoef(preview.ravel(), colours.ravel())[0, 1] > 0.85


# What is remembered


def test_it_is_fitted_once_and_a_second_instance_does_not_decode_at_all(cache: Path) -> None:
    first, second = tiny(), tiny()
    made = first.preview(LATENTS)
    assert made.shape == (2, 6, 8, 3)
    (coefficients,) = recall("previews").values()
    assert np.shape(coefficients) == (5, 3)
    del first.autoencoder, second.autoencoder  # nothing is left to be fitted to
    assert mx.array_equal(second.preview(LATENTS), made)
    cache.unlink()
    assert mx.array_equal(first.preview(LATENTS), made)


def with_linear_decoder(monkeypatch: pytest.MonkeyPatch, folder: Path = SD1) -> StableDiffusion:
    """A model whose decoder is linear: it is fitted in no time, and what the fit should give is known."""
    sd = tiny(folder)
    monkeypatch.setattr(sd, "decode", lambda latents: linear(TRUE, 8, latents))
    return sd


def test_the_map_belongs_to_the_autoencoder_and_to_nothing_else(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = with_linear_decoder(monkeypatch).preview(LATENTS)
    copy = Path(shutil.copytree(SD1, tmp_path / "another unet"))
    for net in ("unet", "vae"):
        config = copy / net / "config.json"
        config.write_text(config.read_text() + "\n")
        other = tiny(copy)
        del other.autoencoder
        if net == "unet":
            assert mx.array_equal(other.preview(LATENTS), made)
        else:
            with pytest.raises(AttributeError, match="autoencoder"):
                other.preview(LATENTS)


def assert_fitted_anew(cache: Path, monkeypatch: pytest.MonkeyPatch, entry: Any) -> None:
    """Put an entry into the cache, and see that it is not believed and that the true one takes its place."""
    with_linear_decoder(monkeypatch).preview(LATENTS)
    cache.write_text(json.dumps(dict.fromkeys(recall("previews"), entry)))
    made = with_linear_decoder(monkeypatch).preview(LATENTS)
    assert largest_difference(made, applied(TRUE, LATENTS)) < 1e-3
    (coefficients,) = recall("previews").values()
    assert largest_difference(coefficients, TRUE) < 1e-3


@pytest.mark.parametrize(
    "entry",
    [None, 5, "x", {}, [], [[]], [1.0] * 15, [[0.0] * 3] * 4, [[0.0] * 4] * 5, [[0.0] * 3, [0.0]], [["a"] * 3] * 5],
    ids=repr,
)
def test_a_damaged_entry_is_fitted_anew(cache: Path, monkeypatch: pytest.MonkeyPatch, entry: Any) -> None:
    assert_fitted_anew(cache, monkeypatch, entry)


def test_an_entry_of_the_right_kind_is_believed(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_linear_decoder(monkeypatch).preview(LATENTS)
    grey = [[0.0] * 3] * 4 + [[0.25] * 3]
    cache.write_text(json.dumps(dict.fromkeys(recall("previews"), grey)))
    assert largest_difference(with_linear_decoder(monkeypatch).preview(LATENTS), np.full((2, 6, 8, 3), 0.25)) == 0


def test_a_damaged_cache_is_fitted_anew(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = with_linear_decoder(monkeypatch).preview(LATENTS)
    cache.write_text("{")
    assert mx.array_equal(with_linear_decoder(monkeypatch).preview(LATENTS), made)
    assert len(recall("previews")) == 1


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_an_entry_of_no_numbers_is_fitted_anew(cache: Path, monkeypatch: pytest.MonkeyPatch, number: float) -> None:
    assert_fitted_anew(cache, monkeypatch, [[number] * 3] * 5)
