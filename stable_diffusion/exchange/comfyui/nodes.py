"""The table of ComfyUI's nodes: what each output means, in terms of its node's inputs."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...settings import MOST_BATCH
from .graph import At, Meaning, Unknown
from .meanings import Net, Shown, Start, Told
from .passes import PASSES


def _constant(name: str) -> Meaning:
    return lambda at: at[name]


def _through(name: str, kind: type, remark: str | None = None) -> Meaning:
    """A node that gives on what one of its inputs is, with something done to it that no run here would do."""

    def meaning(at: At) -> Any:
        value = at[name]
        if not isinstance(value, kind):
            return value if isinstance(value, Unknown) else Unknown(f"the node {at.node.kind}")
        return value if remark is None else value.with_remark(remark.format(at=at))  # type: ignore[attr-defined]

    return meaning


def _two(remark: str) -> Meaning:
    """A node with a positive and a negative output, each of which comes from the input of its name."""
    sides = ("positive", "negative")

    def meaning(at: At) -> Any:
        if at.output >= len(sides):
            return Unknown(f"the node {at.node.kind}")
        return _through(sides[at.output], Told, remark)(at)

    return meaning


# Values


def _switch(at: At) -> Any:
    chosen = at["switch"]
    return at["on_true" if chosen else "on_false"] if isinstance(chosen, bool) else Unknown("the node ComfySwitchNode")


def _reroute(at: At) -> Any:
    return at.graph.value(next(iter(at.node.inputs.values()), None))


def _joined(*names: str, between: str) -> Meaning:
    def meaning(at: At) -> Any:
        parts = [at.text(name) for name in names if name in at.node.inputs]
        unknown = next((part for part in parts if isinstance(part, Unknown)), None)
        glue = at[between] if between in at.node.inputs else ""
        if unknown is not None or not isinstance(glue, str):
            return unknown or Unknown(f"the node {at.node.kind}")
        return glue.join(map(str, parts))

    return meaning


# Models


def _checkpoint(at: At) -> Any:
    return Net(at.text("ckpt_name"))


def _unet(at: At) -> Any:
    return Net(at.text("unet_name"), alone=True)


def _loose(at: At) -> Any:
    """A text encoder or an autoencoder of its own."""
    name = next((at[n] for n in ("vae_name", "clip_name") if isinstance(at[n], str)), at.node.kind)
    return Net("", remarks=(f"{at.node.kind}: {name}",))


def _lora(at: At) -> Any:
    clip = at.output == 1
    net = at["clip" if clip else "model"]
    if not isinstance(net, Net):
        return net if isinstance(net, Unknown) else Unknown(f"the node {at.node.kind}")
    name, unet = at.text("lora_name"), at.number("strength_model", 1.0)
    texts = at.number("strength_clip", 1.0) if "clip" in at.node.inputs else 0.0
    if isinstance(name, Unknown) or isinstance(unet, Unknown) or isinstance(texts, Unknown):
        return net.with_remark(f"the LoRA of the node {at.node.kind}")
    return replace(net, loras=(*net.loras, (name, float(unet), float(texts))))


def _last_layer(at: At) -> Any:
    net, layer = at["clip"], at["stop_at_clip_layer"]
    if not isinstance(net, Net):
        return net if isinstance(net, Unknown) else Unknown("the node CLIPSetLastLayer")
    if isinstance(layer, bool) or not isinstance(layer, int) or layer >= 0:
        return net.with_remark("the layer of the node CLIPSetLastLayer")
    return replace(net, clip_skip=-layer)


def _sampling(at: At) -> Any:
    net, kind, zero = at["model"], at["sampling"], at["zsnr"]
    if not isinstance(net, Net):
        return net if isinstance(net, Unknown) else Unknown("the node ModelSamplingDiscrete")
    known = {"eps": "epsilon", "v_prediction": "v_prediction", "x0": "sample"}
    if kind in known:
        net = net.with_remark(f"the model predicts {known[kind]} (--prediction {known[kind]} says so)")
    else:
        net = net.with_remark(f"ModelSamplingDiscrete: {kind!s:.40}")
    return net.with_remark("the noise levels of a zero terminal SNR") if zero is True else net


# Conditioning


def _told(at: At) -> Any:
    return Told(at.text("text"), at["clip"])


def _told_xl(at: At) -> Any:
    one, other = at.text("text_g"), at.text("text_l")
    told = Told(one, at["clip"])
    if isinstance(one, Unknown) or isinstance(other, Unknown) or one == other:
        return told if not isinstance(other, Unknown) else Told(other, at["clip"])
    return told.with_remark(f"another prompt for the first of the two text encoders: {other:.200}")


def _told_more(*names: str) -> Meaning:
    """Several prompts made one: the first is taken, the others are named."""

    def meaning(at: At) -> Any:
        parts = [at[name] for name in names]
        if not isinstance(parts[0], Told):
            return parts[0] if isinstance(parts[0], Unknown) else Unknown(f"the node {at.node.kind}")
        said = [repr(p.prompt)[:200] if isinstance(p, Told) and isinstance(p.prompt, str) else "?" for p in parts[1:]]
        return parts[0].with_remark(f"{at.node.kind} with the prompt {', '.join(said)}")

    return meaning


# Latents and pictures


def _size(at: At) -> tuple[int, int] | None:
    width, height = at["width"], at["height"]
    if any(isinstance(side, bool) or not isinstance(side, int | float) for side in (width, height)):
        return None
    return (int(width), int(height)) if math.isfinite(width) and math.isfinite(height) else None


def _empty(at: At) -> Any:
    batch, size = at.number("batch_size", 1), _size(at)
    start = Start(size) if size else Start(remarks=("the size",))
    if isinstance(batch, Unknown) or not 1 <= batch <= MOST_BATCH:
        return start.with_remark("the size of the batch")
    return replace(start, batch=int(batch))


def _encoded(at: At) -> Any:
    picture = at["pixels"]
    if not isinstance(picture, Shown):
        return Start(from_picture=True, remarks=("the picture that it starts from",))
    made = picture.latent.made_by if isinstance(picture.latent, Start) else picture.latent
    return Start(picture.size, from_picture=made is None, made_by=made, remarks=picture.remarks)


def _encoded_for_repainting(at: At) -> Any:
    start = _encoded(at)
    return start.with_remark("the part that is repainted (--mask names it)")


def _repainting(at: At) -> Any:
    return _encoded_for_repainting(at) if at.output == 2 else _two("the part that is repainted (--mask names it)")(at)


def _enlarged(at: At) -> Any:
    start = at["samples"]
    if not isinstance(start, Start):
        return start if isinstance(start, Unknown) else Unknown(f"the node {at.node.kind}")
    if start.made_by is None and not start.from_picture and (size := _size(at)):
        return replace(start, size=size)
    factor = f"by {at['scale_by']!s:.10}" if "scale_by" in at.node.inputs else f"to {at['width']!s} x {at['height']!s}"
    return replace(start, size=_size(at)).with_remark(f"a latent enlarged {factor:.30}")


def _repeated(at: At) -> Any:
    start, amount = at["samples"], at.number("amount", 1)
    if not isinstance(start, Start):
        return start if isinstance(start, Unknown) else Unknown("the node RepeatLatentBatch")
    if isinstance(amount, Unknown) or not 1 <= start.batch * amount <= MOST_BATCH:
        return start.with_remark("the size of the batch")
    return replace(start, batch=int(start.batch * amount))


def _one_of_batch(at: At) -> Any:
    start, index, length = at["samples"], at.number("batch_index", 0), at.number("length", 1)
    if not isinstance(start, Start):
        return start if isinstance(start, Unknown) else Unknown("the node LatentFromBatch")
    if isinstance(index, Unknown) or isinstance(length, Unknown) or length != 1 or not 0 <= index < start.batch:
        return start.with_remark("which of the batch it was")
    return replace(start, place=int(index) + 1)


def _decoded(at: At) -> Any:
    start = at["samples"]
    return Shown(start if isinstance(start, Start | Unknown) else Unknown(f"the node {at.node.kind}"))


def _sized(name: str = "image") -> Meaning:
    """A picture brought to a size."""

    def meaning(at: At) -> Any:
        picture = at[name]
        if not isinstance(picture, Shown):
            return picture if isinstance(picture, Unknown) else Unknown(f"the node {at.node.kind}")
        if picture.latent is None:
            return replace(picture, size=_size(at))
        return replace(picture.with_remark(f"the picture enlarged by the node {at.node.kind}"), size=_size(at))

    return meaning


_CONTROL = "{at.node.kind}, which steers by another picture"
_PART = "{at.node.kind}, which limits where or when a prompt holds"
TABLE: Mapping[str, Meaning] = {
    # Values
    **dict.fromkeys(
        ("PrimitiveInt", "PrimitiveFloat", "PrimitiveString", "PrimitiveStringMultiline", "PrimitiveBoolean"),
        _constant("value"),
    ),
    **dict.fromkeys(("Seed (rgthree)", "CR Seed", "easy seed", "ttN seed", "Seed"), _constant("seed")),
    "ShowText|pysssss": _constant("text"),
    "Reroute": _reroute,
    "ComfySwitchNode": _switch,
    "StringConcatenate": _joined("string_a", "string_b", between="delimiter"),
    "Text Concatenate": _joined("text_a", "text_b", "text_c", "text_d", between="delimiter"),
    # Models
    "CheckpointLoaderSimple": _checkpoint,
    "CheckpointLoader": _checkpoint,
    "UNETLoader": _unet,
    "VAELoader": _loose,
    "CLIPLoader": _loose,
    "DualCLIPLoader": _loose,
    "LoraLoader": _lora,
    "LoraLoaderModelOnly": _lora,
    "CLIPSetLastLayer": _last_layer,
    "ModelSamplingDiscrete": _sampling,
    **dict.fromkeys(
        (
            "RescaleCFG", "FreeU", "FreeU_V2", "PerturbedAttentionGuidance", "SelfAttentionGuidance", "HyperTile",
            "PatchModelAddDownscale", "ModelSamplingContinuousEDM", "ModelSamplingContinuousV", "IPAdapter",
            "IPAdapterAdvanced", "TomePatchModel", "EasyCache", "LazyCache",
        ),
        _through("model", Net, "{at.node.kind} on the model"),
    ),
    # Conditioning
    "CLIPTextEncode": _told,
    "CLIPTextEncodeSDXL": _told_xl,
    "CLIPTextEncodeSDXLRefiner": _told,
    "ConditioningZeroOut": _through("conditioning", Told, "ConditioningZeroOut: zeros in the place of this prompt"),
    "ConditioningCombine": _told_more("conditioning_1", "conditioning_2"),
    "ConditioningAverage": _told_more("conditioning_to", "conditioning_from"),
    "ConditioningConcat": _told_more("conditioning_to", "conditioning_from"),
    **dict.fromkeys(
        ("ConditioningSetArea", "ConditioningSetAreaPercentage", "ConditioningSetAreaStrength", "ConditioningSetMask",
         "ConditioningSetTimestepRange"),
        _through("conditioning", Told, _PART),
    ),
    **dict.fromkeys(
        ("ControlNetApply", "unCLIPConditioning", "StyleModelApply", "GLIGENTextBoxApply"),
        _through("conditioning", Told, _CONTROL),
    ),
    "ControlNetApplyAdvanced": _two(_CONTROL),
    "ControlNetInpaintingAliMamaApply": _two(_CONTROL),
    "InpaintModelConditioning": _repainting,
    # Latents and pictures
    "EmptyLatentImage": _empty,
    "VAEEncode": _encoded,
    "VAEEncodeTiled": _encoded,
    "VAEEncodeForInpaint": _encoded_for_repainting,
    "SetLatentNoiseMask": _through("samples", Start, "the part that is repainted (--mask names it)"),
    "LatentUpscale": _enlarged,
    "LatentUpscaleBy": _enlarged,
    "RepeatLatentBatch": _repeated,
    "LatentFromBatch": _one_of_batch,
    **dict.fromkeys(
        ("LatentBlend", "LatentFlip", "LatentRotate", "LatentCrop", "LatentMultiply"),
        _through("samples", Start, "{at.node.kind}"),
    ),
    "LoadImage": lambda at: Shown(),
    "LoadImageMask": lambda at: Shown(),
    "VAEDecode": _decoded,
    "VAEDecodeTiled": _decoded,
    "ImageScale": _sized(),
    "ImageScaleBy": _sized(),
    "ImageScaleToTotalPixels": _sized(),
    "ImageUpscaleWithModel": _sized(),
    "ImageBlur": _through("image", Shown, "{at.node.kind}"),
    "ImageSharpen": _through("image", Shown, "{at.node.kind}"),
    "ImagePadForOutpaint": _through("image", Shown, "ImagePadForOutpaint, which adds room around the picture"),
    "PreviewImage": _constant("images"),
    "SaveImage": _constant("images"),
    **PASSES,
}  # fmt: skip
