"""What a single file is, by its header alone: its family, and the configs that it would have in a folder."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from .checkpoint import CheckpointError
from .tensors import FP8, Header

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
# What is refused by name: a tensor that only it has, and what to say of it.
OTHERS = (
    (r"model\.diffusion_model\.joint_blocks\.|joint_blocks\.", "a Stable Diffusion 3 model"),
    (r"(model\.diffusion_model\.)?double_blocks\.", "a Flux model"),
    (r"(model\.diffusion_model\.)?adaln_single\.|pos_embed\.proj", "a PixArt model"),
    (r"edm_mean", "Playground 2.5, whose noise levels are not Stable Diffusion's"),
    (r"edm_vpred\.sigma_max", "CosXL, whose noise levels are not Stable Diffusion's"),
    (r"(control_model\.|controlnet_cond_embedding\.|input_hint_block\.|zero_convs\.)", "a ControlNet"),
    (r".*\.scaled_fp8$|scaled_fp8$|.*\.scale_weight$", "a scaled 8-bit form of ComfyUI's: name the fp16 or fp8 file"),
)
LORA = re.compile(
    r"(\.|_)(lora_(up|down|A|B|mid)|lora\.(up|down)|hada_w\d|lokr_w\d|lora_linear_layer)\b|\.lokr_w|\.hada_w"
)
EMBEDDING = ("emb_params", "string_to_param", "clip_l", "clip_g")
CHANNELS = {
    8: "a pix2pix model, whose UNet is also shown a picture",
    5: "a depth model, whose UNet is also shown the depth of a picture",
    7: "the upscaler, whose UNet is also shown a small picture",
}


def family_of(header: Header) -> Family:
    """The family of a file with everything in it. Raises CheckpointError that says what else it is, and what to do."""
    found = _family(header)
    if isinstance(found, str):
        raise CheckpointError(f"{header.file} is {found}")
    return found


def what_is(header: Header) -> str:
    """What a file is, and what to do with it, as the end of a sentence."""
    found = _family(header)
    return found if isinstance(found, str) else f"an {found.name} model: name it with --model"


def _family(header: Header) -> Family | str:
    """The family of a file with everything in it, or what else it is, as the end of a sentence."""
    names, unet = header.shapes, header.under(UNET)
    for pattern, what in OTHERS:
        if any(re.match(pattern, name) for name in names):
            return f"{what}: this package runs Stable Diffusion 1.x, 2.x and XL"
    if any(map(LORA.search, names)) and not unet:
        return "a LoRA: name it with --lora, and the model that it is for with --model"
    if not unet:
        return _without_unet(header)
    first = unet.get("input_blocks.0.0.weight", ())
    if len(first) != 4:
        return "no Stable Diffusion model: its UNet has no first layer"
    if first[1] in CHANNELS:
        return f"{CHANNELS[first[1]]}: that is not supported"
    width = context_width(unet)
    first_is_open = any(name.startswith("conditioner.embedders.0.model.") for name in names)
    second = any(name.startswith("conditioner.embedders.1.") for name in names)
    if first_is_open and not second and width in (None, 1280):
        return "XL's refiner: name the base model, which paints without it"
    for family in (SD1, SD2, XL, SD_TURBO):
        if all(any(name.startswith(prefix) for name in names) for _, prefix in family.texts):
            return family
    known = WIDTHS.get(width or 0)
    what = f"the UNet of an {known.name} alone" if known else "a UNet alone"
    return f"{what}, without a text encoder: name a file that has everything, or a folder"


def _without_unet(header: Header) -> str:
    """What a file is that has no UNet under the name that single files have."""
    names = header.shapes
    if not names:
        return "empty: it has no tensors"
    if "conv_in.weight" in names and any(name.startswith("down_blocks.") for name in names):
        return "the UNet of a folder in the diffusers layout: name the folder that has model_index.json"
    if "input_blocks.0.0.weight" in names:
        known = WIDTHS.get(context_width(names) or 0)
        of = f" of an {known.name}" if known else ""
        return f"a UNet{of} alone, without a text encoder and an autoencoder: name a file that has everything"
    if any(name.removeprefix(prefix).startswith("decoder.") for name in names for prefix in (*VAES, "")):
        return "an autoencoder: name it with --vae, and the model that it is for with --model"
    alone = len(names) == 1 and next(iter(names.values()))[-1:] in ((768,), (1024,), (1280,))
    if alone or any(name.split(".")[0] in EMBEDDING for name in names):
        return "a textual inversion: name it with --embedding, and the model that it is for with --model"
    if any("text_model." in name or "resblocks." in name for name in names):
        return "a text encoder alone: name a file that has everything, or a folder"
    return "no Stable Diffusion model: it has no UNet"


def context_width(unet: Shapes) -> int | None:
    """The width of the text that a UNet is told."""
    last = ".1.transformer_blocks.0.attn2.to_k.weight"
    return next((shape[-1] for name, shape in unet.items() if shape and name.endswith(last)), None)


def precision(header: Header, prefix: str = UNET) -> str:
    """The kind of numbers that most of a net's tensors are: fp16, fp32, bf16 or fp8."""
    kinds = [kind for name, kind in header.kinds.items() if name.startswith(prefix)]
    most = max(set(kinds), key=kinds.count, default="F32")
    return {FP8: "fp8"}.get(most, most.lower().replace("f16", "fp16").replace("f32", "fp32").replace("bfp", "bf"))
