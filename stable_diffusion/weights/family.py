"""The families of Stable Diffusion: what their files have in common."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from .numbers import called
from .scales import beside_weights
from .tensors import Header

Shapes = Mapping[str, tuple[int, ...]]

UNET = "model.diffusion_model."
VAES = ("first_stage_model.", "vae.")
EMA = "model_ema."

CLIP, OPEN_CLIP = "CLIP", "OpenCLIP"  # the two namings of text encoders


@dataclass(frozen=True)
class Family:
    """What the files of a family have in common, and their headers do not say."""

    name: str
    texts: tuple[tuple[str, str], ...]  # the naming and the prefix of each text encoder
    scaling: float
    side: int  # latents along a side of the pictures that it was trained on
    heads: int | None = None  # of every level; None: as many as give each 64 channels
    upcast_attention: bool = False
    force_upcast: bool = False


SD1 = Family("SD 1.x", ((CLIP, "cond_stage_model.transformer."),), 0.18215, 64, heads=8)
SD2 = Family("SD 2.x", ((OPEN_CLIP, "cond_stage_model.model."),), 0.18215, 64, upcast_attention=True)
SD_TURBO = Family("SD 2.x", ((OPEN_CLIP, "conditioner.embedders.0.model."),), 0.18215, 64)
XL = Family(
    "SD XL",
    ((CLIP, "conditioner.embedders.0.transformer."), (OPEN_CLIP, "conditioner.embedders.1.model.")),
    0.13025,
    128,
    force_upcast=True,
)
WIDTHS = {768: SD1, 1024: SD2, 2048: XL}  # of the text that a full-size UNet is told

# Tensors that hold nothing learned, or nothing that is used.
NOT_WEIGHTS = re.compile(
    r"(alphas_cumprod\w*|betas|sqrt_\w+|log_one_minus_alphas_cumprod|posterior_\w+|logvar|denoiser\.sigmas|v_pred|ztsnr"
    r"|embedding_manager.*|edm_vpred\..*|.*\.position_ids|.*\.logit_scale|model_ema\..*|.*\.attn_mask)"
)


def context_width(unet: Shapes) -> int | None:
    """The width of the text that a UNet is told."""
    last = ".1.transformer_blocks.0.attn2.to_k.weight"
    return next((shape[-1] for name, shape in unet.items() if shape and name.endswith(last)), None)


def precision(header: Header, prefix: str = UNET) -> str:
    """The kind of numbers that most of a net's are: fp16, fp32, bf16, fp8 or fp64."""
    counts: dict[str, int] = {}
    for name, kind in header.kinds.items():
        if name.startswith(prefix) and not beside_weights(name):
            counts[kind] = counts.get(kind, 0) + math.prod(header.shapes[name])
    return called(max(counts, key=lambda kind: counts[kind], default="F32"))
