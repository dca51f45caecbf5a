"""Whose text is it? Many tools write AUTOMATIC1111's form, and mean other things by it."""

import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .infotext import Infotext, split
from .vocabulary import LoRA, ParsedParameters, lora, read_pairs

Pairs = dict[str, str]


def _none(pairs: Pairs) -> list[LoRA]:
    return []


@dataclass(frozen=True)
class Dialect:
    """A tool's words, where they are not AUTOMATIC1111's."""

    tool: str  # whose, as in exchange.likeness
    names: Mapping[str, str] = field(default_factory=dict)  # theirs, and AUTOMATIC1111's
    meaningless: Mapping[str, str] = field(default_factory=dict)  # names that change nothing, and why
    loras: Callable[[Pairs], list[LoRA]] = _none  # takes them out of the pairs


def read_infotext(text: str, keywords: Collection[str] = ()) -> tuple[str, ParsedParameters]:
    """Whose text in AUTOMATIC1111's form it is, and what it says.

    keywords: of the texts in its file.
    """
    said = split(text)
    dialect = _dialect(said, keywords)
    if dialect is _DRAW_THINGS:
        said = _minus(said)
    pairs = {name: value for name, value in said.pairs.items() if name not in dialect.meaningless}
    loras = dialect.loras(pairs)
    strange = list(said.strange)
    known: Pairs = {}
    for name, value in pairs.items():
        if known.setdefault(dialect.names.get(name, name), value) != value:
            strange.append(f"{name}: {value[:300]}")
    return dialect.tool, read_pairs(said.prompt, said.negative, known, strange, loras)


def _dialect(said: Infotext, keywords: Collection[str]) -> Dialect:
    """Whose text it is: what it says of itself, and else what no other tool would say."""
    pairs = said.pairs
    if not pairs:
        return _COMFYUI if "prompt" in keywords else _A1111
    for name in ("App", "Version"):
        if (value := pairs.get(name)) is not None:
            found = next((dialect for pattern, dialect in _VERSIONS if re.search(pattern, value.strip('"'))), None)
            if found is None and re.fullmatch(r"[0-9a-f]{7,40}", value) and pairs.keys() & _SDNEXTS_OWN:
                found = _SDNEXT
            return found or Dialect(f"another tool's ({name}: {value[:60]})")
    if pairs.keys() & {"Civitai resources", "Civitai metadata", "Created Date"}:
        return _CIVITAI
    if {"Guidance Scale", "Seed Mode"} <= pairs.keys():
        return _DRAW_THINGS
    if pairs.keys() & _SDNEXTS_OWN:
        return _SDNEXT
    return next((dialect for keyword, dialect in _KEYWORDS.items() if keyword in keywords), _A1111)


def _minus(said: Infotext) -> Infotext:
    """Draw Things writes a minus before its negative prompt."""
    prompt, line, negative = f"\n{said.prompt}".partition("\n-")
    return said if said.negative or not line else replace(said, prompt=prompt.strip(), negative=negative.strip())


def _savers_loras(pairs: Pairs) -> list[LoRA]:
    """Lora_0 Model name: ink.safetensors, Lora_0 Strength model: 0.8, Lora_0 Strength clip: 0.8"""
    found = []
    for name in [name for name in pairs if re.fullmatch(r"Lora_\d{1,3} Model name", name)]:
        start = name.partition(" ")[0]
        one = lora(pairs[name], pairs.get(f"{start} Strength model", "1"), pairs.get(f"{start} Strength clip"))
        if one is not None:
            found.append(one)
            for rest in ("Model name", "Model hash", "Strength model", "Strength clip"):
                pairs.pop(f"{start} {rest}", None)
    return found


def _weights(pairs: Pairs) -> list[LoRA]:
    """Lora weights: "ink: 0.8, old: 0.5", and hashes likewise"""
    entries = [entry.rpartition(": ") for entry in pairs.get("Lora weights", "").strip('"').split(", ")]
    found = [one for name, _, weight in entries if (one := lora(name, weight)) is not None]
    if len(found) != len(entries):
        return []
    del pairs["Lora weights"]
    pairs.pop("Lora hashes", None)
    return found


_FILED = {"type", "weight", "modelId", "modelVersionId", "modelName", "modelVersionName", "air"}


def _resources(pairs: Pairs) -> list[LoRA]:
    """Civitai resources: [{"type": "lora", "weight": 0.8, "modelName": "Ink"}, ...]; its checkpoint is the model."""
    try:
        entries = json.loads(pairs.get("Civitai resources", ""))
    except (ValueError, RecursionError):
        return []
    found, left = list[LoRA](), list[Any]()
    for entry in entries if isinstance(entries, list) else [entries]:
        fine = isinstance(entry, dict) and not entry.keys() - _FILED and isinstance(entry.get("modelName"), str)
        kind = entry.get("type") if fine else None
        one = lora(entry["modelName"], entry.get("weight", 1)) if kind in ("lora", "locon", "lycoris", "dora") else None
        if one is not None:
            found.append(one)
        elif kind == "checkpoint" and "Model" not in pairs:
            pairs["Model"] = json.dumps(entry["modelName"])
        else:
            left.append(entry)
    pairs["Civitai resources"] = json.dumps(left, ensure_ascii=False)
    if not left:
        del pairs["Civitai resources"]
    return found


def _cpps(pairs: Pairs) -> list[LoRA]:
    """stable-diffusion.cpp's sampler stands with its levels: euler_a discrete."""
    if "Sampler" in pairs:
        pairs["Sampler"] = re.sub(" discrete$", " uniform", pairs["Sampler"])
    return []


_DAYS = {"Created Date": "when it was made"}
_A1111 = Dialect("AUTOMATIC1111's")
_FORGE = Dialect("Forge's")
_COMFYUI = Dialect(
    "ComfyUI's", {"Scheduler": "Schedule type", "Denoise": "Denoising strength"}, loras=_savers_loras
)  # as its savers write it
_STABILITY_MATRIX = replace(_COMFYUI, tool="Stability Matrix's")
_SDNEXT = Dialect(
    "SD.Next's",
    {"CFG rescale": "CFG rescale", "Sigma": "Schedule type"},
    {
        "App": "which program wrote the text",
        "Operations": "txt2img or img2img: its strength says so",
        "Pipeline": "the class of the model, which knows itself what it is",
        "Backend": "the library that ran it: diffusers since 2024",
    },
)
_SDNEXTS_OWN = {"Pipeline", "Backend", "Parser", "Operations", "CFG true"}
_FOOOCUS = Dialect(
    "Fooocus's",
    {"Base Model": "Model", "Scheduler": "Schedule type"},
    {"Base Model hash": "the model is named, and a name is all that --model takes"},
    _weights,
)
_CIVITAI = Dialect("Civitai's", {}, _DAYS, _resources)
_DRAW_THINGS = Dialect("Draw Things'", {"Guidance Scale": "CFG scale", "Strength": "Denoising strength"})
_CPP = Dialect(
    "stable-diffusion.cpp's",
    {"Eta": "Eta of other samplers"},  # which its ancestral ones do not heed
    {"Guidance": "of distilled nets of another family"},
    _cpps,
)
_EASY = Dialect("Easy Diffusion's")
_OWN = Dialect("this package's")  # in a file that some other program has written again, without the recipe
# What a text says that it was written by, the first that is found; the last is AUTOMATIC1111's own way to count.
_VERSIONS = (
    (r"^stable-diffusion-mlx", _OWN),
    (r"(?i)stability\W?matrix", _STABILITY_MATRIX),
    (r"(?i)swarm", Dialect("SwarmUI's", _COMFYUI.names)),
    (r"(?i)comfy", _COMFYUI),
    (r"(?i)sd\.?next|vlad", _SDNEXT),
    (r"(?i)fooocus", _FOOOCUS),
    (r"(?i)stable-diffusion\.cpp|sd\.cpp", _CPP),
    (r"(?i)invoke", Dialect("InvokeAI's")),
    (r"(?i)easy\W?diffusion", _EASY),
    (r"(?i)draw\W?things", _DRAW_THINGS),
    (r"(?i)novelai", Dialect("NovelAI's")),
    (r"(?i)civitai", _CIVITAI),
    (r"(?i)forge|^f\d|^(neo|classic)\b", _FORGE),
    (r"^v?\d+(\.|$)", _A1111),
)
# Texts beside this one that tell whose it is.
_KEYWORDS = {
    "parameters-json": _STABILITY_MATRIX,
    "smproj": _STABILITY_MATRIX,
    "fooocus_scheme": _FOOOCUS,
    "prompt": _COMFYUI,
    "workflow": _COMFYUI,
}
