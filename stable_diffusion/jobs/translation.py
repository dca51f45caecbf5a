"""Settings of another tool whose meaning hangs on the model, in the one place where both are known."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ..diffusion.aliases import sampler_name
from ..settings import Settings
from ..weights.nets import Description

Translate = Callable[[Settings, Description], dict[str, Any]]
_OF_THEIR_OWN = {"ddim", "ddpm", "lcm", "tcd"}  # samplers whose classes in diffusers have spacings of their own


@dataclass(frozen=True)
class Rule:
    """How one setting of another tool is meant with each family of models."""

    setting: str
    translate: Translate


def for_model(settings: Settings, told: Settings, rules: tuple[str, ...], description: Description) -> Settings:
    """Translate another tool's settings to this model's, by the rules that its file calls for.

    told: the settings as they were read; what has been changed since means what it says.
    """
    for rule in rules:
        setting, translate = RULES[rule].setting, RULES[rule].translate
        if getattr(settings, setting) == getattr(told, setting):
            settings = replace(settings, **translate(settings, description))
    return settings


def _clip_skip(settings: Settings, description: Description) -> dict[str, Any]:
    """Translate AUTOMATIC1111's clip skip. (SD 2.x and XL already skip one layer: 1 and 2 are both their own.)"""
    skips = any(text.hidden_act == "gelu" for text in description.texts)  # as only OpenCLIP's have it
    return {"clip_skip": max(0, settings.clip_skip - skips)}


def _clip_skip_invoke(settings: Settings, description: Description) -> dict[str, Any]:
    """Translate InvokeAI's clip skip, which counts from each model's own layer, and does nothing with XL."""
    return {"clip_skip": 0 if description.xl else settings.clip_skip}


def _align_your_steps(settings: Settings, description: Description) -> dict[str, Any]:
    """Choose the table of "Align Your Steps", which has one for XL and one for all others."""
    name, colon, options = (settings.spacing or "").partition(":")
    xl = description.xl and name == "align_your_steps"
    return {"spacing": f"align_your_steps_xl{colon}{options}"} if xl else {}


def _own_spacing(settings: Settings, description: Description) -> dict[str, Any]:
    """Lay the levels that diffusers lays for this model: by its scheduler's config, or else leading for XL."""
    if sampler_name(settings.sampler or "euler")[0].partition(":")[0] in _OF_THEIR_OWN:
        return {}
    of_file = description.checkpoint.place.is_file()  # which brings no such config
    said = None if of_file else description.scheduler_config.get("timestep_spacing")
    spacing = said if said in ("leading", "linspace", "trailing") else "leading" if description.xl else None
    unit = {"start_scale": "unit"} if spacing == "leading" else {}
    return unit if spacing is None else {"spacing": spacing, **unit}


RULES: dict[str, Rule] = {
    "clip_skip": Rule("clip_skip", _clip_skip),
    "clip_skip_invoke": Rule("clip_skip", _clip_skip_invoke),
    "align_your_steps": Rule("spacing", _align_your_steps),
    "own_spacing": Rule("spacing", _own_spacing),
}
