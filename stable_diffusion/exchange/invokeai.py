"""InvokeAI's JSON, `invokeai_metadata`, and what came before it: `sd-metadata`, and the command line in `Dream`."""

import re
from dataclasses import replace
from typing import Any

from .objects import FILED, Quiet, Words, beside, open_model, taken_loras, taken_text, translated
from .vocabulary import LoRA, ParsedParameters, lora

_NAMES = {
    "seed": "Seed", "steps": "Steps", "cfg_scale": "CFG scale", "scheduler": "Sampler", "sampler": "Sampler",
    "model": "Model", "strength": "Denoising strength", "cfg_rescale_multiplier": "CFG rescale", "rand_device": "RNG",
    "clip_skip": "Clip skip", "model_weights": "Model",
}  # fmt: skip
_QUIET = Quiet(
    {
        "app_version": "which InvokeAI it was",
        "app_id": "which InvokeAI it was",
        "generation_mode": "txt2img or img2img: its strength says so",
        "type": "txt2img or img2img: its strength says so",
        "model_hash": "the model is named, and a name is all that --model takes",
        "model_key": "the model is named, and a name is all that --model takes",
    },
    {"seamless_x": (False,), "seamless_y": (False,), "seamless": (False,), "hires_fix": (False,),
     "hrf_enabled": (False,), "threshold": (0,), "perlin": (0,), "height_map": (False,)},
)  # fmt: skip
_DREAM = {"s": "steps", "S": "seed", "W": "width", "H": "height", "C": "cfg_scale", "A": "sampler", "f": "strength"}
_FLAG = re.compile(r"""\s{0,9}--?([\w-]{1,40})(?:[= ]([^\s"'-][^\s]{0,200}|-\d[\d.]{0,20}))?""")


def read(words: Words) -> ParsedParameters | None:
    if isinstance(words.get("image"), dict):
        return _before_version_3(words)
    if "positive_prompt" not in words:
        return None
    rest = dict(words)
    prompt, negative = taken_text(rest, "positive_prompt"), taken_text(rest, "negative_prompt")
    for side, told in (("positive", prompt), ("negative", negative)):
        if rest.get(f"{side}_style_prompt") == told:  # XL's second encoder was told no other words
            del rest[f"{side}_style_prompt"]
    for name in ("model", "vae"):
        open_model(rest, name)
    loras = taken_loras(rest, "loras", _lora)
    return _translated(rest, prompt, negative, loras)


def _before_version_3(words: Words) -> ParsedParameters:
    inside = dict(words["image"])
    prompt, told = taken_text(inside, "prompt"), inside.get("prompt")
    alone = told[0] if isinstance(told, list) and len(told) == 1 else None
    if isinstance(alone, dict) and isinstance(alone.get("prompt"), str):
        prompt, weight = alone["prompt"], {k: v for k, v in alone.items() if k != "prompt" and (k, v) != ("weight", 1)}
        inside["prompt"] = weight or None
    around = {name: value for name, value in words.items() if (name, value) != ("model", "stable diffusion")}
    return _translated(beside(inside, {k: v for k, v in around.items() if k != "image"}), prompt, "")


def _translated(rest: dict[str, Any], prompt: str, negative: str, loras: list[LoRA] | None = None) -> ParsedParameters:
    skipped = rest.get("clip_skip")
    if isinstance(skipped, int) and not isinstance(skipped, bool):  # it counts layers that are left out
        rest["clip_skip"] = skipped + 1
    found = translated(rest, _NAMES, prompt, negative, quiet=_QUIET, loras=loras or ())
    rules = {"clip_skip": "clip_skip_invoke"}
    return replace(found, by_model=tuple(rules.get(rule, rule) for rule in found.by_model))


def _lora(entry: Any) -> LoRA | None:
    """{"model": {"name": ...}, "weight": 0.75}; before version 4 {"lora": {"model_name": ...}, "weight": 0.75}."""
    if not isinstance(entry, dict) or len(entry) != 2 or "weight" not in entry:
        return None
    model = entry.get("model", entry.get("lora"))
    if not isinstance(model, dict) or model.keys() - FILED - {"name", "model_name"}:
        return None
    return lora(model.get("name", model.get("model_name")), entry["weight"])


def read_dream(text: str) -> ParsedParameters | None:
    """The command line of 2022: "a house" -s 50 -S 123 -W 512 -H 512 -C 7.5 -A k_lms."""
    if not (quoted := re.match(r'\s{0,9}"((?:[^"\\]|\\.)*)"', text)):
        return None
    rest: dict[str, Any] = {}
    at, strange = quoted.end(), []
    while at < len(text):
        if not (flag := _FLAG.match(text, at)):
            strange.append(text[at:].strip())
            break
        name = _DREAM.get(flag[1], flag[1])
        value: Any = flag[2] or True
        if name in ("width", "height", "seed") and isinstance(value, str) and value.isdecimal() and len(value) < 30:
            value = int(value)
        rest.setdefault(name, value)
        at = flag.end()
    found = translated(rest, _NAMES, quoted[1], "", quiet=_QUIET)
    found.not_understood.extend(filter(None, strange))
    return found if "seed" in found.settings else None
