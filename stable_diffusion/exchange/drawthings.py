"""Draw Things' JSON, in a comment."""

from .objects import Words, text_of, translated
from .vocabulary import ParsedParameters

_NAMES = {
    "seed": "Seed", "steps": "Steps", "scale": "CFG scale", "sampler": "Sampler", "model": "Model",
    "strength": "Denoising strength", "size": "Size",
}  # fmt: skip


def read(words: Words) -> ParsedParameters | None:
    if "c" not in words or "steps" not in words:
        return None
    rest = {name: value for name, value in words.items() if name not in ("c", "uc")}
    return translated(rest, _NAMES, text_of(words, "c"), text_of(words, "uc"))
