"""Masks between pixels, latents and text."""

import base64
import zlib

import mlx.core as mx
import pytest

from stable_diffusion.pipeline.masks import packed, shrunk, unpacked
from tests.oracles import largest_difference


def test_a_mask_comes_back_from_its_text() -> None:
    mask = mx.round(mx.random.uniform(shape=(6, 8), key=mx.random.key(0)) * 255) / 255
    assert largest_difference(unpacked(packed(mask)), mask) < 1e-6
    assert len(packed(mx.ones((128, 128)))) < 100  # a lineage stays short
    for text in ("", "6x8", "6x8:!", "6x9:" + packed(mask).partition(":")[2], packed(mask)[:-8], "axb:eJw="):
        with pytest.raises(ValueError, match="no mask"):
            unpacked(text)


def test_a_latent_has_the_share_of_its_pixels() -> None:
    mask = mx.zeros((16, 24))
    mask[:8, :4] = 1.0
    assert shrunk(mask, 2, 3).tolist() == [[0.5, 0.0, 0.0], [0.0, 0.0, 0.0]]


def test_a_bomb_is_not_unpacked() -> None:
    """300 MB of zeros in 400 kB: only as much as the mask says is ever made of it."""
    bomb = base64.b64encode(zlib.compress(bytes(300_000_000), 9)).decode()
    for size in ("8x8", "100000x100000", "0x0", "-1x-1"):
        with pytest.raises(ValueError, match="no mask"):
            unpacked(f"{size}:{bomb}")
