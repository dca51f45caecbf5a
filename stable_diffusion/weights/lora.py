"""LoRA files in all their dialects, as one form: to which module of which net, and what is done to it."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from ..models.unet import UNet2DConditionModel
from . import ldm
from .checkpoint import CheckpointError, read_json
from .family import WIDTHS
from .tensors import open_tensors

# How names end, and what they then hold; before that is the name of the module.
_ADAPTER = r"(?:\.default(?:_\d+)?)?"  # peft's name of an adapter
_ENDINGS: tuple[tuple[str, str], ...] = (
    (rf"(?:[._]lora\.up|\.lora_up|\.lora_linear_layer\.up|\.lora_B{_ADAPTER})\.weight", "up"),
    (rf"(?:[._]lora\.down|\.lora_down|\.lora_linear_layer\.down|\.lora_A{_ADAPTER})\.weight", "down"),
    (rf"(?:\.lora_up|\.lora_B{_ADAPTER})\.bias", "up_bias"),
    (r"\.lora_mid\.weight", "mid"),
    (r"\.alpha", "alpha"),
    (r"\.dora_scale", "dora_scale"),
    (rf"\.lora_magnitude_vector{_ADAPTER}(?:\.weight)?", "magnitude"),
    *((rf"\.hada_{leaf}{_ADAPTER}", f"hada_{leaf}") for leaf in ("w1_a", "w1_b", "w2_a", "w2_b", "t1", "t2")),
    *((rf"\.lokr_{leaf}{_ADAPTER}", f"lokr_{leaf}") for leaf in ("w1", "w1_a", "w1_b", "w2", "w2_a", "w2_b", "t2")),
    (r"\.diff", "diff"),
    (r"\.diff_b", "diff_b"),
    (r"\.w_norm", "diff"),
    (r"\.b_norm", "diff_b"),
)
ENDINGS = tuple((re.compile(f"(.+){pattern}"), leaf) for pattern, leaf in _ENDINGS)
BUNDLED = re.compile(r"bundle_emb\.(.+?)\.(string_to_param\..+|emb_params|clip_l|clip_g)")
_OTHERS = (
    (r"(lora_unet_|transformer\.|diffusion_model\.)?(double|single)_(transformer_)?blocks[._]", "Flux"),
    (r"(lora_unet_|transformer\.|diffusion_model\.)?joint_blocks[._]", "Stable Diffusion 3"),
    (r"transformer\.transformer_blocks\.", "a model with another kind of net than Stable Diffusion's UNet"),
)
# Old spellings of text encoders' layers, and of an attention's output.
_ALIASES = (
    (".to_out.0", ".to_out"),
    (".self_attn.q_proj", ".self_attn.to_q"),
    (".self_attn.k_proj", ".self_attn.to_k"),
    (".self_attn.v_proj", ".self_attn.to_v"),
    (".self_attn.out_proj", ".self_attn.to_out"),
)
_UNET = ("lora_unet_", "lycoris_", "unet_", "", "diffusion_model_", "model_diffusion_model_")
_TEXTS: Mapping[str, tuple[str, ...]] = {  # of the only text encoder, and of XL's two
    "text_encoder": ("lora_te_", "lora_te1_", "lycoris_", "text_encoder_", "", "text_encoders_clip_l_transformer_",
                     "text_encoders_clip_h_transformer_"),
    "text_encoder_1": ("lora_te1_", "text_encoder_", "text_encoders_clip_l_transformer_"),
    "text_encoder_2": ("lora_te2_", "text_encoder_2_", "text_encoders_clip_g_transformer_"),
}  # fmt: skip

Target = tuple[str, str]  # a net, and the path of a module in it


@dataclass(frozen=True)
class Change:
    """What is done to one module: factors by their common names, in PyTorch's layout, and the rule's own scale."""

    target: Target
    theirs: str  # the module's name in the file
    factors: Mapping[str, mx.array]
    alpha: float | None = None
    rank: int | None = None  # where the factors do not show it
    root: bool = False  # rank-stabilised: alpha is over the root of the rank


@dataclass(frozen=True)
class LoRA:
    """A file, read: what it changes, what in it fits nothing, and the embeddings that it brings."""

    file: Path
    changes: Sequence[Change]
    unmatched: Sequence[str]
    embeddings: Mapping[str, Mapping[str, mx.array]] = field(default_factory=dict)


def read_lora(file: Path, nets: Mapping[str, nn.Module], family: str) -> LoRA:
    """A LoRA for these nets, "unet" and "text_encoder", or XL's "text_encoder_1" and "text_encoder_2".

    Raises CheckpointError, one sentence, for a file that is damaged, something else, or for another family.
    """
    tensors, metadata = open_tensors(file)
    modules: dict[str, dict[str, mx.array]] = {}
    embeddings: dict[str, dict[str, mx.array]] = {}
    strange = []
    for name, array in tensors.items():
        if found := BUNDLED.fullmatch(name):
            embeddings.setdefault(found[1], {})[found[2]] = array
        elif (split := _split(name)) is not None:
            modules.setdefault(split[0], {})[split[1]] = array
        else:
            strange.append(name)
    if not modules:
        raise CheckpointError(f"{file} is no LoRA: " + (f"it has {strange[0]!r}" if strange else "it has no tensors"))
    _check_family(file, modules, nets["unet"], family)
    known = targets(nets)
    adapter = _adapter(file, metadata)
    changes, unmatched = [], list(strange)
    for name, factors in modules.items():
        target = known.get(_key(name))
        if target is None:
            unmatched.append(name)
            continue
        changes.append(Change(target, name, factors, *_alpha(name, factors, adapter, target)))
    return LoRA(file, changes, sorted(unmatched), embeddings)


def _split(name: str) -> tuple[str, str] | None:
    """The module's name and what of it a tensor is."""
    for pattern, leaf in ENDINGS:
        if found := pattern.fullmatch(name):
            return found[1], leaf
    return None


def _key(name: str) -> str:
    """A module's name as it is looked up: dots and underscores are the same to some tools, so no name is parsed."""
    return name.replace("base_model.model.", "").replace(".processor", "").replace(".", "_")


def targets(nets: Mapping[str, nn.Module]) -> dict[str, Target]:
    """Every name that a module has in some dialect, dots as underscores."""
    known: dict[str, Target] = {}
    for net_name, net in nets.items():
        unet = isinstance(net, UNet2DConditionModel)
        other = ldm.unet_prefixes(net.config) if unet else ldm.open_clip_prefixes(net.config.num_hidden_layers)
        for path, module in net.named_modules():
            if "weight" not in module and "base" not in module:
                continue
            for spelled in dict.fromkeys(_spellings(path, other)):
                stems = (spelled,) if unet else (f"text_model.{spelled}", spelled)
                for prefix in _UNET if unet else _TEXTS[net_name]:
                    for stem in stems:
                        known.setdefault(prefix + stem.replace(".", "_"), (net_name, path))
    return known


def _spellings(path: str, other: ldm.Prefixes) -> Iterator[str]:
    for spelled in (path, ldm.renamed(path, other)):
        if spelled is not None:
            yield spelled
            yield from (spelled.removesuffix(a) + b for a, b in _ALIASES if spelled.endswith(a))


def _check_family(file: Path, modules: Mapping[str, Mapping[str, mx.array]], unet: nn.Module, family: str) -> None:
    """Raise CheckpointError, which names it, for a LoRA of another family."""
    for pattern, what in _OTHERS:
        if any(re.match(pattern, name) for name in modules):
            raise CheckpointError(f"{file} is a LoRA for {what}, and this model is {family}")
    width = unet.config.cross_attention_dim
    for name, factors in modules.items():
        if (
            re.search(r"attn2[._]to_[kv]$", name)
            and (told := factors.get("down", factors.get("hada_w1_b"))) is not None
        ):
            theirs = told.shape[1]
            if theirs != width:
                known = f"{WIDTHS[theirs].name}" if theirs in WIDTHS else "another model"
                raise CheckpointError(
                    f"{file} is a LoRA for {known}, whose texts are {theirs} numbers wide, and this model is {family}, "
                    f"with {width}: name one that was made for it"
                )
            return


def _adapter(file: Path, metadata: Mapping[str, str]) -> Mapping[str, Any]:
    """What peft says of rank and alpha: beside the file, or in its metadata."""
    if "lora_adapter_metadata" in metadata:
        try:
            said = json.loads(metadata["lora_adapter_metadata"])
        except ValueError:
            return {}
        return said if isinstance(said, dict) else {}
    beside = file.parent / "adapter_config.json"
    return read_json(beside) if file.name.startswith("adapter_model") and beside.exists() else {}


def _alpha(
    name: str, factors: Mapping[str, mx.array], adapter: Mapping[str, Any], target: Target
) -> tuple[float | None, int | None, bool]:
    """A module's alpha (None: as its rank) and rank, in the file or as peft says; and is it over the rank's root?"""
    if "alpha" in factors:
        return float(factors["alpha"].astype(mx.float32).reshape(-1)[0]), None, False
    net = "unet" if target[0] == "unet" else target[0].replace("_1", "")
    said = {
        key.removeprefix(f"{net}."): value for key, value in adapter.items() if key.startswith(f"{net}.")
    } or adapter
    alpha, rank = said.get("lora_alpha", said.get("alpha")), said.get("r")
    for pattern, value in (said.get("alpha_pattern") or {}).items():
        alpha = value if re.search(rf"(^|\.){pattern}$", name) else alpha
    for pattern, value in (said.get("rank_pattern") or {}).items():
        rank = value if re.search(rf"(^|\.){pattern}$", name) else rank
    return (
        float(alpha) if isinstance(alpha, int | float) else None,
        rank if isinstance(rank, int) else None,
        bool(said.get("use_rslora")),
    )
