"""Fooocus' JSON, in the text of AUTOMATIC1111's keyword."""

from .objects import Words, text_of, translated
from .vocabulary import ParsedParameters

_NAMES = {
    "seed": "Seed", "steps": "Steps", "guidance_scale": "CFG scale", "sampler": "Sampler", "scheduler": "Schedule type",
    "base_model": "Model", "clip_skip": "Clip skip",
}  # fmt: skip


def read(words: Words) -> ParsedParameters | None:
    if "guidance_scale" not in words or not isinstance(words.get("prompt"), str):
        return None
    rest = {name: value for name, value in words.items() if name not in ("resolution", "version")}
    sides = text_of(words, "resolution").strip("()").split(",")
    if len(sides) == 2 and all(side.strip().isdigit() for side in sides):
        rest |= {"width": int(sides[0]), "height": int(sides[1])}
    return translated(rest, _NAMES, words["prompt"], text_of(words, "negative_prompt"))
