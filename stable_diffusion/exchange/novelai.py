"""NovelAI's JSON: `Comment`."""

from typing import Any

from .objects import Quiet, Words, taken_text, translated
from .vocabulary import ParsedParameters

_NAMES = {
    "seed": "Seed", "steps": "Steps", "scale": "CFG scale", "sampler": "Sampler", "noise_schedule": "Schedule type",
    "strength": "Denoising strength", "cfg_rescale": "CFG rescale",
}  # fmt: skip
_QUIET = Quiet(
    {
        "request_type": "txt2img or img2img: its strength says so",
        "signed_hash": "a signature, that it is NovelAI's",
        "n_samples": "how many were made, each of a seed of its own",
        "version": "of the form of this text",
        "ucPreset": "its words stand in the negative prompt",
        "qualityToggle": "its words stand in the prompt",
        "add_original_image": "of a picture that was repainted: whether the rest of it was put back",
    },
    {
        "sm": (False,), "sm_dyn": (False,), "dynamic_thresholding": (False,), "legacy": (False,),
        "legacy_v3_extend": (False,), "uncond_scale": (1,), "controlnet_strength": (1,), "uncond_per_vibe": (True,),
        "wonky_vibe_correlation": (True,), "deliberate_euler_ancestral_bug": (False,), "prefer_brownian": (True,),
        "cfg_sched_eligibility": ("enable_for_post_summer_samplers",), "hide_debug_overlay": (False, True),
    },
)  # fmt: skip
_LAID_OUT = {"use_coords", "use_order", "legacy_uc"}  # where characters stand, which says nothing where there are none


def read(words: Words) -> ParsedParameters | None:
    if "uc" not in words or "scale" not in words or "c" in words:
        return None
    rest = dict(words)
    prompt, negative = taken_text(rest, "prompt"), taken_text(rest, "uc")
    for name, told in (("v4_prompt", prompt), ("v4_negative_prompt", negative)):
        if _says_no_more(rest.get(name), told):
            del rest[name]
    return translated(rest, _NAMES, prompt, negative, quiet=_QUIET)


def _says_no_more(caption: Any, told: str) -> bool:
    """Is it the prompt once more, without characters of their own captions?"""
    if not isinstance(caption, dict) or not isinstance(inside := caption.get("caption"), dict):
        return False
    alone = {name: value for name, value in inside.items() if (name, value) != ("char_captions", [])}
    return alone == {"base_caption": told} and not caption.keys() - _LAID_OUT - {"caption"}
