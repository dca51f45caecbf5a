"""ComfyUI's parentheses, and the embeddings that its prompts name."""

import re

from .pieces import Piece, Section, check_depth, finite_number
from .tokenizer import CLIPTokenizer

_MARKS = re.compile(r"\\[()]|([()])")
_EMBEDDING = "embedding:"  # before the name of one
_EMBEDDINGS = re.compile(rf"[ \n](?={_EMBEDDING})")  # which begin behind a space alone
_ENDINGS = (".safetensors", ".pt", ".bin")


def comfyui(prompt: str) -> list[Section]:
    """ComfyUI's: (a) times 1.1, and (a:1.3) exactly 1.3 whatever is around it; backslashes before parentheses.

    A parenthesis without its partner is a word. Neighbours of one weight stay pieces of their own, which are told apart
    when a long prompt is cut. Raises ValueError for more than 100 parentheses in one another.
    """
    reader = _Reader(prompt)
    reader.read(0, len(prompt), 0, len(reader.places), 1.0, 0)
    return [reader.pieces or [Piece("")]]


class _Reader:
    """Reads a text whose parentheses are found, and given their partners, once."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.places = [found.start() for found in _MARKS.finditer(text) if found[1]]
        self._partners: dict[int, int] = {}  # numbers of parentheses: of one that opens, and of that which closes it
        opened: list[int] = []
        for number, place in enumerate(self.places):
            if text[place] == "(":
                opened.append(number)
            elif opened:
                self._partners[opened.pop()] = number
        self.pieces: Section = []

    def read(self, start: int, end: int, first: int, last: int, weight: float, depth: int) -> None:
        """Add the pieces from start to end, where the parentheses of the numbers from first to last lie."""
        check_depth(depth)
        surplus = 0  # parentheses that closed nothing, less those that opened since
        number = first
        while number < last:
            place = self.places[number]
            if self._text[place] == ")" or surplus:
                surplus += 1 if self._text[place] == ")" else -1
                number += 1
                continue
            self._put(start, place, weight)
            start, partner = place, self._partners.get(number, last)
            if partner >= last:
                break
            self._within(number, partner, weight, depth)
            start, number = self.places[partner] + 1, partner + 1
        # One that nothing closes takes the last of the text for its partner, if that closes others.
        if number < last - 1 and self._text[end - 1] == ")" and self.places[last - 1] == end - 1:
            self._within(number, last - 1, weight, depth)
        else:
            self._put(start, end, weight)

    def _within(self, number: int, partner: int, weight: float, depth: int) -> None:
        """Add the pieces between two parentheses."""
        start, end = self.places[number] + 1, self.places[partner]
        colon = self._text.rfind(":", start, end)
        own = finite_number(self._text[colon + 1 : end]) if colon > start else None
        if own is None:
            self.read(start, end, number + 1, partner, weight * 1.1, depth + 1)
        else:
            self.read(start, colon, number + 1, partner, own, depth + 1)

    def _put(self, start: int, end: int, weight: float) -> None:
        if start < end:
            text = self._text[start:end].replace("\\(", "(").replace("\\)", ")")
            self.pieces.append(Piece(text, weight))


def segments(text: str, tokenizer: CLIPTokenizer) -> list[list[int]]:
    """The ids of a piece, in the parts that ComfyUI keeps together: embeddings, and the words between them.

    Raises ValueError for an embedding that nobody named.
    """
    found: list[list[int]] = []
    for part in _EMBEDDINGS.split(text):
        if part.startswith(_EMBEDDING):
            name, *rest = part.removeprefix(_EMBEDDING).split(maxsplit=1) or [""]
            word = name.rstrip(",")
            part = " ".join([name[len(word) :], *rest])
            for ending in _ENDINGS:
                word = word.removesuffix(ending)
            found.append(tokenizer.taught(word))
        found.append(tokenizer.tokenize(part, False, False))
    return [ids for ids in found if ids]
