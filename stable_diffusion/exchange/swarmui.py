"""SwarmUI's JSON: `sui_image_params` in the text of AUTOMATIC1111's keyword."""

from typing import Any

from .objects import Quiet, Words, beside, taken_text, translated
from .vocabulary import LoRA, ParsedParameters, lora

_NAMES = {
    "seed": "Seed", "steps": "Steps", "cfgscale": "CFG scale", "sampler": "Sampler", "scheduler": "Schedule type",
    "model": "Model", "initimagecreativity": "Denoising strength", "variationseed": "Variation seed",
    "variationseedstrength": "Variation seed strength",
}  # fmt: skip
_QUIET = Quiet(
    {
        "swarm_version": "which SwarmUI it was",
        "images": "how many were made, each of a seed of its own",
        "aspectratio": "width and height say it",
        "sui_models": "the hashes of models that are named",
        "sui_extra_data": "when it was made, and how long it took",
    },
    {"automaticvae": (True,)},
)
# Of a file that names neither: what it takes for Stable Diffusion.
_OWN = {"sampler": "euler", "scheduler": "normal"}
_LORAS = ("loras", "loraweights", "loratencweights")


def read(words: Words) -> ParsedParameters | None:
    if not isinstance(words.get("sui_image_params"), dict):
        return None
    around = {name: value for name, value in words.items() if name != "sui_image_params"}
    rest = beside(_OWN | words["sui_image_params"], around)
    prompt, negative = taken_text(rest, "prompt"), taken_text(rest, "negativeprompt")
    return translated(rest, _NAMES, prompt, negative, quiet=_QUIET, loras=_taken_loras(rest))


def _taken_loras(rest: dict[str, Any]) -> list[LoRA]:
    """Names in one list, and amounts in others: of the UNet, and perhaps of the text encoders. All of them, or none."""
    lists = {name: _list(rest.get(name)) for name in _LORAS}
    names, weights, texts = lists.values()
    weights = weights or ["1"] * len(names)
    entries = [lora(*entry) for entry in zip(names, weights, texts or weights, strict=False)]
    found = [entry for entry in entries if entry is not None]
    odd = [name for name in _LORAS if rest.get(name) not in (None, "", []) and not lists[name]]
    if odd or not len(found) == len(names) == len(weights) or (texts and len(texts) != len(names)):
        return []
    for name in _LORAS:
        rest.pop(name, None)
    return found


def _list(value: Any) -> list[Any]:
    """A list; older versions wrote its entries between commas. Empty for what is none."""
    return value if isinstance(value, list) else value.split(",") if isinstance(value, str) and value else []
