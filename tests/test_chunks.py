"""Chunks: what stays together in each tool, where a long prompt is cut, and the rules as plain tables of places."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stable_diffusion import StableDiffusion
from stable_diffusion.prompts.chunks import Chunk, by_commas, by_segments
from stable_diffusion.prompts.syntaxes import chunks_of
from stable_diffusion.prompts.tokenizer import CLIPTokenizer
from tests.commands import SD1
from tests.test_properties import often

COMMA = 0
ROOM = 75


def row(*ids: int) -> list[tuple[int, float]]:
    return [(i, 1.0) for i in ids]


def single(*ids: int) -> list[list[tuple[int, float]]]:
    return [row(i) for i in ids]


def lengths(chunks: list[Chunk]) -> list[int]:
    return [len(chunk) for chunk in chunks]


def test_a_comma_near_the_end_of_a_chunk_moves_what_follows_it_on() -> None:
    for place, kept in ((70, 71), (55, 56), (54, 75)):  # among the last 20, and just not
        words = single(*[1] * place, COMMA, *[2] * (100 - place))
        assert lengths(by_commas(words, ROOM, COMMA)) == [kept, 101 - kept]
    assert lengths(by_commas(single(*[1] * 74, COMMA), ROOM, COMMA)) == [75]  # nothing follows that would not fit
    # A comma that is the first too many goes on by itself.
    assert lengths(by_commas(single(*[1] * 75, COMMA, 2), ROOM, COMMA)) == [75, 2]
    assert lengths(by_commas(single(*[1] * 160), ROOM, None)) == [75, 75, 10]
    assert by_commas([], ROOM, COMMA) == [[]]


def test_an_embedding_that_does_not_fit_begins_the_next_chunk() -> None:
    for before, cut in ((67, [75, 1]), (68, [68, 9]), (74, [74, 9])):  # it has 8 vectors, and a word follows
        assert lengths(by_commas([*single(*[1] * before), row(*[9] * 8), row(1)], ROOM, COMMA)) == cut
    # A comma moves words on only where the chunk is full.
    ahead = [*single(*[1] * 60, COMMA), *single(*[1] * 10)]
    assert lengths(by_commas([*ahead, row(*[9] * 8)], ROOM, COMMA)) == [71, 8]
    assert lengths(by_commas([*ahead, *single(*[1] * 4), row(*[9] * 8)], ROOM, COMMA)) == [61, 22]
    # One that fits into no chunk is cut.
    assert lengths(by_commas([row(1), row(*[9] * 80), row(1)], ROOM, COMMA)) == [1, 75, 6]


def test_a_short_segment_moves_on_whole_and_a_long_one_is_cut() -> None:
    for before, size, cut in ((70, 5, [75]), (70, 6, [70, 6]), (70, 7, [70, 7]), (70, 8, [75, 3]), (75, 8, [75, 8])):
        assert lengths(by_segments([row(*[1] * before), row(*[2] * size)], ROOM, COMMA)) == cut
    assert lengths(by_segments([row(*[1] * 7)] * 12, ROOM, COMMA)) == [70, 14]
    assert lengths(by_segments([row(*[1] * 8)] * 12, ROOM, COMMA)) == [75, 21]
    assert lengths(by_segments([row(*[1] * 200)], ROOM, COMMA)) == [75, 75, 50]
    assert by_segments([], ROOM, COMMA) == [[]]


# The rules once more, as plainly as they can be said: what the code is measured by.


def segments_rule(sizes: list[int]) -> list[int]:
    """The chunk of every token: those of short segments that would reach over a border begin behind it."""
    chunk_of: list[int] = []
    place = 0  # on an endless tape
    for size in sizes:
        border = (place // ROOM + 1) * ROOM if place % ROOM else place + ROOM
        if size < 8 and place + size > border:
            place = border
        chunk_of += [(place + k) // ROOM for k in range(size)]
        place += size
    return chunk_of


def commas_rule(units: list[list[int]]) -> list[list[int]]:
    """Take what fits; of a full chunk with a comma among its last 20, give back all behind the comma."""
    if sum(map(len, units)) <= ROOM:
        return [[i for unit in units for i in unit]]
    fits = max(n for n in range(len(units)) if sum(map(len, units[:n])) <= ROOM)
    if sum(map(len, units[:fits])) == ROOM and units[fits] != [COMMA]:
        commas = [n for n in range(fits) if units[n] == [COMMA] and sum(map(len, units[:n])) >= ROOM - 20]
        if commas:
            fits = commas[-1] + 1
    return [[i for unit in units[:fits] for i in unit], *commas_rule(units[fits:])]


def check_segments(sizes: list[int]) -> None:
    segments = [row(*[number] * size) for number, size in enumerate(sizes)]
    chunks = by_segments(segments, ROOM, COMMA)
    assert [number for number, chunk in enumerate(chunks) for _ in chunk] == segments_rule(sizes), sizes
    assert [token for chunk in chunks for token in chunk] == [token for segment in segments for token in segment]


def check_commas(units: list[list[int]]) -> None:
    chunks = by_commas([row(*unit) for unit in units], ROOM, COMMA)
    assert [[i for i, _ in chunk] for chunk in chunks] == commas_rule(units), units


SIZES = st.lists(st.integers(1, 12) | st.integers(60, 90) | st.just(75), max_size=40)
UNITS = st.lists(st.sampled_from([[COMMA], [1], [1], [1], [2] * 3, [3] * 8, [4] * 20, [5] * 75]), max_size=160)
LONG = st.integers(40, 76).flatmap(lambda n: UNITS.map(lambda units: [*[[1]] * n, *units]))


@often
@given(sizes=SIZES)
def test_segments_are_cut_as_the_rule_says(sizes: list[int]) -> None:
    check_segments(sizes)


@often
@given(units=UNITS | LONG)
def test_commas_and_embeddings_cut_as_the_rule_says(units: list[list[int]]) -> None:
    check_commas(units)


@settings(max_examples=100, deadline=None)
@given(words=st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=100), max_size=40))
@pytest.mark.parametrize("cut", [by_commas, by_segments])
def test_chunks_hold_every_token_in_order(cut: Callable[..., list[Chunk]], words: list[list[int]]) -> None:
    chunks = cut([row(*word) for word in words], ROOM, COMMA)
    assert [i for chunk in chunks for i, _ in chunk] == [i for word in words for i in word]
    assert all(len(chunk) <= ROOM for chunk in chunks) and all(chunks[:-1])


# Whole prompts


@pytest.fixture(scope="module")
def tokenizer() -> CLIPTokenizer:
    (found,) = StableDiffusion(SD1, float16=False).texts.tokenizers
    found.teach({"eight": range(8), "<one>": [0]})
    return found


def cut(tokenizer: CLIPTokenizer, syntax: str, before: int, prompt: str) -> list[int]:
    """The lengths of the chunks of so many tokens and a prompt behind them; a letter is a token."""
    return lengths(chunks_of(" ".join("a" * before) + prompt, tokenizer, syntax))


def test_comfyui_keeps_a_segment_of_one_weight_together(tokenizer: CLIPTokenizer) -> None:
    assert cut(tokenizer, "comfyui", 73, " (b c d:1.2) e") == [73, 4]
    assert cut(tokenizer, "comfyui", 73, " (b c)(d) e") == [75, 2]
    assert cut(tokenizer, "comfyui", 73, " (b c d)(e f) e") == [73, 6]
    assert cut(tokenizer, "comfyui", 73, " b c d e") == [75, 2]  # no parenthesis: one long segment
    assert cut(tokenizer, "comfyui", 73, " (b c d e f g h i:0.9)") == [75, 6]
    assert cut(tokenizer, "a1111", 73, " (b c d:1.2) e") == [75, 2]
    # Within a word.
    letters = tokenizer.tokenize("qxzj", False, False)
    assert len(letters) > 2
    assert cut(tokenizer, "comfyui", 74, " qxzj") == [75, len(letters) - 1]


def test_embeddings_stay_whole_where_the_tool_keeps_them_whole(tokenizer: CLIPTokenizer) -> None:
    for syntax in ("plain", "a1111"):
        assert cut(tokenizer, syntax, 67, " eight b") == [75, 1]
        assert cut(tokenizer, syntax, 68, " eight b") == [68, 9]
        assert cut(tokenizer, syntax, 75, " <one> b") == [75, 2]
    # ComfyUI cuts one of 8 and more; a comma, and what follows it, is a segment of its own.
    assert cut(tokenizer, "comfyui", 68, " embedding:eight, b") == [75, 3]
    assert cut(tokenizer, "comfyui", 74, " embedding:<one>, b c") == [75, 3]
    assert cut(tokenizer, "comfyui", 73, " embedding:<one>, b c") == [74, 3]
    # One begins behind a space or a line's end, and the name may stand behind spaces.
    for written in (" embedding:eight", "\nembedding: eight ", " (embedding:eight)"):
        assert cut(tokenizer, "comfyui", 1, written) == [9]
    assert cut(tokenizer, "comfyui", 1, ",embedding:eight") > [10]
    with pytest.raises(ValueError, match="names the embedding ''"):
        chunks_of("a embedding: ", tokenizer, "comfyui")


def test_a_break_at_the_end_begins_nothing(tokenizer: CLIPTokenizer) -> None:
    assert len(chunks_of("a BREAK b BREAK", tokenizer, "a1111")) == 2
    assert len(chunks_of("BREAK a", tokenizer, "a1111")) == 2
    assert len(chunks_of("", tokenizer, "a1111")) == 1
