"""What people write into prompts besides words: weights and breaks, as the tools that they come from read them.

A prompt becomes sections of pieces: each piece has one weight, and each section begins a chunk of its own.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

MOST_NESTED = 100  # brackets within brackets


@dataclass(frozen=True)
class Piece:
    """Words of one weight."""

    text: str
    weight: float = 1.0


Section = list[Piece]


def plain(prompt: str) -> list[Section]:
    """Words alone."""
    return [[Piece(prompt)]]


# Brackets, with or without a backslash before them, a weight with the bracket that it closes, and runs of all else.
_A1111 = re.compile(r"\\[()\[\]\\]?|[(\[)\]]|:(?P<weight>[+-]?[.\d]+)\)|[^\\()\[\]:]+|:")
_BREAK = re.compile(r"\s*\bBREAK\b\s*")


def a1111(prompt: str) -> list[Section]:
    """AUTOMATIC1111's: (a) 1.1, [a] 1 / 1.1, (a:1.3), each times what is around it; backslashes; BREAK.

    A bracket that is never closed lasts to the end; one that closes nothing is a word. Within brackets AUTOMATIC1111
    takes BREAK for a word; here it is a break everywhere. Raises ValueError for more than 100 brackets in one another.
    """
    sections: list[Section] = [[]]
    opened: dict[str, list[tuple[int, int]]] = {"(": [], "[": []}  # the places where each kind of bracket began

    def put(text: str) -> None:
        first, *others = _BREAK.split(text)
        sections[-1].append(Piece(first))
        sections.extend([Piece(other)] for other in others)

    def close(bracket: str, factor: float) -> None:
        start, at = opened[bracket].pop()
        for number in range(start, len(sections)):
            section = sections[number]
            for i in range(at if number == start else 0, len(section)):
                section[i] = replace(section[i], weight=section[i].weight * factor)

    for match in _A1111.finditer(prompt):
        word, weight = match.group(), finite_number(match["weight"])
        if word[0] == "\\":
            sections[-1].append(Piece(word[1:]))
        elif word in opened:
            opened[word].append((len(sections) - 1, len(sections[-1])))
            check_depth(sum(map(len, opened.values())))
        elif weight is not None and opened["("]:
            close("(", weight)
        elif word == ")" and opened["("]:
            close("(", 1.1)
        elif word == "]" and opened["["]:
            close("[", 1 / 1.1)
        else:
            put(word)
    for bracket, factor in (("(", 1.1), ("[", 1 / 1.1)):
        while opened[bracket]:
            close(bracket, factor)
    return [_merged(section) for section in sections]


def finite_number(text: str | None) -> float | None:
    """The finite number that a text is, or None."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def check_depth(depth: int) -> None:
    """Raise ValueError for too many brackets in one another."""
    if depth > MOST_NESTED:
        raise ValueError(f"the prompt has more than {MOST_NESTED} brackets within one another")


def _merged(section: Section) -> Section:
    """Neighbours of the same weight as one: they may be halves of a word."""
    merged: Section = []
    for piece in section:
        if merged and merged[-1].weight == piece.weight:
            merged[-1] = Piece(merged[-1].text + piece.text, piece.weight)
        else:
            merged.append(piece)
    return merged or [Piece("")]


_ESCAPED = {"\\(": "\ue000", "\\)": "\ue001"}  # of Unicode's private use, which no prompt needs


def comfyui(prompt: str) -> list[Section]:
    """ComfyUI's: (a) times 1.1, and (a:1.3) exactly 1.3 whatever is around it; backslashes before parentheses.

    A parenthesis without its partner is a word. Raises ValueError for more than 100 in one another.
    """
    for written, held in _ESCAPED.items():
        prompt = prompt.replace(written, held)
    return [_merged(list(_weighed(prompt, 1.0, 0)))]


def _weighed(text: str, weight: float, depth: int) -> Section:
    check_depth(depth)
    pieces: Section = []
    for part in _outermost(text):
        if not (len(part) >= 2 and part[0] == "(" and part[-1] == ")"):
            for written, held in _ESCAPED.items():
                part = part.replace(held, written[1])
            pieces.append(Piece(part, weight))
            continue
        inside, colon, number = part[1:-1].rpartition(":")
        own = finite_number(number) if colon and inside else None
        if own is None:
            pieces += _weighed(part[1:-1], weight * 1.1, depth + 1)
        else:
            pieces += _weighed(inside, own, depth + 1)
    return pieces


def _outermost(text: str) -> list[str]:
    """A text cut where its outermost parentheses begin and end."""
    parts, start, depth = [], 0, 0
    for i, letter in enumerate(text):
        if letter == "(":
            if depth == 0 and i > start:
                parts.append(text[start:i])
                start = i
            depth += 1
        elif letter == ")":
            depth -= 1
            if depth == 0:
                parts.append(text[start : i + 1])
                start = i + 1
    return [*parts, text[start:]] if start < len(text) else parts


_LORA = re.compile(r"<(?:lora|lyco):([^<>]{1,300})>")


@dataclass(frozen=True)
class Tag:
    """A LoRA that a prompt names, and how much of it: in the UNet, and in the text encoders."""

    name: str
    unet: float = 1.0
    text: float = 1.0


def lora_tags(prompt: str) -> tuple[str, tuple[Tag, ...]]:
    """A prompt without its <lora:name>, <lora:name:0.8> and <lora:name:of text:of UNet>, and what they say.

    AUTOMATIC1111's; te= and unet= name the amounts there. Raises ValueError, one sentence, for what is no amount.
    """
    return _LORA.sub("", prompt), tuple(_tag(found.group(), found[1]) for found in _LORA.finditer(prompt))


def _tag(written: str, inside: str) -> Tag:
    name, *words = inside.split(":")
    named = dict(word.split("=", 1) for word in words if "=" in word)
    amounts = [word for word in words if "=" not in word]
    if strange := sorted(named.keys() - {"te", "unet"}):
        raise ValueError(f"{written[:80]!r} has {strange[0]}=, which is not known here: te= and unet= are")
    texts = named.get("te", amounts[0] if amounts else "1")
    text, unet = map(finite_number, (texts, named.get("unet", amounts[1] if len(amounts) > 1 else texts)))
    if not name.strip() or text is None or unet is None or len(amounts) > 2:
        raise ValueError(f"{written[:80]!r} is not <lora:name>, <lora:name:0.8> or <lora:name:of text:of UNet>")
    return Tag(name.strip(), unet, text)


def no_tags(prompt: str) -> tuple[str, tuple[Tag, ...]]:
    """The prompt as it is."""
    return prompt, ()


LORA_TAGS = {"plain": no_tags, "a1111": lora_tags, "comfyui": no_tags}
PARSERS: dict[str, Callable[[str], list[Section]]] = {"plain": plain, "a1111": a1111, "comfyui": comfyui}


# From tokens to chunks

Token = tuple[int, float]  # an id, and its weight
Chunk = list[Token]  # between begin and end
BACK = 20  # tokens before the end of a chunk within which a comma ends it
WORD = 8  # tokens of a word that may be cut in two


def by_commas(words: list[list[Token]], room: int, comma: int | None) -> list[Chunk]:
    """Chunks of room tokens; what follows a comma among the last 20 of a full one moves on (AUTOMATIC1111).

    words: whose borders do not matter here.
    """
    chunks: list[Chunk] = [[]]
    last = -1  # the place of the last comma in the last chunk
    for token in (token for word in words for token in word):
        chunk = chunks[-1]
        if token[0] == comma:
            last = len(chunk)  # a comma that finds the chunk full begins the next one all the same
        elif len(chunk) == room and last >= 0 and len(chunk) - last <= BACK:
            chunks[-1], moved = chunk[: last + 1], chunk[last + 1 :]
            chunks.append(moved)
            last = -1
        if len(chunks[-1]) == room:
            chunks.append([])
            last = -1
        chunks[-1].append(token)
    return chunks


def by_words(words: list[list[Token]], room: int, comma: int | None) -> list[Chunk]:
    """Chunks of room tokens that cut no word of fewer than 8 tokens (ComfyUI); a longer one fills the chunk up."""
    chunks: list[Chunk] = [[]]
    for word in words:
        while len(chunks[-1]) + len(word) > room:
            fits = room - len(chunks[-1]) if len(word) >= WORD else 0
            chunks[-1] += word[:fits]
            word = word[fits:]
            chunks.append([])
        chunks[-1] += word
    return chunks
