"""NovelAI's JSON: `Comment`."""

from .objects import Words, text_of, translated
from .vocabulary import ParsedParameters

_NAMES = {
    "seed": "Seed", "steps": "Steps", "scale": "CFG scale", "sampler": "Sampler", "noise_schedule": "Schedule type",
    "strength": "Denoising strength",
}  # fmt: skip


def read(words: Words) -> ParsedParameters | None:
    if "uc" not in words or "scale" not in words or "c" in words:
        return None
    return translated(
        {k: v for k, v in words.items() if k != "uc"}, _NAMES, text_of(words, "prompt"), text_of(words, "uc")
    )
