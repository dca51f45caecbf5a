"""A text in AUTOMATIC1111's form, taken apart."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stable_diffusion.exchange.infotext import split
from tests.test_properties import often

LINE = "Steps: 4, Sampler: Euler a, CFG scale: 7, Seed: 77, Size: 128x128"


@pytest.mark.parametrize(
    "value",
    [
        '[{"a": "x, Seed: 5, Size: big"}, {"b": [1, 2]}]', '{"a": {"b": "}, Seed: 5"}}', "[]", "{}", "[a:b:0.5]",
        '["\\" ], Seed: 5, "]', "{'a': 1, 'Seed': 5}", '"so \\"quoted\\", Seed: 5"', "[Seed: 5, [Seed: 6], {Seed: 7}]",
    ],
)  # fmt: skip
def test_a_value_in_brackets_or_quotes_is_skipped_to_its_end(value: str) -> None:
    for text in (f"a\n{LINE}, X: {value}, Y: 1", f"a\nX: {value}, {LINE}, Y: 1", f"a\n{LINE}\nX: {value}, Y: 1"):
        found = split(text)
        assert (found.pairs["X"], found.pairs["Seed"], found.pairs["Y"]) == (value, "77", "1"), text
        assert found.strange == []


@pytest.mark.parametrize("value", ["[a, b: (c", '{"a": 5', '"half', '["a, b'])
def test_what_is_never_closed_ends_at_the_comma(value: str) -> None:
    found = split(f"a\nX: {value}, {LINE}, Y: [1, 2]")
    assert found.pairs["Seed"] == "77" and found.pairs["X"].startswith(value.split(",")[0])


def test_the_first_of_a_name_counts_and_another_is_named() -> None:
    found = split(f"a\n{LINE}, Seed: 5, Seed: 77\nSize: 64x64")
    assert (found.pairs["Seed"], found.pairs["Size"]) == ("77", "128x128")
    assert found.strange == ["Seed: 5", "Size: 64x64"]


def test_words_without_a_name_belong_to_the_value_before_them() -> None:
    found = split(f"a\n{LINE}, odd words, Notes: one, two, three\nTemplate: a, b\nlast")
    assert found.pairs["Notes"] == "one, two, three" and found.pairs["Template"] == "a, b"
    assert found.strange == ["odd words", "last"]


def test_bars_part_names_where_commas_do_not() -> None:
    assert split("a\nSteps: 4 | Seed: 5 | Size: 8x8 | Note: x, y").pairs["Seed"] == "5"
    assert split(f"a\n{LINE}, Note: b | c | d").pairs["Note"] == "b | c | d"


@often
@given(values=st.lists(st.text(max_size=20), max_size=5), names=st.text("ab:,[{\"'\n |", max_size=30))
def test_every_word_of_the_line_is_a_value_or_named(values: list[str], names: str) -> None:
    words = [f"q{i}z" for i in range(len(values))]
    line = ", ".join(f"{value[:10]}{word}{value[10:]}" for value, word in zip(values, words, strict=True))
    found = split(f"{LINE}, {line}{names}")
    told = " ".join([*found.pairs, *found.pairs.values(), *found.strange, found.prompt, found.negative])
    assert not [word for word in words if word not in told]


PARTS = ("a", "a, ", "a: [", "a: {", 'a: "', 'a: ["', '"', "[", "]", ",a", "a\n", " | ", "a: 1 | ", "\\", 'a: "b" c, ')


@pytest.mark.parametrize("part", PARTS)
def test_no_text_keeps_the_reader_busy(part: str) -> None:
    started = time.perf_counter()
    for text in ((part * 200_000)[:200_000], f"a\n{LINE}, {part * 50_000}", f"{part * 50_000}\n{LINE}"):
        split(text)
    assert time.perf_counter() - started < 8
