"""Configs told from shapes: those that the nets of a single file would have in a folder."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from .checkpoint import CheckpointError
from .family import Family, context_width

Shapes = Mapping[str, tuple[int, ...]]
Config = dict[str, Any]

DEPTH = re.compile(r"transformer_blocks\.(\d+)\.")


@contextmanager
def told(file: object, what: str) -> Iterator[None]:
    """Raise CheckpointError where names and shapes tell of no net that is known here; what: "text encoder", say."""
    try:
        yield
    except CheckpointError:
        raise
    except KeyError as error:
        raise CheckpointError(f"{file} has no {what} that is known here: it lacks {error.args[0]!r}") from None
    except (IndexError, TypeError):
        raise CheckpointError(f"{file} has no {what} that is known here: its tensors have other shapes") from None
    except ValueError as error:  # of a config, in words of its own
        raise CheckpointError(f"{file} has no {what} that is known here: {error}") from None


def _count(shapes: Shapes, prefix: str) -> int:
    """How many numbered blocks there are whose names begin so."""
    found = (re.match(rf"{prefix}(\d{{1,3}})\.", name) for name in shapes)
    return 1 + max((int(match[1]) for match in found if match), default=-1)


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
        "cross_attention_dim": context_width(shapes),
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
    levels, blocks = _count(shapes, r"encoder\.down\."), _count(shapes, r"encoder\.down\.0\.block\.")
    widths = [shapes[f"encoder.down.{i}.block.0.conv1.weight"][0] for i in range(levels)]
    return {
        "_class_name": "AutoencoderKL",
        "in_channels": shapes["encoder.conv_in.weight"][1],
        "out_channels": shapes["decoder.conv_out.weight"][0],
        "latent_channels": shapes["decoder.conv_in.weight"][1],
        "block_out_channels": widths,
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "layers_per_block": blocks,
        "norm_num_groups": 32,
        "scaling_factor": scaling,
        "force_upcast": force_upcast,
        "use_quant_conv": "quant_conv.weight" in shapes,
        "use_post_quant_conv": "post_quant_conv.weight" in shapes,
        "mid_block_add_attention": any(name.startswith("encoder.mid.attn_1.") for name in shapes),
    }


def clip_config(shapes: Shapes) -> Config:
    """The config.json of a CLIP text encoder with these tensors, `text_model.` taken off."""
    vocabulary, width = _table(shapes["embeddings.token_embedding.weight"])
    layers = _count(shapes, r"encoder\.layers\.")
    return {
        **_text_config(vocabulary, width, layers, shapes["embeddings.position_embedding.weight"][0]),
        "architectures": ["CLIPTextModel"],
        "hidden_act": "quick_gelu",
        "intermediate_size": shapes["encoder.layers.0.mlp.fc1.weight"][0],
        "projection_dim": width,
    }


def open_clip_config(shapes: Shapes, projected: bool) -> Config:
    """The config.json of an OpenCLIP text encoder; SD 2.x uses all of its layers but the 24th, and no projection."""
    vocabulary, width = _table(shapes["token_embedding.weight"])
    layers = _count(shapes, r"transformer\.resblocks\.")
    projection = shapes.get("text_projection", shapes.get("text_projection.weight", (width, width))[::-1])
    return {
        **_text_config(vocabulary, width, layers if projected else min(layers, 23), shapes["positional_embedding"][0]),
        "architectures": ["CLIPTextModelWithProjection" if projected else "CLIPTextModel"],
        "hidden_act": "gelu",
        "intermediate_size": shapes["transformer.resblocks.0.mlp.c_fc.weight"][0],
        "projection_dim": projection[1] if projected else width,
    }


def _table(shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of a table of tokens. Raises IndexError for what is no table."""
    if len(shape) != 2:
        raise IndexError(f"{shape} is no table")
    return shape[0], shape[1]


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
