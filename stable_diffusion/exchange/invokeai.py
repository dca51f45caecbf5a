"""InvokeAI's JSON: `invokeai_metadata`, and `sd-metadata` before version 3."""

from .objects import Words, text_of, translated
from .vocabulary import ParsedParameters

_NAMES = {
    "seed": "Seed", "steps": "Steps", "cfg_scale": "CFG scale", "scheduler": "Sampler", "sampler": "Sampler",
    "model": "Model", "strength": "Denoising strength", "cfg_rescale_multiplier": "CFG rescale", "rand_device": "RNG",
}  # fmt: skip


def read(words: Words) -> ParsedParameters | None:
    if isinstance(words.get("image"), dict):  # before version 3
        inside = words["image"]
        prompt = inside.get("prompt")
        if isinstance(prompt, list) and prompt and isinstance(prompt[0], dict):
            prompt = prompt[0].get("prompt")
        return translated(inside, _NAMES, prompt if isinstance(prompt, str) else "", "")
    if "positive_prompt" not in words:
        return None
    model = words.get("model")
    name = text_of(model, "name", "model_name") if isinstance(model, dict) else model
    rest = {k: v for k, v in words.items() if k not in ("positive_prompt", "app_version", "generation_mode")}
    return translated(
        {**rest, "model": name}, _NAMES, text_of(words, "positive_prompt"), text_of(words, "negative_prompt")
    )
