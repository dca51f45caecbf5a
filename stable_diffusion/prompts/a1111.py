"""AUTOMATIC1111's brackets and breaks."""

import math
import re
from bisect import bisect
from collections import defaultdict
from itertools import groupby, pairwise

from .pieces import Piece, Section, check_depth, finite_number

# Brackets, with or without a backslash before them, a weight with the bracket that it closes, and runs of all else.
_PARTS = re.compile(r"\\[()\[\]\\]?|[(\[)\]]|:(?P<weight>[+-]?[.\d]+)\)|[^\\()\[\]:]+|:")
_BREAK = re.compile(r"\bBREAK\b")  # and the spaces around it, which a pattern would take quadratic time to find


def a1111(prompt: str) -> list[Section]:
    """AUTOMATIC1111's: (a) 1.1, [a] 1 / 1.1, (a:1.3), each times what is around it; backslashes; BREAK.

    A bracket that is never closed lasts to the end; one that closes nothing is a word. Within brackets AUTOMATIC1111
    takes BREAK for a word; here it is a break everywhere. Raises ValueError for more than 100 brackets in one another.
    """
    texts: list[str] = []
    breaks = [0]  # the texts that begin a section
    opened: dict[str, list[int]] = {"(": [], "[": []}  # the texts that each kind of bracket began with
    spans: list[tuple[int, int, float]] = []  # the texts between two brackets, and their factor

    def close(bracket: str, factor: float) -> None:
        spans.append((opened[bracket].pop(), len(texts), factor))

    for match in _PARTS.finditer(prompt):
        word, weight = match.group(), finite_number(match["weight"])
        if word[0] == "\\":
            texts.append(word[1:])
        elif word in opened:
            opened[word].append(len(texts))
            check_depth(sum(map(len, opened.values())))
        elif weight is not None and opened["("]:
            close("(", weight)
        elif word == ")" and opened["("]:
            close("(", 1.1)
        elif word == "]" and opened["["]:
            close("[", 1 / 1.1)
        else:
            first, *others = _BREAK.split(word)
            texts.append(first)
            for other in others:
                texts[-1] = texts[-1].rstrip()
                breaks.append(len(texts))
                texts.append(other.lstrip())
    for bracket, factor in (("(", 1.1), ("[", 1 / 1.1)):
        while opened[bracket]:
            close(bracket, factor)
    weighed = list(zip(_weights(len(texts), spans), texts, strict=True))
    return [_merged(weighed[start:end]) for start, end in pairwise([*breaks, len(texts)])]


def _weights(count: int, spans: list[tuple[int, int, float]]) -> list[float]:
    """The product of all factors of each text, in the order in which their brackets close."""
    begin: defaultdict[int, list[int]] = defaultdict(list)  # the spans that begin at a text, and that end there
    end: defaultdict[int, list[int]] = defaultdict(list)
    for number, (first, last, _) in enumerate(spans):
        begin[first].append(number)
        end[last].append(number)
    around: list[int] = []  # the spans that a text lies in
    factors: list[float] = []  # and theirs
    weights = [1.0] * count
    for place, until in pairwise(sorted({*begin, *end, count})):
        for number in begin.get(place, ()):
            at = bisect(around, number)
            around.insert(at, number)
            factors.insert(at, spans[number][2])
        for number in end.get(place, ()):
            at = bisect(around, number) - 1
            del around[at], factors[at]
        weights[place:until] = [math.prod(factors)] * (until - place)
    return weights


def _merged(weighed: list[tuple[float, str]]) -> Section:
    """Pieces, neighbours of the same weight as one: they may be halves of a word."""
    groups = groupby(weighed, key=lambda one: one[0])
    return [Piece("".join(text for _, text in group), weight) for weight, group in groups] or [Piece("")]
