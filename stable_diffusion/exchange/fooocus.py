"""Fooocus' JSON, in the text of AUTOMATIC1111's keyword."""

import re
from typing import Any

from .objects import Quiet, Words, taken_loras, taken_text, translated
from .vocabulary import LoRA, ParsedParameters, lora

_NAMES = {
    "seed": "Seed", "steps": "Steps", "guidance_scale": "CFG scale", "sampler": "Sampler", "scheduler": "Schedule type",
    "base_model": "Model", "clip_skip": "Clip skip",
}  # fmt: skip
_QUIET = Quiet(
    {
        "version": "which Fooocus it was",
        "created_by": "who made it",
        "metadata_scheme": "how the text is written",
        "base_model_hash": "the model is named, and a name is all that --model takes",
    },
    {"refiner_model": ("None",), "vae": ("Default (model)",)},
)
_COMBINED = re.compile(r"lora_combined_\d{1,3}")  # "ink.safetensors : 0.8"


def read(words: Words) -> ParsedParameters | None:
    own = words.keys() & {"resolution", "metadata_scheme", "base_model"}
    if "guidance_scale" not in words or not own or not isinstance(words.get("prompt"), str):
        return None
    rest = dict(words)
    prompt, negative = taken_text(rest, "prompt"), taken_text(rest, "negative_prompt")
    size = str(rest.get("resolution")).strip("()").split(",")
    if len(size) == 2 and all(side.strip().isdecimal() and len(side) < 10 for side in size):
        del rest["resolution"]
        rest |= {"width": int(size[0]), "height": int(size[1])}
    if rest.get("refiner_model") == "None":  # there is nothing to switch to
        rest.pop("refiner_switch", None)
    loras = taken_loras(rest, "loras", _lora)
    for name in [name for name in rest if _COMBINED.fullmatch(name)]:
        called, _, weight = str(rest[name]).rpartition(" : ")
        if (found := lora(called, weight)) is not None:
            loras.append(found)
            del rest[name]
    return translated(rest, _NAMES, prompt, negative, quiet=_QUIET, loras=loras)


def _lora(entry: Any) -> LoRA | None:
    """A name, an amount, and a hash."""
    return lora(*entry[:2]) if isinstance(entry, list) and len(entry) in (2, 3) else None
