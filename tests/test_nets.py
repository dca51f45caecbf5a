"""Nets against what diffusers and transformers made of the same weights: tests/make_references.py."""

import json
import shutil
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from stable_diffusion import StableDiffusion
from stable_diffusion.config import CLIPTextConfig, UNetConfig, VAEConfig
from stable_diffusion.models.unet import sinusoids
from tests.nets import our_outputs, relative_error

DATA = Path(__file__).parent / "data"
FAMILIES = ["sd1", "sd2", "xl", "inpainting"]


@pytest.mark.parametrize("family", FAMILIES)
def test_nets_agree_with_diffusers_and_transformers(family: str) -> None:
    theirs = np.load(DATA / family / "outputs.npz")
    ours = our_outputs(StableDiffusion(str(DATA / family), float16=False), theirs)
    assert set(ours) == {name for name in theirs.files if not name.startswith(("in_", "ids"))}
    errors = {name: relative_error(value, theirs[name]) for name, value in ours.items()}
    for name, error in errors.items():
        assert error < (1e-4 if name in ("unet", "encoded", "decoded") else 1e-5), (name, error)


@pytest.mark.parametrize("family", FAMILIES)
def test_half_precision_stays_near(family: str) -> None:
    theirs = np.load(DATA / family / "outputs.npz")
    sd = StableDiffusion(str(DATA / family), float16=True)
    assert sd.unet.conv_in.weight.dtype == mx.float16
    assert sd.encode(mx.zeros((64, 64, 3))).dtype == mx.float32
    for name, value in our_outputs(sd, theirs).items():
        assert relative_error(value, theirs[name]) < 0.03, name


def test_the_autoencoder_of_an_xl_that_asks_for_full_precision_gets_it() -> None:
    """As in diffusers: its StableDiffusionXLPipeline heeds force_upcast, its StableDiffusionPipeline does not."""
    kept = {family: StableDiffusion(str(DATA / family), float16=True) for family in ("sd1", "sd2", "xl")}
    said = {family: sd.description.vae.force_upcast for family, sd in kept.items()}
    assert said == {"sd1": True, "sd2": False, "xl": True}
    wanted = {"sd1": mx.float16, "sd2": mx.float16, "xl": mx.float32}
    assert {family: sd.autoencoder.encoder.conv_in.weight.dtype for family, sd in kept.items()} == wanted


def test_a_mended_autoencoder_of_xl_is_half(tmp_path: Path) -> None:
    """As madebyollin/sdxl-vae-fp16-fix: a repo whose config says force_upcast false."""
    vae = tmp_path / "fix"
    shutil.copytree(DATA / "xl" / "vae", vae)
    config = json.loads((vae / "config.json").read_text())
    (vae / "config.json").write_text(json.dumps({**config, "force_upcast": False}))
    sd = StableDiffusion(str(DATA / "xl"), float16=True, vae=str(vae))
    assert sd.autoencoder.encoder.conv_in.weight.dtype == mx.float16
    del config["force_upcast"]  # older than that option, whose default is true
    (vae / "config.json").write_text(json.dumps(config))
    sd = StableDiffusion(str(DATA / "xl"), float16=True, vae=str(vae))
    assert sd.autoencoder.encoder.conv_in.weight.dtype == mx.float32


def test_attention_masks_do_not_overflow_in_half_precision() -> None:
    sd = StableDiffusion(str(DATA / "sd1"), float16=True)
    output = sd.text_encoder(mx.array([[0] * 77]))
    assert mx.isfinite(output.last_hidden_state).all()


def test_times_are_embedded_in_full_precision() -> None:
    """diffusers 0.42.1: get_timestep_embedding(torch.tensor([999.5]), 6, flip_sin_to_cos=True, freq_shift=0)."""
    frequencies = np.exp(-np.log(10000) * np.arange(3) / 3)
    wanted = np.concatenate([np.cos(999.5 * frequencies), np.sin(999.5 * frequencies)])
    assert np.abs(np.array(sinusoids(mx.array([999.5]), 6))[0] - wanted).max() < 1e-4


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ({"down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["AttnDownBlock2D"]}, "AttnDownBlock2D"),
        ({"up_block_types": ["KUpBlock2D"] * 4}, "KUpBlock2D"),
        ({"mid_block_type": "UNetMidBlock2DSimpleCrossAttn"}, "SimpleCrossAttn"),
        ({"block_out_channels": [8, 8]}, "2 levels"),
        ({"attention_head_dim": [8, 8]}, "attention_head_dim"),
        ({"act_fn": "gelu"}, "gelu"),
        ({"addition_embed_type": "image"}, "image"),
        ({"resnet_time_scale_shift": "scale_shift"}, "scale_shift"),
        ({"class_embed_type": "timestep"}, "class_embed_type"),
    ],
)
def test_a_unet_that_is_not_known_is_an_error_that_names_it(config: dict[str, object], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        UNetConfig.from_diffusers(config)


def test_other_nets_that_are_not_known_are_errors_that_name_it() -> None:
    with pytest.raises(ValueError, match="AttnDownEncoderBlock2D"):
        VAEConfig.from_diffusers({"down_block_types": ["AttnDownEncoderBlock2D"]})
    with pytest.raises(ValueError, match="latents_mean"):
        VAEConfig.from_diffusers({"latents_mean": [0.1]})
    with pytest.raises(ValueError, match="T5EncoderModel"):
        CLIPTextConfig.from_diffusers({"architectures": ["T5EncoderModel"]})
    with pytest.raises(ValueError, match="relu"):
        CLIPTextConfig.from_diffusers({"hidden_act": "relu"})


def test_real_configs_have_real_shapes() -> None:
    """SD 1.5's, 2.1's and XL's own config.json, as far as they matter."""
    sd15 = UNetConfig.from_diffusers({"attention_head_dim": 8, "cross_attention_dim": 768, "layers_per_block": 2})
    assert sd15.num_attention_heads == (8, 8, 8, 8)
    sd21 = UNetConfig.from_diffusers({"attention_head_dim": [5, 10, 20, 20], "dual_cross_attention": False})
    assert sd21.num_attention_heads == (5, 10, 20, 20)
    xl = UNetConfig.from_diffusers(
        {
            "addition_embed_type": "text_time",
            "attention_head_dim": [5, 10, 20],
            "block_out_channels": [320, 640, 1280],
            "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
            "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
            "num_attention_heads": None,
            "transformer_layers_per_block": [1, 2, 10],
        }
    )
    assert (xl.num_attention_heads, xl.transformer_layers_per_block) == ((5, 10, 20), (1, 2, 10))
    assert UNetConfig.from_diffusers({"transformer_layers_per_block": 2}).transformer_layers_per_block == (2, 2, 2, 2)
