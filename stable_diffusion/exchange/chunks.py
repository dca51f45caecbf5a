"""Settings that stand in several texts of a file, each behind a keyword; and texts that lie within another."""

import json
from collections.abc import Mapping

from .a1111 import KEYWORD
from .objects import Quiet, object_in, translated
from .vocabulary import ParsedParameters

HIDDEN = ("stealth_pnginfo", "stealth_pngcomp", "stealth_rgbinfo", "stealth_rgbcomp")  # in the pixels
_NAMES = {
    "seed": "Seed", "steps": "Steps", "num inference steps": "Steps", "guidance scale": "CFG scale",
    "sampler": "Sampler", "sampler name": "Sampler", "prompt strength": "Denoising strength", "clip skip": "Clip skip",
    "stable diffusion model": "Model", "use stable diffusion model": "Model",
}  # fmt: skip
_QUIET = Quiet(
    {"num outputs": "how many were made, each of a seed of its own", "output format": "of the file"},
    {"prompt strength": ("0.8",), "clip skip": ("False",)},
)


def unpacked(texts: Mapping[str, str]) -> dict[str, str]:
    """The texts, with those that lie in one of them: a text of the file itself goes before one of its name within.

    NovelAI hides all its texts as one object in the pixels; savers of films put a graph into a comment.
    """
    plain: dict[str, str] = {}
    within: dict[str, str] = {}
    for name, text in texts.items():
        words = object_in(text) if name in HIDDEN or name == KEYWORD or name.lower() == "comment" else None
        inside = {k: v if isinstance(v, str) else json.dumps(v) for k, v in (words or {}).items()}
        if "Comment" in inside or _is_graph(inside.get("prompt", "")):
            within |= inside
        else:
            plain[name] = text
    return within | plain


def _is_graph(text: str) -> bool:
    nodes = object_in(text) or {}
    return any(isinstance(node, dict) and "class_type" in node for node in nodes.values())


def read(texts: Mapping[str, str]) -> ParsedParameters | None:
    """Easy Diffusion's texts, a name each: "Seed", "Guidance Scale", or "seed", "guidance_scale"."""
    words = {name.lower().replace("_", " "): text for name, text in texts.items()}
    if not {"prompt", "negative prompt", "seed", "guidance scale"} <= words.keys():
        return None
    prompt, negative = words.pop("prompt"), words.pop("negative prompt")
    sides = {side: int(words[side]) for side in ("width", "height") if words.get(side, "").isdecimal()}
    return translated(words | sides if len(sides) == 2 else words, _NAMES, prompt, negative, quiet=_QUIET)
