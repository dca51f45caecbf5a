"""Other tools' JSON objects, translated by tables of their names. Whatever is not taken is named."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .vocabulary import LoRA, ParsedParameters, read_pairs, shown

Words = Mapping[str, Any]  # what a JSON object holds


@dataclass(frozen=True)
class Quiet:
    """What may stand in a tool's object, unsaid, without changing the picture."""

    meaningless: Mapping[str, str] = field(default_factory=dict)  # names, and why whatever they hold changes nothing
    unchanged: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)  # names, and the values that do nothing


ANY = Quiet()
# How a tool files a model whose name it gives: nothing here could look it up by these.
FILED = frozenset({"key", "hash", "base", "base_model", "type", "model_type", "submodel_type", "submodel"})


def object_in(text: str) -> Words | None:
    """A text as the JSON object that it is, or None; an empty one for what begins like an object and is none."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        words = json.loads(text, parse_constant=str, object_pairs_hook=_once)  # some tools write NaN
    except (ValueError, RecursionError):
        return {}  # it begins like one
    return words if isinstance(words, dict) else None


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose names are told apart. Raises ValueError for two values of one name: which would be meant?"""
    found = dict(reversed(pairs))
    if any(found[name] != value for name, value in pairs):
        raise ValueError("a name that stands twice")
    return dict(pairs)


def text_of(words: Words, *names: str) -> str:
    """The first of these that is there, and a text."""
    return next((words[name] for name in names if isinstance(words.get(name), str)), "")


def taken_text(rest: dict[str, Any], *names: str) -> str:
    """The first of these that is there, and a text; it is taken out of what is left of an object."""
    name = next((name for name in names if isinstance(rest.get(name), str)), None)
    return "" if name is None else str(rest.pop(name))


def open_model(rest: dict[str, Any], name: str) -> None:
    """Put the name of a model in the place of an object that describes it; what is not only filing stays beside it."""
    if isinstance(model := rest.get(name), dict):
        left = {key: value for key, value in model.items() if key not in FILED}
        rest[name] = taken_text(left, "name", "model_name") or None
        rest |= {f"{name}.{key}": value for key, value in left.items()}


def beside(inside: Words, around: Words) -> dict[str, Any]:
    """An object that lies in another, with what else the other holds."""
    return dict(inside) | {name if name not in inside else f"{name} (outside)": v for name, v in around.items()}


def taken_loras(rest: dict[str, Any], name: str, read: Callable[[Any], LoRA | None]) -> list[LoRA]:
    """The LoRAs of a list, each read by its tool's rule; what this does not understand stays in the list."""
    if not isinstance(entries := rest.get(name), list):
        return []
    found = [(entry, read(entry)) for entry in entries]
    rest[name] = [entry for entry, lora in found if lora is None]
    return [lora for _, lora in found if lora is not None]


def translated(
    words: Words,
    names: Mapping[str, str],
    prompt: str,
    negative: str,
    *,
    quiet: Quiet = ANY,
    loras: Sequence[LoRA] = (),
) -> ParsedParameters:
    """An object's settings, by a table of its names: 0 and False are values; null and what is empty say nothing.

    What the table does not have is named in not_understood, with its value, lists and objects too. The first of two
    names for one thing counts, and the other is named.
    """
    rest, pairs, strange = dict(words), dict[str, str](), list[str]()
    if all(isinstance(rest.get(side), int) and not isinstance(rest[side], bool) for side in ("width", "height")):
        pairs["Size"] = f"{rest.pop('width')}x{rest.pop('height')}"
    for name, value in rest.items():
        if value in (None, "", [], {}) or name in quiet.meaningless or _among(value, quiet.unchanged.get(name, ())):
            continue
        known = names.get(name, name)
        if known not in pairs:
            pairs[known] = written(value)
        elif pairs[known] != written(value):
            strange.append(shown(name, written(value)))
    if "Sampler" in pairs:
        pairs["Sampler"], brought = _sampler(pairs["Sampler"])
        if brought:
            pairs.setdefault("Schedule type", brought)
    return read_pairs(prompt.strip(), negative.strip(), pairs, strange, loras)


def _among(value: Any, values: tuple[Any, ...]) -> bool:
    """Is it one of these? False is not 0, and True is not 1."""
    return any(isinstance(value, bool) == isinstance(other, bool) and value == other for other in values)


def written(value: Any) -> str:
    """A value as AUTOMATIC1111's text would have it: whole numbers without a point; lists and objects as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    try:
        return json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return "more lists within one another than can be shown"


def _sampler(name: str) -> tuple[str, str | None]:
    """InvokeAI and others write a spacing behind the name: dpmpp_2m_k."""
    plain = name.removesuffix("_gpu")
    return (plain[:-2], "karras") if plain.endswith("_k") else (plain, None)
