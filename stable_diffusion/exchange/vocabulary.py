"""AUTOMATIC1111's words, which most tools write or can be translated into, as settings."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..diffusion.aliases import sampler_name, spacing_name
from ..diffusion.samplers import SAMPLER_OPTIONS, sampler_named
from ..settings import Settings


@dataclass(frozen=True)
class ParsedParameters:
    """What another tool's text says, as far as its words are known here."""

    settings: dict[str, Any]  # of Settings
    model: str | None = None
    not_understood: list[str] = field(default_factory=list)


_RANDOM = {"cpu": "torch", "nv": "nvidia", "gpu": "nvidia", "cuda": "nvidia"}  # whose random numbers
READERS: dict[str, Callable[[str], dict[str, Any]]] = {
    "Steps": lambda v: {"steps": int(v)},
    # The spacing that a sampler's name may bring comes with it.
    "Sampler": lambda v: {"sampler": sampler_named(sampler_name(v)[0]) and v},
    "Schedule type": lambda v: {} if v == "Automatic" else {"spacing": spacing_name(v)},
    "CFG scale": lambda v: {"cfg": float(v)},
    "Seed": lambda v: {"seed": int(v)},
    "Size": lambda v: dict(zip(("width", "height"), map(int, v.lower().split("x")), strict=True)),
    "Denoising strength": lambda v: {"strength": float(v)},
    "Clip skip": lambda v: {"clip_skip": max(0, int(v) - 1)},
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
MEANINGLESS = {"Version", "Model hash", "User"}  # say nothing about the picture, or nothing of use here


def read_pairs(prompt: str, negative: str, pairs: Mapping[str, str]) -> ParsedParameters:
    """The same from a prompt and from names and values that have already been found."""
    settings: dict[str, Any] = {"prompt": prompt, "negative_prompt": negative}
    strange: list[str] = []
    model, variation = None, {}
    for name, value in pairs.items():
        if value.startswith('"'):
            try:
                value = str(json.loads(value))
            except ValueError:
                strange.append(_shown(name, value))
                continue
        value = value.strip()
        if name == "Model":
            model = value
        elif name in ("Variation seed", "Variation seed strength"):
            variation[name] = value
        elif name in READERS:
            try:
                found = READERS[name](value)
                Settings(**settings | found)
                settings |= found
            except (ValueError, TypeError, KeyError):
                strange.append(_shown(name, value))
        elif name not in MEANINGLESS:
            strange.append(_shown(name, value))
    taken = sampler_named(sampler_name(settings["sampler"])[0]).takes if "sampler" in settings else SAMPLER_OPTIONS
    for name in [name for name in SAMPLER_OPTIONS if name in settings and name not in taken]:
        strange.append(f"{name}: {settings.pop(name):g} (its sampler has none)")
    if pairs.get("Schedule type") == "Automatic" and "sampler" in settings:
        settings["spacing"] = _AUTOMATIC.get(sampler_name(settings["sampler"])[0], "uniform")
    if variation:
        try:
            seed, strength = int(variation["Variation seed"]), float(variation["Variation seed strength"])
            found = {"variation_seed": seed, "variation_strength": strength}
            Settings(**found)
            settings |= found
        except (KeyError, ValueError):
            strange += [_shown(name, value) for name, value in variation.items()]
    return ParsedParameters(settings, model, strange)


def _shown(name: str, value: str) -> str:
    return f"{name}: {value if len(value) <= 100 else value[:97] + '...'}"
