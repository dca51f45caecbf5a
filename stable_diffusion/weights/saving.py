"""Nets to files: a folder in the diffusers layout, or one file in LDM's names. What was read comes back as it was."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from ..config import VAEConfig
from ..whole import clear_unfinished, folder_beside, written
from .checkpoint import CheckpointError, TokenizerFiles
from .family import SD1, SD2, XL
from .ldm import QKV, open_clip_prefixes, renamed, unet_prefixes, vae_prefixes
from .manifest import KEY, Manifest
from .nets import Description, describe
from .parts import Part
from .quantize import said_of
from .single import single_checkpoint
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
        raise CheckpointError(f"{folder} is there already: name another")
    with folder_beside(folder) as unfinished:
        made = unfinished / folder.name
        _write_folder(made, description, nets, dtypes)
        if lost := list(_differences(description, describe(made))):
            raise CheckpointError(f"{folder} would not hold {', '.join(lost)}")
        try:
            made.replace(folder)
        except OSError as error:
            if folder.exists():  # by now
                raise CheckpointError(f"{folder} is there already: name another") from None
            raise OSError(f"{folder} can't be written ({error.strerror or error})") from None


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


def save_single(file: Path, description: Description, nets: Nets, dtypes: Mapping[str, Dtypes]) -> tuple[str, ...]:
    """Write a checkpoint as one file in LDM's names. Raises CheckpointError for one that has no such form.

    Returns what such a file does not say of this model: there it stands in a form that this package alone reads.
    """
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
    metadata = {"modelspec.prediction_type": said, "format": "pt"}
    try:
        write_tensors(file, made, metadata, lambda written: _check_kept(written, description))
    except _Lost as lost:
        checkpoint = replace(description.checkpoint, scheduler=description.scheduler_config)
        metadata[KEY] = Manifest.of(checkpoint).as_json()
        write_tensors(file, made, metadata, lambda written: _check_kept(written, description))
        return lost.what
    return ()


class _Lost(CheckpointError):
    """A file would be read as another model than it was written from."""

    def __init__(self, *what: str) -> None:
        super().__init__(f"one file cannot hold {', '.join(what)}: name a folder")
        self.what = what


def _check_kept(written: Path, description: Description) -> None:
    """Raise _Lost where what was written is not what it was written from."""
    try:
        again = describe(single_checkpoint(written))
    except CheckpointError as error:
        raise _Lost(f"what tells its family ({str(error).replace(str(written), 'it')})") from None
    if lost := tuple(_differences(description, again)):
        raise _Lost(*lost)


def _differences(was: Description, now: Description) -> Iterator[str]:
    """What of a model is another in its description, in a few words each."""
    configs: list[tuple[str, Any, Any]] = [("the UNet", was.unet, now.unet), ("the autoencoder", was.vae, now.vae)]
    names = ["the text encoder"] if len(was.texts) == 1 else ["the first text encoder", "the second text encoder"]
    configs += zip(names, was.texts, now.texts, strict=True)
    configs.append(("the noise schedule", was.schedule, now.schedule))
    for name, one, other in configs:
        for key in (field.name for field in fields(one)):
            # The size of the pictures that it was trained on is a default, and changes no net.
            if key != "sample_size" and getattr(one, key) != getattr(other, key, None):
                yield f"{key} {getattr(one, key)!s:.60} of {name}"
    if was.zero_empty_negative != now.zero_empty_negative:
        yield "what an empty negative prompt is"
    for name, own, its in zip(names, was.checkpoint.tokenizers, now.checkpoint.tokenizers, strict=True):
        ours, theirs = own.read(), its.read()
        if (ours.vocab, ours.merges, ours.words) != (theirs.vocab, theirs.merges, theirs.words):
            yield f"the vocabulary of {name}"
        elif (ours.length, ours.pad_token) != (theirs.length, theirs.pad_token):
            yield f"how long the texts of {name} are, and what fills them up"


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


def write_tensors(
    file: Path,
    tensors: Tensors,
    metadata: Mapping[str, str] | None = None,
    check: Callable[[Path], None] = lambda written: None,
) -> None:
    """Write a safetensors file, whole or not at all; check: looks at it before it has its name.

    Raises CheckpointError where there is such a file by then, and OSError where it can't be written.
    """
    clear_unfinished(file.parent)
    try:
        with written(file, here=True) as unfinished:
            contiguous = {name: mx.contiguous(array) for name, array in tensors.items()}
            try:
                mx.save_safetensors(str(unfinished.at), contiguous, {"format": "pt", **(metadata or {})})
                read_header(unfinished.at)  # MLX does not notice a full disk
            except (RuntimeError, ValueError) as error:
                raise OSError(f"{file} could not be written ({error}): is the disk full?") from None
            check(unfinished.at)
    except FileExistsError:
        raise CheckpointError(f"{file} is there already: name another") from None


def _json(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
