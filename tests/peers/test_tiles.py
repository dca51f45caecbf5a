"""Stripes against diffusers: its whole pictures are met, where its own tiles are far from them."""

from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from families import FAMILIES
from PIL import Image

from stable_diffusion import StableDiffusion
from stable_diffusion.pipeline.coding import decoded, encoded
from tests.nets import relative_error

DEMO = Path(__file__).parents[2] / "stable_diffusion" / "demo"
TILE = 128  # the demo's own size, and that of diffusers' tiles of it


@torch.no_grad()
def theirs(vae: AutoencoderKL, picture: np.ndarray, latents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The latents of a picture and the picture of latents, scaled as a run takes them, channel-last."""
    x, z = (torch.from_numpy(y).permute(0, 3, 1, 2) for y in (picture, latents))
    encoding = vae.encode(x).latent_dist.mean * vae.config.scaling_factor
    decoding = vae.decode(z / vae.config.scaling_factor).sample
    return encoding.permute(0, 2, 3, 1).numpy(), decoding.permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("h", "w", "tile"), [(9, 14, 16), (3, 30, 16), (31, 2, 24), (12, 12, 512)])
def test_stripes_are_diffusers_whole(family: str, h: int, w: int, tile: int, tmp_path: Path) -> None:
    folder = FAMILIES[family](tmp_path / family, 3)
    draw = np.random.default_rng(h)
    latents = draw.normal(size=(2, h, w, 4)).astype(np.float32)
    net = StableDiffusion(str(folder), float16=False).autoencoder
    f = net.config.factor
    picture = draw.uniform(-1, 1, (2, f * h, f * w, 3)).astype(np.float32)
    wanted = theirs(AutoencoderKL.from_pretrained(folder / "vae").eval(), picture, latents)
    found = (encoded(net, mx.array(picture), tile), decoded(net, mx.array(latents), tile))
    for one, other in zip(found, wanted, strict=True):
        assert relative_error(np.array(one), other) < 1e-4


def test_tiles_with_statistics_of_their_own_are_not() -> None:
    """Trained weights: what diffusers' tiles, blended over a quarter, lose of a picture of 512 x 512."""
    with Image.open(DEMO / "sketch.png") as sketch:
        picture = np.array(sketch.convert("RGB").resize((512, 512)), np.float32)[None] / 127.5 - 1
    vae = AutoencoderKL.from_pretrained(DEMO / "vae").eval()
    net = StableDiffusion("demo", float16=False).autoencoder
    latents = np.array(encoded(net, mx.array(picture)))
    wanted = theirs(vae, picture, latents)
    vae.enable_tiling()
    assert vae.tile_sample_min_size == TILE
    tiled = theirs(vae, picture, latents)
    found = (encoded(net, mx.array(picture), TILE), decoded(net, mx.array(latents), TILE))
    ours = [float(np.abs(np.array(one) - other).max()) for one, other in zip(found, wanted, strict=True)]
    others = [float(np.abs(one - other).max()) for one, other in zip(tiled, wanted, strict=True)]
    print(ours, others)
    assert max(ours) < 1e-4 and min(others) > 0.1
