"""AUTOMATIC1111's brackets and breaks."""

import re
from dataclasses import replace

from .pieces import Piece, Section, check_depth, finite_number, merged_pieces

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
    return [merged_pieces(section) for section in sections]
