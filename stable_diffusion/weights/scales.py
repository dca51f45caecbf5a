"""8-bit floats with scales, in ComfyUI's two forms: a weight is what its tensor holds times `scale_weight` or
`weight_scale`, one number for all of it or one for each row.

Beside them may lie the scales that ComfyUI gives to what goes into a layer, which its own arithmetic needs, and ours
does not, and the name of each layer's form: a JSON object in `comfy_quant`, or in the metadata.
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
from safetensors import safe_open

from .checkpoint import CheckpointError

_SCALE = re.compile(r"(.*\.)(scale_weight|weight_scale)")
_INPUT = re.compile(r"(.*\.)(scale_input|input_scale)")
_FORM = re.compile(r"(.*\.)comfy_quant")
_MARK = re.compile(r"(.*\.)?scaled_fp8")
_FORMS = re.compile(r"float8_e(4m3fn|5m2)(_rowwise)?")
_MEANT = {"format", "full_precision_matrix_mult"}  # what a form may say; of the latter we do no other
_METADATA = "_quantization_metadata"
# Tensors that only forms have which are not read here, and what these are called.
_OTHERS = (
    (re.compile(r".*\.(absmax|quant_map|quant_state\..*|nested_absmax|nested_quant_map)"), "bitsandbytes' 4 or 8 bits"),
    (re.compile(r".*\.(weight_scale_2|weight_scalar)"), "4-bit floats (nvfp4), or others with two scales"),
    (re.compile(r".*\.weight_scale_inv"), "8-bit floats with a scale for each block"),
    (re.compile(r".*\.(qweight|qzeros|SCB|weight_format)"), "whole numbers with scales (GPTQ, AWQ, or LLM.int8)"),
    (re.compile(r".*\.weight\._(data|scale|scale_and_zero)"), "a form of optimum-quanto or torchao"),
)

Entries = Mapping[str, Mapping[str, Any]]


def beside_weights(name: str) -> bool:
    """Is a tensor there for the scales alone, and no weight?"""
    return any(pattern.fullmatch(name) for pattern in (_SCALE, _INPUT, _FORM, _MARK))


def scales_of(file: Path, entries: Entries, metadata: Mapping[str, str]) -> dict[str, str]:
    """The name of the scale of each weight that has one, by the names that a file's header says.

    Raises CheckpointError, which names it, for a form that is not understood.
    """
    for pattern, what in _OTHERS:
        if other := next((name for name in entries if pattern.fullmatch(name)), None):
            raise _refused(file, f"quantised in a form that is not read here ({what}, by {other!r})")
    scales: dict[str, str] = {}
    for name, entry in entries.items():
        if found := _SCALE.fullmatch(name):
            weight = f"{found[1]}weight"
            if weight not in entries or weight in scales:
                raise _refused(file, f"damaged: {name!r} is the scale of a weight that is not there, or has another")
            if not entries[weight]["dtype"].startswith(("F8_E4M3", "F8_E5M2", "F16", "F32", "BF16")):
                kind = entries[weight]["dtype"]
                raise _refused(file, f"quantised in a form that is not read here ({weight!r} has numbers of {kind})")
            if not entry["dtype"].startswith(("F", "BF")) or not _fits(entry["shape"], entries[weight]["shape"]):
                raise _refused(file, f"quantised in a form that is not read here ({name!r} has shape {entry['shape']})")
            scales[weight] = name
    for layer, said in _forms(file, entries, metadata):
        form = said.get("format") if isinstance(said, dict) else None
        if not isinstance(form, str) or not _FORMS.fullmatch(form) or said.keys() - _MEANT:
            raise _refused(file, f"quantised in a form that is not read here ({layer!r} is {json.dumps(said)[:80]})")
        if f"{layer}.weight" in entries and f"{layer}.weight" not in scales:
            raise _refused(file, f"damaged: {layer!r} is {form}, and has no weight_scale")
    return scales


def _refused(file: Path, why: str) -> CheckpointError:
    return CheckpointError(f"{file} is {why}: name a file of fp32, fp16, bf16, or fp8 with a scale for each weight")


def _fits(scale: Iterable[int], weight: Iterable[int]) -> bool:
    """Is a scale one number, or one for each row of the output?"""
    return all(n == 1 for n in scale) or (list(scale)[:1] == list(weight)[:1] and all(n == 1 for n in list(scale)[1:]))


def _forms(file: Path, entries: Entries, metadata: Mapping[str, str]) -> list[tuple[str, Any]]:
    """What a file says of the form of its layers: their names, and objects of JSON."""
    found: list[tuple[str, Any]] = []
    names = [name for name in entries if _FORM.fullmatch(name)]
    try:
        if names:
            with safe_open(file, framework="numpy") as opened:
                for name in names:
                    layer = name.removesuffix(".comfy_quant")
                    found.append((layer, json.loads(bytes(opened.get_tensor(name).tobytes()))))
        if _METADATA in metadata:
            layers = json.loads(metadata[_METADATA])["layers"]
            found += layers.items()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise _refused(file, "quantised in a form that can't be read (its comfy_quant is no JSON object)") from None
    return found


def dequantized(tensors: dict[str, mx.array], scales: Mapping[str, str]) -> dict[str, mx.array]:
    """Tensors with their scales multiplied in, float32, and without all that was there for those; none is read."""
    made = {name: array for name, array in tensors.items() if not beside_weights(name)}
    for name, scale in scales.items():
        if name not in made:
            continue
        weight, factor = made[name], tensors[scale].astype(mx.float32)
        rows = factor.reshape(-1, *(1,) * (weight.ndim - 1)) if factor.size > 1 else factor.reshape(())
        made[name] = weight.astype(mx.float32) * rows
    return made
