"""Draw Things' JSON, in a comment."""

from typing import Any

from .objects import Quiet, Words, taken_loras, taken_text, translated
from .vocabulary import LoRA, ParsedParameters, lora

_NAMES = {
    "seed": "Seed", "steps": "Steps", "scale": "CFG scale", "sampler": "Sampler", "model": "Model",
    "strength": "Denoising strength", "size": "Size", "clip_skip": "Clip skip",
}  # fmt: skip
_QUIET = Quiet(
    {"profile": "how long each part took"},
    {"strength": (1,), "hires_fix": (False,)},  # noise alone, as of a prompt
)


def read(words: Words) -> ParsedParameters | None:
    if "c" not in words or "steps" not in words:
        return None
    rest = dict(words)
    prompt, negative = taken_text(rest, "c"), taken_text(rest, "uc")
    loras = taken_loras(rest, "lora", _lora)
    return translated(rest, _NAMES, prompt, negative, quiet=_QUIET, loras=loras)


def _lora(entry: Any) -> LoRA | None:
    fine = isinstance(entry, dict) and entry.keys() == {"model", "weight"}
    return lora(entry["model"], entry["weight"]) if fine else None
