"""How LoRA files spell what they change: the endings of tensors, and the names of modules in every dialect."""

import re
from collections.abc import Iterator, Mapping

import mlx.nn as nn

from ..models.unet import UNet2DConditionModel
from . import ldm

Target = tuple[str, str]  # a net, and the path of a module in it

# How names end, and what they then hold; before that is the name of the module.
_ADAPTER = r"(?:\.[^.]+)?"  # a name that somebody gave an adapter of peft's
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
    (r":up", "up"),
    (r":down", "down"),
)
ENDINGS = tuple((re.compile(f"(.+){pattern}"), leaf) for pattern, leaf in _ENDINGS)
BUNDLED = re.compile(r"bundle_emb\.(.+?)\.(string_to_param\..+|emb_params|clip_l|clip_g)")
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


def split(name: str) -> tuple[str, str] | None:
    """The module's name and what of it a tensor is."""
    for pattern, leaf in ENDINGS:
        if found := pattern.fullmatch(name):
            return found[1], leaf
    return None


def key_of(name: str) -> str:
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
