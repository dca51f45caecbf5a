"""AUTOMATIC1111's words, which most tools write or can be translated into, as settings."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..diffusion.aliases import sampler_name, spacing_name
from ..diffusion.samplers import SAMPLER_OPTIONS, sampler_named
from ..settings import Settings

LoRA = tuple[str, float, float]  # a name, how much in the UNet and in the text encoders


@dataclass(frozen=True)
class ParsedParameters:
    """What another tool's text says, as far as its words are known here."""

    settings: dict[str, Any]  # of Settings
    model: str | None = None
    not_understood: list[str] = field(default_factory=list)
    loras: tuple[LoRA, ...] = ()
    by_model: tuple[str, ...] = ()  # settings that mean another thing with each family: see jobs.translation


def _count(text: str) -> int:
    """A whole number from 0. Raises ValueError for any other."""
    if (value := int(text)) < 0:
        raise ValueError(f"{value} is below 0")
    return value


_RANDOM = {"cpu": "torch", "nv": "nvidia", "gpu": "nvidia", "cuda": "nvidia"}  # whose random numbers
READERS: dict[str, Callable[[str], dict[str, Any]]] = {
    "Steps": lambda v: {"steps": int(v)},
    # The spacing that a sampler's name may bring comes with it.
    "Sampler": lambda v: {"sampler": sampler_named(sampler_name(v)[0]) and v},
    "Schedule type": lambda v: {} if v == "Automatic" else {"spacing": spacing_name(v)},
    "CFG scale": lambda v: {"cfg": float(v)},
    "CFG rescale": lambda v: {"cfg_rescale": float(v)},
    "Seed": lambda v: {"seed": int(v)},
    "Size": lambda v: dict(zip(("width", "height"), map(int, v.lower().split("x")), strict=True)),
    "Denoising strength": lambda v: {"strength": float(v)},
    "Clip skip": lambda v: {"clip_skip": max(0, _count(v) - 1)},
    "Eta": lambda v: {"eta": float(v)},
    "Sigma churn": lambda v: {"s_churn": float(v)},
    "Sigma tmin": lambda v: {"s_tmin": float(v)},
    "Sigma tmax": lambda v: {"s_tmax": float(v)},
    "Sigma noise": lambda v: {"s_noise": float(v)},
    "RNG": lambda v: {"noise_source": _RANDOM[v.lower()]},
    "ENSD": lambda v: {"step_seed_delta": int(v)},
    "Token merging ratio": lambda v: {0.0: {}}[float(v)],  # nothing is merged here
    "SGM noise multiplier": lambda v: {"start_scale": {"true": "unit", "false": "sigma"}[v.lower()]},
}
# The spacing that "Automatic" stands for: the sampler's own, since version 1.9.
_AUTOMATIC = {
    "dpm2": "karras:discard=1",
    "dpm2_a": "karras:discard=1",
    "dpmpp_2m": "karras",
    "dpmpp_2m_sde": "exponential",
    "dpmpp_2m_sde_heun": "exponential",
    "dpmpp_2s_a": "karras",
    "dpmpp_3m_sde": "exponential:discard=1",
    "dpmpp_sde": "karras",
    "restart": "karras",
}
# Names that change nothing in the picture, and why.
MEANINGLESS = {
    "Version": "which program wrote the text: see exchange.dialects",
    "Model hash": "the model is named, and a name is all that --model takes",
    "User": "who made it",
}
_VARIATION = ("Variation seed", "Variation seed strength")


def read_pairs(
    prompt: str,
    negative: str,
    pairs: Mapping[str, str],
    strange: Sequence[str] = (),
    loras: Sequence[LoRA] = (),
) -> ParsedParameters:
    """The settings of a prompt, and of names and values that have already been found.

    strange: what else the file says and nobody understood; named after what is not understood here.
    """
    settings: dict[str, Any] = {"prompt": prompt, "negative_prompt": negative}
    named: list[str] = []
    model, variation = None, {}
    for name, value in pairs.items():
        if value.startswith('"'):
            try:
                value = str(json.loads(value))
            except ValueError:
                named.append(shown(name, value))
                continue
        value = value.strip()
        if name == "Model":
            model = value
        elif name in _VARIATION:
            variation[name] = value
        elif name in READERS:
            try:
                found = READERS[name](value)
                Settings(**settings | found)
                settings |= found
            except (ValueError, TypeError, KeyError):
                named.append(shown(name, value))
        elif name not in MEANINGLESS:
            named.append(shown(name, value))
    taken = sampler_named(sampler_name(settings["sampler"])[0]).takes if "sampler" in settings else SAMPLER_OPTIONS
    for name in [name for name in SAMPLER_OPTIONS if name in settings and name not in taken]:
        named.append(f"{name}: {settings.pop(name):g} (its sampler has none)")
    if pairs.get("Schedule type") == "Automatic" and "sampler" in settings:
        settings["spacing"] = _AUTOMATIC.get(sampler_name(settings["sampler"])[0], "uniform")
    if variation:
        try:
            seed, strength = int(variation["Variation seed"]), float(variation["Variation seed strength"])
            found = {"variation_seed": seed, "variation_strength": strength}
            Settings(**settings | found)
            settings |= found
        except (KeyError, ValueError):
            named += [shown(name, value) for name, value in variation.items()]
    return ParsedParameters(settings, model, [*named, *strange], tuple(loras), _by_model(settings))


def _by_model(settings: dict[str, Any]) -> tuple[str, ...]:
    """The rules for settings that mean another thing with each family of models."""
    spacing = settings.get("spacing") or sampler_name(settings.get("sampler", "euler"))[1]
    if spacing == "align_your_steps":
        settings["spacing"] = spacing
    aligned = ("align_your_steps",) if spacing == "align_your_steps" else ()
    return (("clip_skip",) if settings.get("clip_skip") else ()) + aligned


def lora(name: object, unet: object, text: object = None) -> LoRA | None:
    """A LoRA that a file names, with one amount or two; None where that is no name, or no amount."""
    try:
        amounts = [float(str(amount)) for amount in (unet, unet if text is None else text)]
    except ValueError:
        return None
    if not isinstance(name, str) or not name.strip() or not all(map(math.isfinite, amounts)):
        return None
    return name.strip(), amounts[0], amounts[1]


def shown(name: str, value: str) -> str:
    """A name and a value that are not understood, at most a line long."""
    return f"{name[:80]}: {value if len(value) <= 300 else value[:297] + '...'}"
