"""Nets to files: a folder in the diffusers layout, or one file in LDM's names. What was read comes back as it was."""

import json
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from ..config import VAEConfig
from .checkpoint import CheckpointError, TokenizerFiles
from .family import SD1, SD2, XL
from .ldm import QKV, open_clip_prefixes, renamed, unet_prefixes, vae_prefixes
from .nets import Description
from .parts import Part
from .quantize import said_of
from .tensors import read_header

# 1x1 convolutions, which are matrices here; proj_in and proj_out are where the UNet's config does not say otherwise.
_KERNELS = re.compile(r"(.*\.)?(conv_shortcut|quant_conv|post_quant_conv)\.weight")
_PROJECTIONS = re.compile(r".*\.attentions\.\d+\.(proj_in|proj_out)\.weight")
_PIPELINES = {  # by what there is: XL's second encoder, and a UNet that repaints
    (False, False): "StableDiffusionPipeline",
    (False, True): "StableDiffusionInpaintPipeline",
    (True, False): "StableDiffusionXLPipeline",
    (True, True): "StableDiffusionXLInpaintPipeline",
}
Tensors = dict[str, mx.array]
Nets = Mapping[str, nn.Module]


Dtypes = mx.Dtype | Mapping[str, mx.Dtype] | None  # for all floats, for each tensor by its name, or as they are


def read_dtypes(part: Part) -> dict[str, mx.Dtype]:
    """The kinds of numbers that a part's tensors have in the files that it is read from; 8-bit ones are float16."""
    return {tensor.ours: tensor.array.dtype for tensor in part.tensors(False)}


def parameters(net: nn.Module, config: Mapping[str, Any], dtype: Dtypes) -> Tensors:
    """A net's parameters by their own names, in PyTorch's layout; floats as dtype, if one is given."""
    linear = config.get("use_linear_projection", False) or "cross_attention_dim" not in config
    made: Tensors = {}
    arrays: Tensors = dict(tree_flatten(net.parameters()))
    for name, array in arrays.items():
        if array.ndim == 4:
            array = array.transpose(0, 3, 1, 2)
        elif _KERNELS.fullmatch(name) or (not linear and _PROJECTIONS.fullmatch(name)):
            array = array if mx.issubdtype(array.dtype, mx.integer) else array[:, :, None, None]
        wanted = dtype.get(name) if isinstance(dtype, Mapping) else dtype
        if wanted is not None and mx.issubdtype(array.dtype, mx.floating):
            array = array.astype(wanted)
        made[name] = array
    return made


def save_folder(folder: Path, description: Description, nets: Nets, dtypes: Mapping[str, Dtypes]) -> None:
    """Write a checkpoint as a folder in the diffusers layout, quantised as it is, whole or not at all.

    nets, dtypes: by the names of the checkpoint's parts. Raises CheckpointError for a folder that is there and not
    empty, and OSError where it can't be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CheckpointError(f"{folder} is there already: name a folder that is not, or is empty")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=folder.parent) as unfinished:
        made = Path(unfinished) / folder.name
        _write_folder(made, description, nets, dtypes)
        made.replace(folder)


def _write_folder(folder: Path, description: Description, nets: Nets, dtypes: Mapping[str, Dtypes]) -> None:
    checkpoint = description.checkpoint
    for name, net in nets.items():
        config = dict(checkpoint.parts[name].config)
        config.pop("mlx_quantization", None)
        if said := said_of(net):
            config["mlx_quantization"] = said
        stem = "model" if name.startswith("text_encoder") else "diffusion_pytorch_model"
        tensors = parameters(net, config, dtypes[name])
        if name.startswith("text_encoder"):
            tensors = {n if n.startswith("text_projection") else f"text_model.{n}": a for n, a in tensors.items()}
        _json(folder / name / "config.json", config)
        write_tensors(folder / name / f"{stem}.safetensors", tensors)
    for suffix, tokenizer in zip(("", "_2"), checkpoint.tokenizers, strict=False):
        _write_tokenizer(folder / f"tokenizer{suffix}", tokenizer.read())
    _json(folder / "scheduler" / "scheduler_config.json", dict(description.scheduler_config))
    _json(folder / "model_index.json", _index(description))


def _index(description: Description) -> dict[str, Any]:
    """model_index.json: the pipeline that diffusers makes of it, and what it has."""
    repaints = description.unet.in_channels > description.vae.latent_channels
    second = description.texts[-1].projection_dim is not None
    tiny = "AutoencoderTiny" if not isinstance(description.vae, VAEConfig) else "AutoencoderKL"
    index: dict[str, Any] = {
        "_class_name": _PIPELINES[description.xl, repaints],
        "scheduler": ["diffusers", description.scheduler_config.get("_class_name", "DDIMScheduler")],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", tiny],
    }
    if description.xl:
        kind = "CLIPTextModelWithProjection" if second else "CLIPTextModel"
        index |= {"text_encoder_2": ["transformers", kind], "tokenizer_2": ["transformers", "CLIPTokenizer"]}
        return {**index, "force_zeros_for_empty_prompt": description.zero_empty_negative}
    nothing = [None, None]
    return {**index, "safety_checker": nothing, "feature_extractor": nothing, "requires_safety_checker": False}


def _write_tokenizer(folder: Path, files: TokenizerFiles) -> None:
    words = {word: i for word, i in files.vocab.items() if word in files.words}
    _json(folder / "vocab.json", {word: i for word, i in files.vocab.items() if word not in words})
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(map(" ".join, files.merges)) + "\n", "utf-8")
    start, end = "<|startoftext|>", "<|endoftext|>"
    special = {"bos_token": start, "eos_token": end, "unk_token": end, "pad_token": files.pad_token}
    config = {**special, "model_max_length": files.length, "tokenizer_class": "CLIPTokenizer"}
    if words:
        config["added_tokens_decoder"] = {
            str(i): {"content": word, "special": False, **files.words[word]} for word, i in words.items()
        }
    _json(folder / "tokenizer_config.json", config)
    _json(folder / "special_tokens_map.json", special)


def save_single(file: Path, description: Description, nets: Nets, dtypes: Mapping[str, Dtypes]) -> None:
    """Write a checkpoint as one file in LDM's names. Raises CheckpointError for one that has no such form."""
    if file.exists():
        raise CheckpointError(f"{file} is there already: name another")
    if any(said_of(net) for net in nets.values()):
        raise CheckpointError(f"{file}: a quantised model has no form in one file: name a folder")
    if not isinstance(description.vae, VAEConfig):
        raise CheckpointError(f"{file}: TAESD has no place in such a file: name a folder, or leave --vae out")
    configs = {name: description.checkpoint.parts[name].config for name in nets}
    family = XL if description.xl else SD2 if description.texts[0].hidden_act == "gelu" else SD1
    made: Tensors = {}
    for name, net in nets.items():
        tensors = parameters(net, configs[name], dtypes[name])
        if name == "unet":
            made |= _under("model.diffusion_model.", tensors, unet_prefixes(description.unet))
        elif name == "vae":
            square = {n: a[:, :, None, None] for n, a in tensors.items() if ".attentions." in n and a.ndim == 2}
            made |= _under("first_stage_model.", tensors | square, vae_prefixes(description.vae))
        else:
            naming, prefix = family.texts[name == "text_encoder_2"]
            made |= (
                {f"{prefix}text_model.{n}": a for n, a in tensors.items()}
                if naming == "CLIP"
                else _open_clip(prefix, tensors, net.config.num_hidden_layers)
            )
    schedule = description.schedule
    if schedule.prediction_type == "v_prediction":
        made["v_pred"] = mx.zeros((0,))
        if schedule.zero_terminal_snr:
            made["ztsnr"] = mx.zeros((0,))
    said = {"v_prediction": "v", "epsilon": "epsilon"}.get(schedule.prediction_type)
    if said is None:
        raise CheckpointError(f"{file}: no such file says that a net predicts the {schedule.prediction_type}")
    write_tensors(file, made, {"modelspec.prediction_type": said, "format": "pt"})


def _under(prefix: str, tensors: Tensors, prefixes: Mapping[str, str]) -> Tensors:
    return {prefix + (renamed(name, prefixes) or name): array for name, array in tensors.items()}


def _open_clip(prefix: str, tensors: Tensors, layers: int) -> Tensors:
    made: Tensors = {}
    rest = dict(tensors)
    for n in range(layers):
        for leaf in ("weight", "bias"):
            three = [rest.pop(f"encoder.layers.{n}.self_attn.{one}.{leaf}") for one in QKV]
            made[f"{prefix}transformer.resblocks.{n}.attn.in_proj_{leaf}"] = mx.concatenate(three)
    if (projection := rest.pop("text_projection.weight", None)) is not None:
        made[f"{prefix}text_projection"] = projection.T
    return made | _under(prefix, rest, open_clip_prefixes(layers))


def write_tensors(file: Path, tensors: Tensors, metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file, whole or not at all. Raises OSError where that can't be."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f".unfinished-{file.name}")
    try:
        contiguous = {name: mx.contiguous(array) for name, array in tensors.items()}
        mx.save_safetensors(str(unfinished), contiguous, {"format": "pt", **(metadata or {})})
        read_header(unfinished)  # MLX does not notice a full disk
        unfinished.replace(file)
    except (RuntimeError, ValueError) as error:
        raise OSError(f"{file} could not be written ({error}): is the disk full?") from None
    finally:
        unfinished.unlink(missing_ok=True)


def _json(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
