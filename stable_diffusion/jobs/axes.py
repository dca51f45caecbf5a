"""The axes of a grid: a setting, or a LoRA, and the values that it takes."""

from collections.abc import Callable
from typing import Any

from ..diffusion.aliases import sampler_name, spacing_name
from ..diffusion.samplers import sampler_named
from ..diffusion.spacing import spacing_named
from ..settings import ROWS
from .model import LORA

Axis = tuple[str, tuple[Any, ...]]  # a setting's name, or "lora", and the values that it takes


def read_sampler(word: str) -> str:
    """A sampler's name, ours or another tool's. Raises ValueError for one that is unknown."""
    sampler_named(sampler_name(word)[0])
    return word


def read_spacing(word: str) -> str:
    """A spacing's name, ours or another tool's. Raises ValueError for one that is unknown."""
    spacing_named(spacing_name(word))
    return word


# Where a name is known only upstairs, it is checked as it is read.
READERS: dict[str, Callable[[str], Any]] = {name: row.kind.read for name, row in ROWS.items()} | {
    "sampler": read_sampler,
    "spacing": read_spacing,
}
KINDS = {**{name: row.kind for name, row in ROWS.items()}, "lora": LORA}
READERS["lora"] = LORA.read
AXES = sorted(KINDS.keys() - {"n_images"})


def read_axis(words: str) -> Axis:
    """NAME=VALUE,VALUE,...: a setting and its values; between | where a value has commas itself. Raises ValueError."""
    name, equals, values = words.partition("=")
    name = name.strip().replace("-", "_")
    if not equals or name not in AXES:
        raise ValueError(f"{words[:40]!r} is not SETTING=VALUE,VALUE with a setting out of {', '.join(AXES)}")
    parts = [part.strip() for part in values.split("|" if "|" in values else ",")]
    found = tuple(READERS[name](part) for part in parts)
    for value in found:
        if fault := KINDS[name].fault(value):
            raise ValueError(f"{name} is {value!r}: it must be {fault}")
    if len(set(found)) < len(found):
        raise ValueError(f"{words[:40]!r} names a value twice")
    return name, found


def is_axis(axis: Any) -> bool:
    """Is this a setting's name with values that it can have?"""
    if not isinstance(axis, tuple) or len(axis) != 2 or axis[0] not in AXES or not isinstance(axis[1], tuple):
        return False
    return bool(axis[1]) and not any(map(KINDS[axis[0]].fault, axis[1]))
