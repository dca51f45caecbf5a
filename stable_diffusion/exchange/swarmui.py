"""SwarmUI's JSON: `sui_image_params` in the text of AUTOMATIC1111's keyword."""

from .objects import Words, text_of, translated
from .vocabulary import ParsedParameters

_NAMES = {
    "seed": "Seed", "steps": "Steps", "cfgscale": "CFG scale", "sampler": "Sampler", "scheduler": "Schedule type",
    "model": "Model", "initimagecreativity": "Denoising strength",
}  # fmt: skip


def read(words: Words) -> ParsedParameters | None:
    inside = words.get("sui_image_params")
    if not isinstance(inside, dict):
        return None
    rest = {name: value for name, value in inside.items() if name not in ("negativeprompt", "swarm_version")}
    return translated(rest, _NAMES, text_of(inside, "prompt"), text_of(inside, "negativeprompt"))
