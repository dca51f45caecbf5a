"""The shapes of full-size checkpoints, as their config.json files give them; diffusers reads the same ones."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..presets import DEMO

Config = Mapping[str, Any]

_SD_SCHEDULE = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
_UNET = {
    "sample_size": 64,
    "block_out_channels": [320, 640, 1280, 1280],
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
}
_XL_UNET = {
    "sample_size": 128,
    "block_out_channels": [320, 640, 1280],
    "down_block_types": ["DownBlock2D"] + ["CrossAttnDownBlock2D"] * 2,
    "up_block_types": ["CrossAttnUpBlock2D"] * 2 + ["UpBlock2D"],
    "transformer_layers_per_block": [1, 2, 10],
    "cross_attention_dim": 2048,
    "attention_head_dim": [5, 10, 20],
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
_VAE = {
    "sample_size": 512,
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 2,
    "scaling_factor": 0.18215,
    "force_upcast": False,
}


def _text(width: int, layers: int, act: str, projected: int | None = None) -> Config:
    return {
        "architectures": ["CLIPTextModelWithProjection" if projected else "CLIPTextModel"],
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": width // 64,
        "hidden_act": act,
        "projection_dim": projected or width,
        "vocab_size": 49408,
        "bos_token_id": 49406,
        "eos_token_id": 49407,
        "pad_token_id": 49407,
    }


@dataclass(frozen=True)
class Family:
    """The configs of a family's nets and of its schedule, and the side of its pictures in pixels."""

    unet: Config
    vae: Config
    texts: tuple[Config, ...]
    side: int
    scheduler: Config
    tokenizer: str | None = None  # the folder of one; None: OpenAI's

    def as_json(self) -> dict[str, Any]:
        """All of it, for another process."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Family":
        """What `as_json` gave."""
        return cls(**{**values, "texts": tuple(values["texts"])})


def _demo() -> Family:
    def config(path: str) -> Any:
        return json.loads((Path(DEMO) / path).read_text(encoding="utf-8"))

    return Family(
        config("unet/config.json"),
        config("vae/config.json"),
        (config("text_encoder/config.json"),),
        128,
        config("scheduler/scheduler_config.json"),
        str(DEMO / "tokenizer"),
    )


FAMILIES: dict[str, Family] = {
    "sd1.5": Family(_UNET, _VAE, (_text(768, 12, "quick_gelu"),), 512, _SD_SCHEDULE),
    "sd2.1": Family(
        {
            **_UNET,
            "sample_size": 96,
            "cross_attention_dim": 1024,
            "attention_head_dim": [5, 10, 20, 20],
            "use_linear_projection": True,
            "upcast_attention": True,
        },
        _VAE,
        (_text(1024, 23, "gelu"),),
        768,
        {**_SD_SCHEDULE, "prediction_type": "v_prediction"},
    ),
    "sdxl": Family(
        _XL_UNET,
        {**_VAE, "sample_size": 1024, "scaling_factor": 0.13025, "force_upcast": True},
        (_text(768, 12, "quick_gelu"), _text(1280, 32, "gelu", projected=1280)),
        1024,
        _SD_SCHEDULE,
    ),
    "demo": _demo(),
}
