"""The text that AUTOMATIC1111 writes into its pictures, and that most tools read: a prompt, and a line of numbers."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..diffusion.aliases import A1111_SAMPLERS, A1111_SPACINGS, sampler_name, spacing_name
from ..diffusion.samplers import sampler_named
from ..models.editing import edited
from ..pipeline.planner import SAMPLER_OPTIONS
from ..settings import Settings
from .recipe import Recipe

# Our names in their words; what is not here is written as it is called here.
SAMPLERS = {ours: label for label, ours in A1111_SAMPLERS.items()}
SPACINGS = {ours: label for label, ours in A1111_SPACINGS.items()}

_SOURCES = {"torch": "CPU", "nvidia": "NV"}

# Bounded, so that no text can keep them busy: a name has at most 60 letters, a value in quotes 4,000.
_PAIR = re.compile(r'\s{0,9}(\w[\w \-/]{1,60}):\s{0,9}("(?:\\.|[^\\"]){0,4000}"|[^,]*)(?:,|$)')
_MOST = 200_000  # letters of a line of numbers
# What other tools' prompts may hold besides words.
_WEIGHTS = r"\([^()]{1,200}:\s*[\d.]+\s*\)"
_FILES = r"<(?:lora|hypernet|lyco):[^>]{1,200}>"
_EDITING = r"\[[^\[\]]{0,200}:[^\[\]:]{0,200}:\s*[\d.]+\s*\]"
# Of these, what is read as words all the same, by the syntax that a prompt is read in.
_LITERAL = {
    "plain": re.compile(rf"{_WEIGHTS}|{_EDITING}|{_FILES}|\bBREAK\b"),
    "a1111": re.compile(r"<hypernet:[^>]{1,200}>"),
    "comfyui": re.compile(_FILES),
}
_GIVEN_UP = re.compile(rf"{_EDITING}|\[[^\[\]:]{{0,200}}:\s*[\d.]+\s*\]|\[[^\[\]|]{{0,200}}\|[^\[\]]{{0,200}}\]")
_NEGATIVE = re.compile(rf"{_FILES}|\bAND\b")  # in AUTOMATIC1111's negative prompts


def literal(prompt: str, syntax: str, negative: bool = False) -> list[str]:
    """What means something in other tools' prompts, and is taken literally where a prompt is read in this syntax."""
    pattern = _NEGATIVE if negative and syntax == "a1111" else _LITERAL[syntax]
    found = [match.group() for match in pattern.finditer(prompt)]
    if syntax == "a1111" and edited(prompt, 2) == [(2, prompt)]:
        found += [match.group() for match in _GIVEN_UP.finditer(prompt)]
    return list(dict.fromkeys(found))


def parameters(recipe: Recipe) -> str:
    """A recipe in that form."""
    s = recipe.settings
    sampler = SAMPLERS.get(s.sampler, s.sampler)
    levels = SPACINGS.get(s.spacing, s.spacing) if s.sigmas is None else "by hand"
    pairs: dict[str, object] = {
        "Steps": s.steps,
        "Sampler": sampler,
        "Schedule type": levels,
        "CFG scale": f"{s.cfg:g}",
        "Seed": s.seed,
        "Size": f"{s.width}x{s.height}",
        "Model hash": (recipe.model.hash or "")[:10],
        "Model": recipe.model.name,
    }
    if s.strength is not None:
        pairs["Denoising strength"] = f"{s.strength:g}"
    if s.clip_skip:
        pairs["Clip skip"] = s.clip_skip + 1
    if s.eta is not None:
        pairs["Eta"] = f"{s.eta:g}"
    if s.noise_source in _SOURCES:
        pairs["RNG"] = _SOURCES[s.noise_source]
    if s.step_seed_delta:
        pairs["ENSD"] = s.step_seed_delta
    if s.variation_seed is not None:
        pairs["Variation seed"] = s.variation_seed
        pairs["Variation seed strength"] = f"{s.variation_strength:g}"
    if s.merge_tokens:
        pairs["Token merging ratio"] = f"{s.merge_tokens:g}"
    if s.start_scale == "unit":
        pairs["SGM noise multiplier"] = True
    if s.perturb:
        pairs["Perturbations"] = ", ".join(f"{seed}:{amount:g}" for seed, amount, *_ in s.perturb)
    known = {Path(path).stem: known or "" for path, _, _, known in recipe.model.loras} | dict(recipe.model.tagged)
    if known:
        pairs["Lora hashes"] = ", ".join(f"{name}: {hash_[:12]}" for name, hash_ in known.items())
    if recipe.model.vae:
        pairs["VAE"] = Path(recipe.model.vae).name
    pairs["Version"] = recipe.made_by
    negative = [f"Negative prompt: {s.negative_prompt}"] if s.negative_prompt else []
    return "\n".join([s.prompt, *negative, ", ".join(f"{k}: {_quoted(str(v))}" for k, v in pairs.items())])


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False) if re.search(r'[,:\n"]', value) else value


@dataclass(frozen=True)
class ParsedParameters:
    """What another tool's text says, as far as its words are known here."""

    settings: dict[str, Any]  # of Settings
    model: str | None = None
    not_understood: list[str] = field(default_factory=list)


_RANDOM = {"cpu": "torch", "nv": "nvidia", "gpu": "nvidia", "cuda": "nvidia"}  # whose random numbers
_READERS: dict[str, Callable[[str], dict[str, Any]]] = {
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
    "Token merging ratio": lambda v: {"merge_tokens": min(float(v), 0.75)},  # theirs ends there too
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
_MEANINGLESS = {"Version", "Model hash", "User"}  # say nothing about the picture, or nothing of use here


def read_parameters(text: str) -> ParsedParameters:
    """The settings in such a text; what no run here could take over is named in not_understood."""
    text = text.encode("utf-8", "replace").decode()  # halves of characters are none
    lines = text.strip().split("\n")
    at = next((i for i in reversed(range(len(lines))) if _is_numbers(lines[i])), len(lines))
    pairs: dict[str, str] = {}
    for line in lines[at:]:  # some tools write more of them, about templates and the like
        pairs |= _pairs(line)
    start = at
    while start > 0 and at < len(lines) and lines[start - 1].startswith("Version: "):  # SD.Next's of 2023
        start -= 1
        pairs |= _pairs(lines[start])
    words = "\n".join(lines[:start])
    prompt, negative = [*re.split(r"^Negative prompt:", words, maxsplit=1, flags=re.MULTILINE), ""][:2]
    if at < len(lines) and " | " in lines[at]:
        prompt = prompt.removeprefix("prompt:")
    return read_pairs(prompt.strip(), negative.strip(), pairs)


def _is_numbers(line: str) -> bool:
    """Is it the line of numbers, and no prompt?"""
    names = _pairs(line).keys()
    return len(names) >= 3 and len(names & (_READERS.keys() | _MEANINGLESS | {"Model"})) >= 2


def _pairs(line: str) -> dict[str, str]:
    """Names and values between commas, or, as SD.Next had it for a while, between bars."""
    if len(line) > _MOST:
        return {}
    if " | " in line and '"' not in line:
        parts = (part.partition(":") for part in line.split(" | "))
        return {name.strip(): value.strip() for name, colon, value in parts if colon}
    return dict(_PAIR.findall(line))


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
        elif name in _READERS:
            try:
                found = _READERS[name](value)
                Settings(**settings | found)
                settings |= found
            except (ValueError, TypeError, KeyError):
                strange.append(_shown(name, value))
        elif name not in _MEANINGLESS:
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
