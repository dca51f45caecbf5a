"""Easy Diffusion's texts, each behind a keyword of its own."""

from collections.abc import Mapping

from .objects import Quiet, translated
from .vocabulary import ParsedParameters

_NAMES = {
    "seed": "Seed", "steps": "Steps", "num inference steps": "Steps", "guidance scale": "CFG scale",
    "sampler": "Sampler", "sampler name": "Sampler", "prompt strength": "Denoising strength", "clip skip": "Clip skip",
    "stable diffusion model": "Model", "use stable diffusion model": "Model",
}  # fmt: skip
_QUIET = Quiet(
    {"num outputs": "how many were made, each of a seed of its own", "output format": "of the file"},
    {"prompt strength": ("0.8",), "clip skip": ("False",)},
)


def read(texts: Mapping[str, str]) -> ParsedParameters | None:
    """The settings in texts of a name each: "Seed", "Guidance Scale", or "seed", "guidance_scale"."""
    words = {name.lower().replace("_", " "): text for name, text in texts.items()}
    if not {"prompt", "negative prompt", "seed", "guidance scale"} <= words.keys():
        return None
    prompt, negative = words.pop("prompt"), words.pop("negative prompt")
    sides = {side: int(words[side]) for side in ("width", "height") if words.get(side, "").isdecimal()}
    return translated(words | sides if len(sides) == 2 else words, _NAMES, prompt, negative, quiet=_QUIET)
