"""How entries of the registries are named by people: "name", or "name:option=value,option=value"."""

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any, Protocol, TypeVar

from ..values import Kind


class Entry(Protocol):
    """What a registry holds: something whose options are declared."""

    @property
    def options(self) -> Mapping[str, Kind]: ...


Found = TypeVar("Found", bound=Entry)


def unknown(kind: str, name: str, known: Collection[str]) -> str:
    """The sentence for a name that is not in a registry, with the nearest ones that are."""
    near = get_close_matches(name.lower().replace(" ", "_"), known, n=3, cutoff=0.5)
    return f"unknown {kind} {name!r}: " + (f"did you mean {' or '.join(near)}?" if near else f"--{kind} list shows all")


def chosen(kind: str, text: str, entries: Mapping[str, Found]) -> tuple[Found, dict[str, Any]]:
    """The entry of a name, and the values of the options behind it.

    Raises ValueError for a name that is not there, an option that the entry does not have, and a value that cannot be.
    """
    name, _, rest = text.partition(":")
    if name not in entries:
        raise ValueError(unknown(kind, name, entries))
    entry, values = entries[name], {}
    for word in filter(None, rest.split(",")):
        option, _, value = word.partition("=")
        if option not in entry.options:
            has = f"it has {', '.join(sorted(entry.options))}" if entry.options else "it has none"
            raise ValueError(f"the {kind} {name!r} has no option {option!r}: {has}")
        if not value:
            raise ValueError(f"{kind} {text!r}: {option} has no value: write {option}=...")
        try:
            values[option] = entry.options[option].strictly().read(value)
        except ValueError as error:
            raise ValueError(f"{kind} {text!r}, {option}: {error}") from None
    return entry, values
