"""Kinds of values: read strictly, checked in one sentence, thawed from JSON."""

import math
from dataclasses import dataclass
from typing import Any

import pytest

from stable_diffusion.values import (
    Kind,
    check,
    declared,
    flag,
    limit,
    number,
    one_of,
    rows,
    several,
    text,
    thawed,
    whole,
)


@pytest.mark.parametrize(
    ("kind", "value", "fault"),
    [
        (whole(1, 5), 5, None),
        (whole(1, 5), 6, "from 1 to 5"),
        (whole(1), 0, "1 or more"),
        (whole(), 2.0, "a whole number"),
        (whole(), True, "a whole number"),
        (number(), 10**400, "a finite number"),
        (number(), math.nan, "a finite number"),
        (number(), "1", "a number"),
        (limit(0), math.inf, None),
        (limit(0), math.nan, "0 or more"),
        (text(), 3, "a text"),
        (text(), "caf\udce9", "text, not bytes that are no text"),
        (one_of("a", "b", "c"), "d", "a, b or c"),
        (one_of("a", "b"), ["a"], "a or b"),
        (flag(), 1, "true or false"),
        (several(number(), "some numbers"), (1, 2.5), None),
        (several(number(), "some numbers"), (1, "x"), "some numbers"),
        (several(number(), "some numbers"), 5, "some numbers"),
    ],
)
def test_a_kind_says_what_a_value_must_be(kind: Kind, value: Any, fault: str | None) -> None:
    assert kind.fault(value) == fault


@pytest.mark.parametrize(
    ("kind", "word", "sentence"),
    [
        (whole(), "1.5", "'1.5' is not a whole number"),
        (whole(1, 5).strictly(), "9", "9 is not from 1 to 5"),
        (number(0, 1).strictly(), "-0.5", "-0.5 is not from 0 to 1"),
        (one_of("soft", "hard"), "harsh", "'harsh' is not soft or hard"),
        (several(number(), "some numbers"), "1,x", "'x' is not a number"),
    ],
)
def test_a_word_that_cannot_be_read_is_one_sentence(kind: Kind, word: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        kind.read(word)


@dataclass(frozen=True)
class Box:
    """A dataclass of declared fields."""

    side: int = declared(8, whole(1, 64), "how large", "N")
    top: float = declared(math.inf, limit(0))
    edges: tuple[int, ...] | None = declared(None, several(whole(), "whole numbers"))

    def __post_init__(self) -> None:
        check(self, rows(Box))


def test_a_dataclass_checks_its_rows() -> None:
    assert Box(side=3).edges is None
    with pytest.raises(ValueError, match="side is 99: it must be from 1 to 64"):
        Box(side=99)
    with pytest.raises(ValueError, match="side is None"):
        Box(side=None)  # type: ignore[arg-type]


def test_json_becomes_what_the_rows_say() -> None:
    assert Box(**thawed({"side": 3, "top": "inf", "edges": [1, 2]}, rows(Box))) == Box(3, math.inf, (1, 2))
    for values, words in (([1], "no object"), ({"sid": 1}, "there are no settings sid")):
        with pytest.raises(ValueError, match=words):
            thawed(values, rows(Box))
    with pytest.raises(ValueError, match="there is no edges, top"):
        thawed({"side": 1}, rows(Box), every=True)
