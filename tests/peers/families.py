"""Tiny random checkpoints of every family, built and saved by diffusers itself."""

import json
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerDiscreteScheduler,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

SD_BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
DOWN, CROSS_DOWN, UP, CROSS_UP = "DownBlock2D", "CrossAttnDownBlock2D", "UpBlock2D", "CrossAttnUpBlock2D"
MERGES = ["t h", "a n", "th e</w>", "i n", "o r", "e r</w>", "s t", "a t</w>", "an d</w>", "o f</w>", "in g</w>"]


def tokenizer(folder: Path, pad_token: str) -> CLIPTokenizer:
    """A byte-level CLIP vocabulary with a few merges."""
    symbols = list(bytes_to_unicode().values())
    words = [*symbols, *(s + "</w>" for s in symbols), *(m.replace(" ", "") for m in MERGES)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(MERGES) + "\n", encoding="utf-8")
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    config = {**special, "pad_token": pad_token, "model_max_length": 77, "tokenizer_class": "CLIPTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return CLIPTokenizer.from_pretrained(folder)


def text_config(tokens: CLIPTokenizer, width: int = 16, act: str = "quick_gelu", **more: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokens),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=3,
        num_attention_heads=2,
        hidden_act=act,
        **{
            "bos_token_id": tokens.bos_token_id,
            "eos_token_id": tokens.eos_token_id,
            "pad_token_id": tokens.pad_token_id,
            **more,
        },
    )


def lively(module: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Random weights of a size that makes every part of the net matter, norms and biases too."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in sorted(module.named_parameters()):
            noise = torch.randn(p.shape, generator=generator)
            if p.ndim == 1:
                p.copy_(0.2 * noise + (1.0 if "norm" in name and name.endswith("weight") else 0.0))
            else:
                p.copy_(noise * 0.9 / p[0].numel() ** 0.5)
    return module.eval()


def vae(seed: int, **more: object) -> AutoencoderKL:
    levels = 4
    return lively(
        AutoencoderKL(
            down_block_types=["DownEncoderBlock2D"] * levels,
            up_block_types=["UpDecoderBlock2D"] * levels,
            block_out_channels=[4, 4, 8, 8],
            norm_num_groups=2,
            layers_per_block=1,
            sample_size=64,
            **more,
        ),
        seed,
    )


def unet(seed: int, **more: object) -> UNet2DConditionModel:
    shape = {
        "sample_size": 8,
        "block_out_channels": (8, 8, 16, 16),
        "down_block_types": (CROSS_DOWN, CROSS_DOWN, CROSS_DOWN, DOWN),
        "up_block_types": (UP, CROSS_UP, CROSS_UP, CROSS_UP),
        "layers_per_block": 1,
        "cross_attention_dim": 16,
        "norm_num_groups": 4,
        "attention_head_dim": 2,
    }
    return lively(UNet2DConditionModel(**{**shape, **more}), seed)


def sd1(folder: Path, seed: int = 0, **more: object) -> Path:
    """SD 1.x: one head count, 1x1 convolutions, quick_gelu, the old eos id."""
    tokens = tokenizer(folder / "tokenizer", "<|endoftext|>")
    StableDiffusionPipeline(
        unet=unet(seed, **more),
        vae=vae(seed + 1),
        text_encoder=lively(CLIPTextModel(text_config(tokens, eos_token_id=2)), seed + 2),
        tokenizer=tokens,
        scheduler=DDIMScheduler(**SD_BETAS, clip_sample=False, set_alpha_to_one=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder


def sd2(folder: Path, seed: int = 0) -> Path:
    """SD 2.x: head counts per level, linear projections, gelu, v-prediction, padded with "!"."""
    tokens = tokenizer(folder / "tokenizer", "!")
    StableDiffusionPipeline(
        unet=unet(
            seed, attention_head_dim=(1, 2, 4, 4), use_linear_projection=True, upcast_attention=True, layers_per_block=2
        ),
        vae=vae(seed + 1, force_upcast=False),
        text_encoder=lively(CLIPTextModel(text_config(tokens, act="gelu")), seed + 2),
        tokenizer=tokens,
        scheduler=DDIMScheduler(
            **SD_BETAS, clip_sample=False, set_alpha_to_one=False, steps_offset=1, prediction_type="v_prediction"
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder


def xl(folder: Path, seed: int = 0) -> Path:
    """XL: three levels, several transformer layers, two text encoders, sizes; its autoencoder wants float32."""
    first, second = tokenizer(folder / "tokenizer", "<|endoftext|>"), tokenizer(folder / "tokenizer_2", "!")
    StableDiffusionXLPipeline(
        unet=unet(
            seed,
            block_out_channels=(8, 16, 16),
            down_block_types=(DOWN, CROSS_DOWN, CROSS_DOWN),
            up_block_types=(CROSS_UP, CROSS_UP, UP),
            attention_head_dim=(1, 2, 4),
            transformer_layers_per_block=(1, 2, 3),
            use_linear_projection=True,
            cross_attention_dim=40,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=24 + 6 * 8,
        ),
        vae=vae(seed + 1, scaling_factor=0.13025, force_upcast=True),
        text_encoder=lively(CLIPTextModel(text_config(first)), seed + 2),
        text_encoder_2=lively(
            CLIPTextModelWithProjection(text_config(second, width=24, act="gelu", projection_dim=24)), seed + 3
        ),
        tokenizer=first,
        tokenizer_2=second,
        scheduler=EulerDiscreteScheduler(**SD_BETAS, timestep_spacing="leading", steps_offset=1),
        force_zeros_for_empty_prompt=True,
        add_watermarker=False,
    ).save_pretrained(folder)
    return folder


def inpainting(folder: Path, seed: int = 0) -> Path:
    """SD 1.x with 9 channels; saved again, so that its index names the pipeline that people have."""
    sd1(folder, seed, in_channels=9)
    StableDiffusionInpaintPipeline.from_pretrained(folder, safety_checker=None).save_pretrained(folder)
    return folder


FAMILIES = {"sd1": sd1, "sd2": sd2, "xl": xl, "inpainting": inpainting}
