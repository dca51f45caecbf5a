"""The text that AUTOMATIC1111 writes into its pictures, and that most tools read: a prompt, and a line of numbers."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..diffusion.aliases import A1111_SAMPLERS, A1111_SPACINGS
from ..settings import CompleteSettings
from .infotext import split
from .vocabulary import ParsedParameters, read_pairs

KEYWORD = "parameters"  # of this text in a PNG file

# Our names in their words; what is not here is written as it is called here.
SAMPLERS = {ours: label for label, ours in A1111_SAMPLERS.items()}
SPACINGS = {ours: label for label, ours in A1111_SPACINGS.items()}

_SOURCES = {"torch": "CPU", "nvidia": "NV"}


@dataclass(frozen=True)
class Origin:
    """What a picture was made with besides its settings, as this text names it."""

    model: str
    hash: str = ""  # of the model, in hexadecimal
    loras: Mapping[str, str] = field(default_factory=dict)  # names and hashes
    vae: str | None = None  # a path, where it is not the model's own
    version: str = ""  # of the program


def parameters(settings: CompleteSettings, origin: Origin) -> str:
    """The text of a picture in AUTOMATIC1111's form."""
    s = settings
    sampler = SAMPLERS.get(s.sampler, s.sampler)
    levels = SPACINGS.get(s.spacing, s.spacing) if s.sigmas is None else "by hand"
    pairs: dict[str, object] = {
        "Steps": s.steps,
        "Sampler": sampler,
        "Schedule type": levels,
        "CFG scale": f"{s.cfg:g}",
        "Seed": s.seed,
        "Size": f"{s.width}x{s.height}",
        "Model hash": origin.hash[:10],
        "Model": origin.model,
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
    if s.start_scale == "unit":
        pairs["SGM noise multiplier"] = True
    if s.perturb:
        pairs["Perturbations"] = ", ".join(f"{seed}:{amount:g}" for seed, amount, *_ in s.perturb)
    if origin.loras:
        pairs["Lora hashes"] = ", ".join(f"{name}: {hash_[:12]}" for name, hash_ in origin.loras.items())
    if origin.vae:
        pairs["VAE"] = Path(origin.vae).name
    pairs["Version"] = origin.version
    negative = [f"Negative prompt: {s.negative_prompt}"] if s.negative_prompt else []
    return "\n".join([s.prompt, *negative, ", ".join(f"{k}: {_quoted(str(v))}" for k, v in pairs.items())])


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False) if re.search(r'[,:\n"]', value) else value


def read_parameters(text: str) -> ParsedParameters:
    """The settings in such a text, as AUTOMATIC1111 means it: see exchange.dialects for texts of others.

    What no run here could take over is named in not_understood.
    """
    said = split(text)
    return read_pairs(said.prompt, said.negative, said.pairs, said.strange)
