"""Other tools' JSON objects, translated by tables of their names."""

import json
from collections.abc import Mapping
from typing import Any

from .vocabulary import ParsedParameters, read_pairs

Words = Mapping[str, Any]  # what a JSON object holds

_APART = {"width", "height", "prompt", "negative_prompt"}  # read apart


def object_in(text: str) -> Words | None:
    """A text as the JSON object that it is, or None."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        words = json.loads(text, parse_constant=str)  # some tools write NaN
    except (ValueError, RecursionError):
        return {}  # it begins like one
    return words if isinstance(words, dict) else None


def text_of(words: Words, *names: str) -> str:
    """The first of these that is there, and a text."""
    return next((words[name] for name in names if isinstance(words.get(name), str)), "")


def translated(words: Words, names: Mapping[str, str], prompt: str, negative: str) -> ParsedParameters:
    """An object's settings, by a table of its names."""
    pairs: dict[str, str] = {}
    for name, value in words.items():
        if name in _APART or value is None or isinstance(value, dict | list) or value in ("", False):
            continue
        pairs[names.get(name, name)] = str(value).removesuffix(".0") if name == "seed" else str(value)
    if all(isinstance(words.get(side), int) for side in ("width", "height")):
        pairs["Size"] = f"{words['width']}x{words['height']}"
    if "Sampler" in pairs:
        pairs["Sampler"], brought = _sampler(pairs["Sampler"])
        if brought:
            pairs.setdefault("Schedule type", brought)
    return read_pairs(prompt.strip(), negative.strip(), pairs)


def _sampler(name: str) -> tuple[str, str | None]:
    """InvokeAI and others write a spacing behind the name: dpmpp_2m_k."""
    plain = name.removesuffix("_gpu")
    return (plain[:-2], "karras") if plain.endswith("_k") else (plain, None)
