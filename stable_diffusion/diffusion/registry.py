"""How entries of the registries are named by people: "name", or "name:option=value,option=value"."""

from collections.abc import Collection
from difflib import get_close_matches


def unknown(kind: str, name: str, known: Collection[str]) -> str:
    """The sentence for a name that is not in a registry, with the nearest ones that are."""
    near = get_close_matches(name.lower().replace(" ", "_"), known, n=3, cutoff=0.5)
    return f"unknown {kind} {name!r}: " + (f"did you mean {' or '.join(near)}?" if near else f"--{kind} list shows all")


def split(kind: str, text: str, known: Collection[str]) -> dict[str, str]:
    """The options behind a name. Raises ValueError for one that is not among the known ones, or has no value."""
    name, _, rest = text.partition(":")
    options: dict[str, str] = {}
    for word in filter(None, rest.split(",")):
        option, _, value = word.partition("=")
        if option not in known:
            has = f"it has {', '.join(sorted(known))}" if known else "it has none"
            raise ValueError(f"the {kind} {name!r} has no option {option!r}: {has}")
        if not value:
            raise ValueError(f"{kind} {text!r}: {option} has no value: write {option}=...")
        options[option] = value
    return options
