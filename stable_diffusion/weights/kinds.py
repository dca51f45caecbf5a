"""What a safetensors file is, by the names and shapes in its header: a model, something for a model, or neither."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .checkpoint import CheckpointError
from .family import SD1, SD2, SD_TURBO, UNET, VAES, WIDTHS, XL, Family, context_width
from .tensors import Header

MODEL, LORA, VAE, EMBEDDING = "--model", "--lora", "--vae", "--embedding"
_CALLED = {
    MODEL: "Stable Diffusion model",
    LORA: "LoRA",
    VAE: "autoencoder",
    EMBEDDING: "textual inversion",
}


@dataclass(frozen=True)
class Kind:
    """What a file is, the option that it belongs to (None: none has a use for it), and else what to do instead."""

    what: str  # with its article
    option: str | None = None
    remedy: str = ""
    family: Family | None = None  # of a model with everything in it


UNKNOWN = "nothing that is known here"
_ONLY = "this package runs Stable Diffusion 1.x, 2.x and XL"
_NONE = "this package has no use for it"
_WHOLE = "name a file that has everything, or a folder"
# Files that are known by a tensor, and may hold LoRAs of their own.
_ADAPTERS: tuple[tuple[str, str, str], ...] = (
    (r"ip_adapter\.|image_proj\.", "an IP-Adapter, by which a UNet is shown a picture", _NONE),
    (r"id_encoder\.", "PhotoMaker, by which a UNet is shown a face", _NONE),
    (r".*motion_modules\.", "a motion module of AnimateDiff, or a LoRA for one", _NONE),
    (r"lllite_", "a ControlNet-LLLite", _NONE),
    (r"lora_controlnet$", "a Control-LoRA, which is a small ControlNet", _NONE),
)
# Files that are known by a tensor: how it is called, what the file is, and what to say to that. The first counts.
_BY_NAME: tuple[tuple[str, str, str], ...] = (
    *_ADAPTERS,
    (r"control_model\.|controlnet_|input_hint_block\.|zero_convs\.|.*\.controlnet_blocks\.", "a ControlNet", _NONE),
    (r"(adapter\.)?body\.\d+\.(.*\.)?(block1|in_conv)\.|adapter\.conv_in\.", "a T2I-Adapter", _NONE),
    (rf"({UNET})?joint_blocks\.", "a Stable Diffusion 3 model", _ONLY),
    (rf"({UNET})?(double_blocks|single_transformer_blocks)\.", "a Flux model", _ONLY),
    (rf"({UNET})?adaln_single\.|pos_embed\.proj", "a PixArt model", _ONLY),
    (r"(.*\.)?clip_txt(_pooled)?_mapper\.", "a Stable Cascade model", _ONLY),
    (r".*\.time_stack\.", "Stable Video Diffusion", _ONLY),
    (r".*position_net\.", "GLIGEN, whose UNet is also told of boxes", _NONE),
    (r"edm_mean$", "Playground 2.5, whose noise levels are not Stable Diffusion's", _ONLY),
    (r"edm_vpred\.sigma_max$", "CosXL, whose noise levels are not Stable Diffusion's", _ONLY),
    (r"(vision_model|visual)\.", "an encoder of pictures (CLIP's)", _NONE),
    (r"(.*\.)?encoder\.block\.\d+\.layer\.", "a text encoder of another kind (T5)", _ONLY),
    (r"conv_first\.|RRDB_trunk\.|model\.1\.sub\.", "a net that enlarges pictures (ESRGAN's kin)", _NONE),
)  # fmt: skip
# LoRAs, and an embedding, that are for other models, or of other kinds, by a tensor of theirs.
_FOR_FLUX = r"(lora_unet_|lycoris_|transformer\.|(model\.)?diffusion_model\.)?(double|single)_(transformer_)?blocks[._]"
_FOR_SD3 = r"(lora_unet_|lycoris_|transformer\.|(model\.)?diffusion_model\.)?joint_blocks[._]"
_KNOWN = "name a LoRA, LoHa, LoKr, DoRA, or one of whole differences"
_LORAS: tuple[tuple[str, str, str], ...] = (
    (_FOR_FLUX, "a LoRA for Flux", _ONLY),
    (_FOR_SD3, "a LoRA for Stable Diffusion 3", _ONLY),
    (r"transformer\.transformer_blocks\.", "a LoRA for another kind of net than Stable Diffusion's UNet", _ONLY),
    (r".*\.oft_(blocks|diag|R|r)\b", "a LoRA of the kind OFT, which is not known here", _KNOWN),
    (r".*\.on_input$|.*\.ia3_l\b", "a LoRA of the kind IA3, which is not known here", _KNOWN),
    (r".*\.[ab][12]\.weight$", "a LoRA of the kind GLoRA, which is not known here", _KNOWN),
)
_T5 = re.compile(r"t5(xxl)?(_out)?")
_FACTORS = re.compile(
    r".*((\.|_)(lora_(up|down|A|B|mid)|lora\.(up|down)|lora_linear_layer)\b.*|\.(hada|lokr)_\w.*|:\d+:(up|down)$"
    r"|\.(diff|diff_b|w_norm|b_norm|alpha|dora_scale|lora_magnitude_vector.*|oft_\w+|on_input|ia3_l.*|[ab][12]\.weight)$)"
)
VECTORS = re.compile(r"emb_params|string_to_param\..+|clip_l|clip_g")  # of an embedding; XL has the last two
CHANNELS = {
    8: "a pix2pix model, whose UNet is also shown a picture",
    5: "a depth model, whose UNet is also shown the depth of a picture",
    7: "the upscaler, whose UNet is also shown a small picture",
}
_CODER = re.compile(
    rf"({'|'.join(map(re.escape, VAES))})?(encoder|decoder)\."
    r"(conv_in|conv_out|(down|up)(_blocks)?\.\d|layers\.\d+\.(weight|bias|conv\.\d))"
)
_HALF = re.compile(r"\d+\.((conv\.\d+|skip)\.)?(weight|bias)")  # of TAESD's own two files
_TOKENS = (768, 1024, 1280)  # widths of text encoders


def kind_of(header: Header) -> Kind:
    """What a file is."""
    names, unet = header.shapes, header.under(UNET)
    if not names:
        return Kind("empty", None, "it has no tensors")
    if any(map(_FACTORS.fullmatch, names)) and "input_blocks.0.0.weight" not in unet:
        return _lora(names)
    for pattern, what, remedy in _BY_NAME:
        if any(re.match(pattern, name) for name in names):
            return Kind(what, None, remedy)
    return _of_unet(names, unet) if unet else _without_unet(names)


def _lora(names: Iterable[str]) -> Kind:
    """What a file is whose tensors end as those of LoRAs do."""
    for pattern, what, remedy in _ADAPTERS:
        if any(re.match(pattern, name) for name in names):
            return Kind(what, None, remedy)
    for pattern, what, remedy in _LORAS:
        if any(re.match(pattern, name) for name in names):
            return Kind(what, LORA, remedy)
    return Kind("a LoRA", LORA)


def _of_unet(names: Mapping[str, tuple[int, ...]], unet: Mapping[str, tuple[int, ...]]) -> Kind:
    """What a file is that has a UNet under the name that single files have."""
    first = unet.get("input_blocks.0.0.weight", ())
    if len(first) != 4:
        return Kind("a part of a UNet, without its first layer", None, _WHOLE)
    if first[1] in CHANNELS:
        return Kind(CHANNELS[first[1]], None, "that is not supported")
    width = context_width(unet)
    there = {prefix for family in (SD1, SD2, XL, SD_TURBO) for _, prefix in family.texts if _any(names, prefix)}
    if there == {SD_TURBO.texts[0][1]} and width in (None, 1280):
        return Kind("XL's refiner", None, "name the base model, which paints without it")
    told = unet.get("label_emb.0.0.weight")  # of more than text and time
    for family in (SD1, SD2, XL, SD_TURBO):
        if there >= {prefix for _, prefix in family.texts}:
            if told is not None and family is not XL:
                return Kind("unCLIP, whose UNet is also told of a picture", None, f"name an {family.name} without that")
            return Kind(f"an {family.name} model", MODEL, family=family)
    missing = [which for which, (_, prefix) in zip(("first", "second"), XL.texts, strict=True) if prefix not in there]
    if len(missing) == 1:
        return Kind(f"an SD XL model that lacks its {missing[0]} text encoder", None, _WHOLE)
    known = WIDTHS.get(width or 0)
    if any(_any(names, prefix) for prefix in VAES):
        return Kind(f"{f'an {known.name}' if known else 'a'} model that lacks its text encoder", None, _WHOLE)
    return Kind(f"the UNet of {f'an {known.name}' if known else 'a model'} alone, without a text encoder", None, _WHOLE)


def _without_unet(names: Mapping[str, tuple[int, ...]]) -> Kind:
    """What a file is that has no UNet under that name."""
    if "conv_in.weight" in names and _any(names, "down_blocks."):
        return Kind("the UNet of a folder in the diffusers layout", None, "name the folder that has model_index.json")
    if "input_blocks.0.0.weight" in names:
        known = WIDTHS.get(context_width(names) or 0)
        of = f"of an {known.name} " if known else ""
        return Kind(f"a UNet {of}alone, without a text encoder and an autoencoder", None, _WHOLE)
    if any(map(_CODER.match, names)):
        return Kind("an autoencoder", VAE)
    if all(map(_HALF.fullmatch, names)):
        return Kind("one half of TAESD", VAE)
    if any(map(_T5.fullmatch, names)):
        return Kind("a textual inversion for Stable Diffusion 3 or Flux", EMBEDDING, _ONLY)
    alone = len(names) == 1 and next(iter(names.values()))[-1:] in [(width,) for width in _TOKENS]
    if alone or any(map(VECTORS.fullmatch, names)):
        return Kind("a textual inversion", EMBEDDING)
    if any("text_model." in name or "resblocks." in name for name in names) or _any(names, "encoder.layers."):
        return Kind("a text encoder alone", None, _WHOLE)
    return Kind(UNKNOWN, None, f"its tensors are called {listed(sorted(names))}")


def _any(names: Iterable[str], prefix: str) -> bool:
    return any(name.startswith(prefix) for name in names)


def listed(names: Sequence[str]) -> str:
    """The first three of some names, and how many there are."""
    return ", ".join(names[:3]) + (f", ... ({len(names)} in all)" if len(names) > 3 else "")


def what_is(header: Header) -> str:
    """What a file is, and what to do with it, as the end of a sentence."""
    kind = kind_of(header)
    if kind.remedy:
        return f"{kind.what}: {kind.remedy}"
    model = "" if kind.option == MODEL else ", and the model that it is for with --model"
    return f"{kind.what}: name it with {kind.option}{model}"


def mistaken(header: Header, option: str) -> CheckpointError:
    """What to raise for a file that was named with an option, and is something else, or of a form that is not known."""
    kind, called = kind_of(header), _CALLED[option]
    if kind.option == option and kind.remedy:
        return CheckpointError(f"{header.file} is {what_is(header)}")
    if kind.option == option:
        names = listed(sorted(header.shapes))
        return CheckpointError(f"{header.file} is {kind.what} of a form that is not known here: it has {names}")
    if option == MODEL:
        return CheckpointError(f"{header.file} is {what_is(header)}")
    return CheckpointError(f"{header.file} is no {called}, but {what_is(header)}")


def family_of(header: Header) -> Family:
    """The family of a file with everything in it. Raises CheckpointError that says what else it is, and what to do."""
    if (family := kind_of(header).family) is None:
        raise mistaken(header, MODEL)
    return family
