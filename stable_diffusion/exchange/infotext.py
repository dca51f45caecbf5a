"""The parts of a text in AUTOMATIC1111's form: a prompt, a negative prompt, and a line of names and values."""

import re
from dataclasses import dataclass, field

from .vocabulary import MEANINGLESS, READERS, shown

# Each is tried once at a place, and none looks back: no text can keep them busy.
_NAME = re.compile(r'[ \t]*([^\s,:"\[\]{}][^,:"\[\]{}\n]{0,79}?)[ \t]*:[ \t]*')
_QUOTED = re.compile(r'("(?:[^"\\\n]|\\.)*")[ \t]*(?=[,\n]|$)')
_PLAIN = re.compile(r"[^,\n]*")
_BRACKET = re.compile(r'[\[\]{}]|"(?:[^"\\\n]|\\.)*"')
_KNOWN = READERS.keys() | MEANINGLESS.keys() | {"Model", "Base Model", "Guidance Scale", "Seed Mode"}


@dataclass(frozen=True)
class Infotext:
    """What such a text says, in its own words."""

    prompt: str
    negative: str = ""
    pairs: dict[str, str] = field(default_factory=dict)  # names and values; of two with one name, the first
    strange: list[str] = field(default_factory=list)  # what else stands among them


def split(text: str) -> Infotext:
    """Take such a text apart; one without a line of numbers is a prompt."""
    text = text.encode("utf-8", "replace").decode().replace("\r\n", "\n")  # halves of characters are none
    lines = text.strip().split("\n")
    at = next((i for i in reversed(range(len(lines))) if _is_numbers(lines[i])), len(lines))
    start, bars = at, _between_bars(lines[at]) if at < len(lines) else {}
    while start > 0 and at < len(lines) and lines[start - 1].startswith("Version: "):  # SD.Next's of 2023
        start -= 1
    before, numbers, behind = lines[start:at], lines[at : at + 1], lines[at + 1 :]
    pairs, strange = _pairs("\n".join([*([] if bars else numbers), *before, *behind]))  # behind: about templates, say
    strange += [shown(name, value) for name, value in pairs.items() if bars.get(name, value) != value]
    pairs |= bars
    words = "\n".join(lines[:start])
    prompt, negative = [*re.split(r"^Negative prompt:", words, maxsplit=1, flags=re.MULTILINE), ""][:2]
    if bars:
        prompt = prompt.removeprefix("prompt:")
    return Infotext(prompt.strip(), negative.strip(), pairs, strange)


def _is_numbers(line: str) -> bool:
    """Is it the line of numbers, and no prompt?"""
    names = _pairs(line)[0].keys()
    return (len(names) >= 3 and len(names & _KNOWN) >= 2) or bool(_between_bars(line))


def _between_bars(line: str) -> dict[str, str]:
    """Names and values between bars, as SD.Next had them for a while; none where commas part them."""
    parts = [part.partition(":") for part in line.split(" | ")]
    found = {name.strip(): value.strip() for name, colon, value in parts if colon and "," not in name}
    return found if len(parts) >= 3 and len(found.keys() & _KNOWN) >= 3 else {}


def _pairs(text: str) -> tuple[dict[str, str], list[str]]:
    """Names and values between commas, and what else stands there.

    A value may be a JSON string, or begin with a bracket, which is skipped to the one that closes it. The first of a
    name counts. Words without a name belong to the value before them, unless that one is a number or a word we know.
    """
    pairs: dict[str, list[str]] = {}
    strange: list[tuple[str, str]] = []
    at, whole, last = 0, True, ""
    while at < len(text):
        named = _NAME.match(text, at)
        start = named.end() if named else at
        quoted = _QUOTED.match(text, start) if named and whole else None
        if quoted:
            written, end = quoted[1], quoted.end()
        else:
            inside = _closed(text, start) if named and whole and text.startswith(("[", "{"), start) else start
            # What is never closed is a value to the next comma, and so is all that is opened behind it.
            whole = whole and (inside > start or named is None or not text.startswith(("[", "{", '"'), start))
            end = _end(text, inside)
            written = text[start:end].strip()
        if named:
            last = named[1].strip()
            if pairs.setdefault(last, [written])[0] != written:
                strange.append((last, written))
                last = ""
        elif written and last and last not in _KNOWN:
            pairs[last].append(written)
        elif written:
            strange.append(("", written))
        last = "" if text.startswith("\n", end) else last
        at = end + 1
    others = [shown(name, value).removeprefix(": ") for name, value in strange]
    return {name: ", ".join(values) for name, values in pairs.items()}, others


def _end(text: str, at: int) -> int:
    """Where the next comma or line break is."""
    found = _PLAIN.match(text, at)
    return found.end() if found else at


def _closed(text: str, start: int) -> int:
    """Behind the bracket that closes the one at start; start, where nothing closes it."""
    depth = 0
    for token in _BRACKET.finditer(text, start):
        depth += (token[0] in "[{") - (token[0] in "]}") if len(token[0]) == 1 else 0
        if depth == 0:
            return token.end()
    return start
