"""What a single file is, by its header alone: its family, and the configs that it would have in a folder."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .checkpoint import CheckpointError
from .tensors import FP8, Header

Shapes = Mapping[str, tuple[int, ...]]
Config = dict[str, Any]

UNET = "model.diffusion_model."
VAES = ("first_stage_model.", "vae.")
EMA = "model_ema."
DEPTH = re.compile(r"transformer_blocks\.(\d+)\.")

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
    file, names = header.file, header.shapes
    for pattern, what in OTHERS:
        if any(re.match(pattern, name) for name in names):
            raise CheckpointError(f"{file} is {what}: this package runs Stable Diffusion 1.x, 2.x and XL")
    if any(map(LORA.search, names)) and not header.under(UNET):
        raise CheckpointError(f"{file} is a LoRA: name it with --lora, and the model that it is for with --model")
    unet = header.under(UNET)
    if not unet:
        raise CheckpointError(f"{file} is {_without_unet(header)}")
    if (first := unet.get("input_blocks.0.0.weight")) is None:
        raise CheckpointError(f"{file} is no Stable Diffusion model: its UNet has no first layer")
    if first[1] in CHANNELS:
        raise CheckpointError(f"{file} is {CHANNELS[first[1]]}: that is not supported")
    width = _context(unet)
    first_is_open = any(name.startswith("conditioner.embedders.0.model.") for name in names)
    second = any(name.startswith("conditioner.embedders.1.") for name in names)
    if first_is_open and not second and width in (None, 1280):
        raise CheckpointError(f"{file} is XL's refiner: name the base model, which paints without it")
    for family in (SD1, SD2, XL, SD_TURBO):
        if all(any(name.startswith(prefix) for name in names) for _, prefix in family.texts):
            return family
    known = WIDTHS.get(width or 0)
    what = f"the UNet of an {known.name} alone" if known else "a UNet alone"
    raise CheckpointError(f"{file} is {what}, without a text encoder: name a file that has everything, or a folder")


def _without_unet(header: Header) -> str:
    """What a file is that has no UNet under the name that single files have."""
    names = header.shapes
    if not names:
        return "empty: it has no tensors"
    if "conv_in.weight" in names and any(name.startswith("down_blocks.") for name in names):
        return "the UNet of a folder in the diffusers layout: name the folder that has model_index.json"
    if "input_blocks.0.0.weight" in names:
        known = WIDTHS.get(_context(names) or 0)
        of = f" of an {known.name}" if known else ""
        return f"a UNet{of} alone, without a text encoder and an autoencoder: name a file that has everything"
    if any(name.removeprefix(prefix).startswith("decoder.") for name in names for prefix in (*VAES, "")):
        return "an autoencoder: name it with --vae, and the model that it is for with --model"
    if any(name.split(".")[0] in EMBEDDING for name in names):
        return "a textual inversion: name it with --embedding, and the model that it is for with --model"
    if any("text_model." in name or "resblocks." in name for name in names):
        return "a text encoder alone: name a file that has everything, or a folder"
    return "no Stable Diffusion model: it has no UNet"


def _context(unet: Shapes) -> int | None:
    """The width of the text that a UNet is told."""
    found = (shape[-1] for name, shape in unet.items() if name.endswith(".1.transformer_blocks.0.attn2.to_k.weight"))
    return next(found, None)


def unet_config(shapes: Shapes, family: Family, where: object) -> Config:
    """The config.json that a UNet with these tensors, blocks counted through, would have in a folder."""
    depths: dict[str, int] = {}
    for name in shapes:
        if found := DEPTH.search(name):
            depths[name[: found.start()]] = max(depths.get(name[: found.start()], 0), int(found[1]) + 1)
    levels: list[list[int]] = [[]]
    widths: list[int] = []
    i = 1
    while f"input_blocks.{i}.0.op.weight" in shapes or f"input_blocks.{i}.0.in_layers.2.weight" in shapes:
        if f"input_blocks.{i}.0.op.weight" in shapes:
            levels.append([])
        else:
            levels[-1].append(depths.get(f"input_blocks.{i}.1.", 0))
            widths[len(levels) - 1 :] = [shapes[f"input_blocks.{i}.0.in_layers.2.weight"][0]]
        i += 1
    up: list[list[int]] = []
    i = 0
    for level in reversed(levels):
        up.append([depths.get(f"output_blocks.{j}.1.", 0) for j in range(i, i + len(level) + 1)])
        i += len(level) + 1
    if not all(levels) or any(0 in level and any(level) for level in (*levels, *up)):
        raise CheckpointError(f"{where} is no Stable Diffusion model: its UNet has levels of another kind")
    middle = depths.get("middle_block.1.", 0)
    flat = all(len({*down, *back}) == 1 for down, back in zip(levels, reversed(up), strict=True))
    plain = [level[0] or 1 for level in levels]
    if flat and middle:
        plain[-1] = middle
    cross = [bool(level[0]) for level in levels]
    shape = {
        "in_channels": shapes["input_blocks.0.0.weight"][1],
        "out_channels": shapes.get("out.2.weight", (4,))[0],
        "sample_size": family.side,
        "block_out_channels": widths,
        "layers_per_block": [len(level) for level in levels] if len(set(map(len, levels))) > 1 else len(levels[0]),
        "down_block_types": ["CrossAttnDownBlock2D" if attends else "DownBlock2D" for attends in cross],
        "up_block_types": ["CrossAttnUpBlock2D" if level[0] else "UpBlock2D" for level in up],
        "transformer_layers_per_block": plain if flat else [level if level[0] else 1 for level in levels],
        "reverse_transformer_layers_per_block": None if flat else [level if level[0] else 1 for level in up],
        "cross_attention_dim": _context(shapes),
        "attention_head_dim": family.heads or [max(1, width // 64) for width in widths],
        "use_linear_projection": any(n.endswith(".1.proj_in.weight") and len(s) == 2 for n, s in shapes.items()),
        "upcast_attention": family.upcast_attention,
        "norm_num_groups": 32,
        "norm_eps": 1e-5,
    }
    if not any(name.startswith("middle_block.") for name in shapes):
        shape["mid_block_type"] = None
    elif not middle:
        shape["mid_block_type"] = "UNetMidBlock2D"
    if (added := shapes.get("label_emb.0.0.weight")) is not None:
        shape |= {"addition_embed_type": "text_time", "projection_class_embeddings_input_dim": added[1]}
        shape["addition_time_embed_dim"] = 256
    if (told := shapes.get("time_embed.cond_proj.weight")) is not None:
        shape["time_cond_proj_dim"] = told[1]
    return {"_class_name": "UNet2DConditionModel", **shape}


def vae_config(shapes: Shapes, scaling: float, force_upcast: bool) -> Config:
    """The config.json of an autoencoder with these tensors, in LDM's names."""
    levels = 1 + max((int(name.split(".")[2]) for name in shapes if name.startswith("encoder.down.")), default=0)
    blocks = {name.split(".")[4] for name in shapes if name.startswith("encoder.down.0.block.")}
    widths = [shapes[f"encoder.down.{i}.block.0.conv1.weight"][0] for i in range(levels)]
    return {
        "_class_name": "AutoencoderKL",
        "in_channels": shapes["encoder.conv_in.weight"][1],
        "out_channels": shapes["decoder.conv_out.weight"][0],
        "latent_channels": shapes["decoder.conv_in.weight"][1],
        "block_out_channels": widths,
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "layers_per_block": len(blocks),
        "norm_num_groups": 32,
        "scaling_factor": scaling,
        "force_upcast": force_upcast,
        "use_quant_conv": "quant_conv.weight" in shapes,
        "use_post_quant_conv": "post_quant_conv.weight" in shapes,
        "mid_block_add_attention": any(name.startswith("encoder.mid.attn_1.") for name in shapes),
    }


def clip_config(shapes: Shapes) -> Config:
    """The config.json of a CLIP text encoder with these tensors, `text_model.` taken off."""
    vocabulary, width = shapes["embeddings.token_embedding.weight"]
    layers = 1 + max((int(name.split(".")[2]) for name in shapes if name.startswith("encoder.layers.")), default=-1)
    return {
        **_text_config(vocabulary, width, layers, shapes["embeddings.position_embedding.weight"][0]),
        "architectures": ["CLIPTextModel"],
        "hidden_act": "quick_gelu",
        "intermediate_size": shapes["encoder.layers.0.mlp.fc1.weight"][0],
        "projection_dim": width,
    }


def open_clip_config(shapes: Shapes, projected: bool) -> Config:
    """The config.json of an OpenCLIP text encoder; SD 2.x uses all of its layers but the 24th, and no projection."""
    vocabulary, width = shapes["token_embedding.weight"]
    layers = 1 + max(
        (int(name.split(".")[2]) for name in shapes if name.startswith("transformer.resblocks.")), default=-1
    )
    projection = shapes.get("text_projection", shapes.get("text_projection.weight", (width, width))[::-1])
    return {
        **_text_config(vocabulary, width, layers if projected else min(layers, 23), shapes["positional_embedding"][0]),
        "architectures": ["CLIPTextModelWithProjection" if projected else "CLIPTextModel"],
        "hidden_act": "gelu",
        "intermediate_size": shapes["transformer.resblocks.0.mlp.c_fc.weight"][0],
        "projection_dim": projection[1] if projected else width,
    }


def _text_config(vocabulary: int, width: int, layers: int, positions: int) -> Config:
    return {
        "model_type": "clip_text_model",
        "vocab_size": vocabulary,
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": max(1, width // 64),
        "max_position_embeddings": positions,
        "layer_norm_eps": 1e-5,
        "bos_token_id": 49406,
        "eos_token_id": 49407,
    }


def precision(header: Header, prefix: str = UNET) -> str:
    """The kind of numbers that most of a net's tensors are: fp16, fp32, bf16 or fp8."""
    kinds = [kind for name, kind in header.kinds.items() if name.startswith(prefix)]
    most = max(set(kinds), key=kinds.count, default="F32")
    return {FP8: "fp8"}.get(most, most.lower().replace("f16", "fp16").replace("f32", "fp32").replace("bfp", "bf"))
