"""Kinds of values: what one must be, how it is written on a command line, and how it comes back from JSON.

A dataclass whose fields are made by `declared` says each of these once; its checks, its JSON, the options of the
command line and the axes of grids all follow from that one row.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from numbers import Integral, Real
from typing import Any


@dataclass(frozen=True)
class Kind:
    """A kind of value."""

    read: Callable[[str], Any]  # from a word of a command line; raises ValueError, one sentence
    rules: tuple[tuple[str, Callable[[Any], bool]], ...]  # what it must be, and whether it is, one after the other
    thaw: Callable[[Any], Any] = lambda value: value  # from JSON, whose lists have become tuples
    words: tuple[str, ...] = ()  # all that there are, where these are a few

    def fault(self, value: Any) -> str | None:
        """What the value must be and is not; None where nothing is wrong with it."""
        return next((wanted for wanted, holds in self.rules if not holds(value)), None)

    def strictly(self) -> "Kind":
        """The same, but what its rules forbid cannot even be read."""

        def read(word: str) -> Any:
            value = self.read(word)
            if fault := self.fault(value):
                raise ValueError(f"{repr(word[:40]) if isinstance(value, str) else word[:40]} is not {fault}")
            return value

        return replace(self, read=read)


@dataclass(frozen=True)
class Row:
    """What is declared of a field: its kind, and what an option of that name shows in the help."""

    kind: Kind
    about: str
    metavar: str | None
    default: Any


def declared(default: Any, kind: Kind, about: str = "", metavar: str | None = None) -> Any:
    """A field of a dataclass, with its row. A field whose default is None may be None."""
    return field(default=default, metadata={"row": Row(kind, about, metavar, default)})


def rows(owner: type) -> dict[str, Row]:
    """The rows of a dataclass, by the names of its fields."""

    def row(one: Field[Any]) -> Row | None:
        return one.metadata.get("row")

    return {one.name: found for one in fields(owner) if (found := row(one)) is not None}


def check(owner: object, declarations: Mapping[str, Row]) -> None:
    """Raise ValueError, one sentence, for the first field that is not what its row says."""
    for name, row in declarations.items():
        value = getattr(owner, name)
        if value is None and row.default is None:
            continue
        if fault := row.kind.fault(value):
            raise ValueError(f"{name} is {_short(value)}: it must be {fault}")


def _short(value: Any) -> str:
    """A value as it is shown: not all of what may be a book."""
    shown = repr(value)
    return shown if len(shown) <= 200 else f"{shown[:197]}..."


def word(text: Any) -> str:
    """A name from a file as it is shown: in quotes, and not all of it, where it is no plain one."""
    return text if isinstance(text, str) and len(text) <= 60 and text.isidentifier() else repr(text)[:60]


def line(text: str) -> str:
    """A text on one line, as a terminal may show it: what could move its cursor, or do worse, is escaped."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def thawed(values: Any, declarations: Mapping[str, Row], every: bool = False) -> dict[str, Any]:
    """The fields that JSON holds, as a dataclass of these rows takes them.

    Raises ValueError for what is no object, for unknown names, and, with every, for names that are missing.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{str(values)[:40]!r} is no object")
    if unknown := sorted(set(values) - declarations.keys()):
        raise ValueError(f"there are no settings {', '.join(map(word, unknown[:5]))}")
    if every and (missing := sorted(declarations.keys() - values.keys())):
        raise ValueError(f"there is no {', '.join(missing)}")
    return {name: declarations[name].kind.thaw(_tuples(value)) for name, value in values.items()}


def plain(value: Any) -> Any:
    """The same as JSON can hold it: lists for tuples, Python's numbers for NumPy's, "inf" for infinity."""
    if isinstance(value, tuple | list):
        return [plain(v) for v in value]
    if isinstance(value, bool | str | None):
        return value
    if value == math.inf:
        return "inf"
    return int(value) if isinstance(value, Integral) else float(value)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


# Readers of words


def _read_whole(word: str) -> int:
    try:
        return int(word)
    except ValueError:
        raise ValueError(f"{word[:40]!r} is not a whole number") from None


def _read_number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise ValueError(f"{word[:40]!r} is not a number") from None


# Kinds


def is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def is_finite(value: Any) -> bool:
    try:
        return is_number(value) and math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False


def _between(least: float | None, most: float | None) -> tuple[tuple[str, Callable[[Any], bool]], ...]:
    """The rule of a range, both ends in it."""
    if least is None:
        return ()
    if most is None:
        return ((f"{least} or more", lambda value: value >= least),)
    return ((f"from {least} to {most}", lambda value: least <= value <= most),)


def whole(least: int | None = None, most: int | None = None) -> Kind:
    """A whole number between two limits."""
    return Kind(_read_whole, (("a whole number", is_whole), *_between(least, most)))


def number(least: float | None = None, most: float | None = None) -> Kind:
    """A finite number between two limits."""
    kinds = (("a number", is_number), ("a finite number", is_finite))
    return Kind(_read_number, (*kinds, *_between(least, most)))


def limit(least: float) -> Kind:
    """A number from a limit up, perhaps infinite."""
    rules = (("a number", is_number), *_between(least, None))
    return Kind(_read_number, rules, lambda value: math.inf if value == "inf" else value)


MOST_LETTERS = 100_000  # of a text


def text(wanted: str = "a text") -> Kind:
    """Any text of reasonable length; on a command line, bytes may come that are none."""

    def whole(value: str) -> bool:
        try:
            return bool(value.encode() or True)
        except UnicodeEncodeError:
            return False

    short = (f"at most {MOST_LETTERS} letters long", lambda value: len(value) <= MOST_LETTERS)
    return Kind(
        str, ((wanted, lambda value: isinstance(value, str)), short, ("text, not bytes that are no text", whole))
    )


def one_of(*words: str) -> Kind:
    """One of a few words."""
    wanted = f"{', '.join(words[:-1])} or {words[-1]}"
    rule = (wanted, lambda value: isinstance(value, str) and value in words)
    return Kind(str, (rule,), words=words).strictly()


def several(kind: Kind, wanted: str, most: int = 10_000) -> Kind:
    """Values of a kind, with commas between them on a command line; a tuple of so many at the most."""

    def fine(value: Any) -> bool:
        return isinstance(value, tuple | list) and len(value) <= most and not any(map(kind.fault, value))

    def read(words: str) -> tuple[Any, ...]:
        if words.count(",") >= most:
            raise ValueError(f"{words[:40]!r}... has more than {most} values")
        return tuple(kind.read(word) for word in words.split(","))

    return Kind(read, ((wanted, fine),))


def flag() -> Kind:
    """Yes or no."""
    return Kind(lambda word: word == "true", (("true or false", lambda value: isinstance(value, bool)),))


def texts() -> Kind:
    """Texts by name."""

    def fine(value: Any) -> bool:
        return isinstance(value, Mapping) and all(isinstance(text, str) for pair in value.items() for text in pair)

    return Kind(str, (("texts by name", fine),))
