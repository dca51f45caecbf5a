"""Prompts that change on the way from noise to picture, and several of them at once, as AUTOMATIC1111 reads them.

It counts the calls of the net, from the first one that is made; a sampler of two calls a step makes two for each.
"""

import math
import re
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from .pieces import check_depth, finite_number

Spans = Sequence[tuple[int, str]]  # texts, each with the last call, counted from 0, that it is told at


@dataclass(frozen=True)
class Part:
    """One of the texts that are told at once. The last of its spans lasts to the end, whatever its number."""

    spans: Spans
    weight: float = 1.0


@dataclass(frozen=True)
class _Replaced:
    """[before:after:when]"""

    before: "_Words"
    after: "_Words"
    when: str

    def last(self, calls: int) -> int:
        """The last call of `before`: a number with a point is a share of all calls, and a whole one counts them."""
        value = finite_number(self.when)
        wanted = calls if value is None else value * calls if "." in self.when else value
        return int(max(0, min(calls, wanted)))


@dataclass(frozen=True)
class _Alternating:
    """[one|other|...]"""

    choices: "Sequence[_Words]"


_Words = Sequence["str | _Replaced | _Alternating"]

_PLAIN = re.compile(r"(?:[^\\\[\]():|]|\\.)+")
_NUMBER = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*")


class _Reader:
    """Reads a text from its beginning; what each bracket is, is found once."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._known: dict[int, tuple[_Words, int] | None] = {}

    def everything(self) -> _Words | None:
        """All of the text; brackets and colons that mean nothing are letters. None where AUTOMATIC1111 gives it up."""
        words: list[str | _Replaced | _Alternating] = []
        at = 0
        while at < len(self._text):
            more, end = self._words(at, 0)
            words += more
            if end < len(self._text):
                if self._text[end] not in "[]():":
                    return None  # a bar or a backslash by itself
                words.append(self._text[end])
                end += 1
            at = end
        return words

    def _words(self, at: int, depth: int) -> tuple[_Words, int]:
        """Words from a place on, and where they end: at a sign that opens nothing."""
        words: list[str | _Replaced | _Alternating] = []
        while True:
            if found := _PLAIN.match(self._text, at):
                words.append(found.group())
                at = found.end()
            elif (bracket := self._bracket(at, depth)) is not None:
                words += bracket[0]
                at = bracket[1]
            else:
                return _joined(words), at

    def _sign(self, at: int) -> str:
        return self._text[at : at + 1]

    def _bracket(self, at: int, depth: int) -> tuple[_Words, int] | None:
        """What a bracket and its partner hold, and where they end; None: it opens nothing."""
        if self._sign(at) not in ("(", "["):
            return None
        if at not in self._known:
            check_depth(depth + 1)
            self._known[at] = (self._round if self._sign(at) == "(" else self._square)(at, depth + 1)
        return self._known[at]

    def _round(self, at: int, depth: int) -> tuple[_Words, int] | None:
        words, end = self._words(at + 1, depth)
        held = ["(", *words]
        if self._sign(end) == ":":
            weight, end = self._words(end + 1, depth)
            held += [":", *weight]
        return ([*held, ")"], end + 1) if self._sign(end) == ")" else None

    def _square(self, at: int, depth: int) -> tuple[_Words, int] | None:
        first, end = self._words(at + 1, depth)
        if self._sign(end) == "]":
            return ["[", *first, "]"], end + 1
        if self._sign(end) == "|":
            choices = [first]
            while self._sign(end) == "|":
                choice, end = self._words(end + 1, depth)
                choices.append(choice)
            return ([_Alternating(choices)], end + 1) if self._sign(end) == "]" else None
        if self._sign(end) != ":":
            return None
        if (when := self._when(end + 1)) is not None:
            return [_Replaced((), first, when[0])], when[1]
        second, end = self._words(end + 1, depth)
        if self._sign(end) == ":" and (when := self._when(end + 1)) is not None:
            return [_Replaced(first, second, when[0])], when[1]
        return None

    def _when(self, at: int) -> tuple[str, int] | None:
        """A number and the bracket that follows it, and where that ends."""
        found = _NUMBER.match(self._text, at)
        return (found[1], found.end() + 1) if found and self._sign(found.end()) == "]" else None


def _joined(words: _Words) -> _Words:
    """Texts that follow each other as one."""
    joined: list[str | _Replaced | _Alternating] = []
    for are_texts, group in groupby(words, key=lambda word: isinstance(word, str)):
        some = list(group)
        joined += ["".join(map(str, some))] if are_texts else some
    return joined


def _changes(words: _Words, calls: int) -> tuple[set[int], int]:
    """The last calls, from 1, of what is replaced, and the number of calls after which all alternations begin anew."""
    lasts: set[int] = set()
    period = 1
    for word in words:
        within: Sequence[_Words] = ()
        if isinstance(word, _Replaced):
            within, lasts = (word.before, word.after), lasts | {word.last(calls)}
        elif isinstance(word, _Alternating):
            within, period = word.choices, math.lcm(period, len(word.choices))
        for some in within:
            more, times = _changes(some, calls)
            lasts, period = lasts | more, math.lcm(period, times)
    return lasts, period


def _said(words: _Words, call: int, calls: int) -> str:
    """The words as they are until a call."""
    said = []
    for word in words:
        if isinstance(word, _Replaced):
            said.append(_said(word.before if call <= word.last(calls) else word.after, call, calls))
        elif isinstance(word, _Alternating):
            said.append(_said(word.choices[(call - 1) % len(word.choices)], call, calls))
        else:
            said.append(word)
    return "".join(said)


def edited(text: str, calls: int) -> Spans:
    """A text with [a:b:when], [a:when], [a::when] and [a|b|c], for so many calls of the net.

    A number with a point is a share of all calls, a whole one counts them. What begins with a is told at calls 0 to
    `when`, one more than `when` of them, and an alternation's first choice twice, as there. A text with a bar outside
    of square brackets, or with a backslash at its end, is literal throughout. Raises ValueError for more than 100
    brackets in one another.
    """
    words = _Reader(text).everything()
    if words is None or all(isinstance(word, str) for word in words):
        return [(calls, text)]
    lasts, period = _changes(words, calls)
    ends = sorted(lasts)
    known: dict[tuple[int, int], str] = {}  # an alternation has few texts and many calls
    spans = []
    for call in range(1, calls + 1) if period > 1 else sorted(lasts - {0} | {calls}):
        state = ((call - 1) % period, bisect_left(ends, call))
        if state not in known:
            known[state] = _said(words, call, calls)
        spans.append((call, known[state]))
    return spans


_AND = re.compile(r"\bAND\b")
_WEIGHT = re.compile(r"[-+]?(?:\d+\.?|\d*\.\d+)")


def _weighed(text: str) -> tuple[str, float]:
    """A text, and the weight behind its last colon."""
    before, colon, number = text.rstrip().rpartition(":")
    if colon and _WEIGHT.fullmatch(number.strip()) and (weight := finite_number(number)) is not None:
        return before.rstrip(), weight
    return text, 1.0


def steady(prompt: str, calls: int) -> list[Part]:
    """One text that stays what it is."""
    return [Part([(calls, prompt)])]


def changing(prompt: str, calls: int) -> list[Part]:
    """One text that changes on its way: a negative prompt, in which AND is a word."""
    return [Part(edited(prompt, calls))]


def composed(prompt: str, calls: int) -> list[Part]:
    """Texts between ANDs, each with the weight behind its last colon, a:0.7, and each changing on its own way."""
    return [Part(edited(text, calls), weight) for text, weight in map(_weighed, _AND.split(prompt))]


Parts = Callable[[str, int], list[Part]]
PROMPTS: dict[str, Parts] = {"plain": steady, "a1111": composed, "comfyui": steady}
NEGATIVE_PROMPTS: dict[str, Parts] = {"plain": steady, "a1111": changing, "comfyui": steady}
