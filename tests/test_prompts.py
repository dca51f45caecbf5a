"""Prompts: what other tools' brackets and breaks mean, and how long ones are cut."""

import contextlib
import time
from collections.abc import Callable

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stable_diffusion import StableDiffusion
from stable_diffusion.models.text import by_the_mean, from_empty
from stable_diffusion.prompts.a1111 import a1111
from stable_diffusion.prompts.chunks import Chunk, by_commas, by_words
from stable_diffusion.prompts.comfyui import comfyui
from stable_diffusion.prompts.pieces import Piece
from stable_diffusion.prompts.syntaxes import SYNTAXES, chunks_of
from tests.commands import SD1


def weights(sections: list[list[Piece]]) -> list[tuple[str, float]]:
    (section,) = sections
    return [(piece.text, round(piece.weight, 6)) for piece in section]


@pytest.mark.parametrize(
    ("prompt", "pieces"),
    [
        # The examples in AUTOMATIC1111's prompt_parser.py.
        ("normal text", [("normal text", 1)]),
        ("an (important) word", [("an ", 1), ("important", 1.1), (" word", 1)]),
        ("(unbalanced", [("unbalanced", 1.1)]),
        (r"\(literal\]", [("(literal]", 1)]),
        ("(unnecessary)(parens)", [("unnecessaryparens", 1.1)]),
        ("a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).",
         [("a ", 1), ("house", 1.573), (" ", 1.1), ("on", 1), (" a ", 1.1), ("hill", 0.55), (", sun, ", 1.1),
          ("sky", 1.4641), (".", 1.1)]),
        ("[[a]]", [("a", round(1 / 1.21, 6))]),
        ("a) b] (c:1.2.3)", [("a) b] ", 1), ("c:1.2.3)", 1.1)]),
        ("a:1.3) b", [("a:1.3) b", 1)]),
        ("(a:-.5)", [("a", -0.5)]),
        (r"a \\ b \c", [(r"a \ b c", 1)]),
        ("", [("", 1)]),
    ],
)  # fmt: skip
def test_a1111s_brackets(prompt: str, pieces: list[tuple[str, float]]) -> None:
    assert weights(a1111(prompt)) == pieces


def test_breaks_begin_sections_and_brackets_reach_over_them() -> None:
    assert a1111("a BREAK b,BREAK") == [[Piece("a")], [Piece("b,")], [Piece("")]]
    assert a1111("(a BREAK b:2) BREAKS") == [[Piece("a", 2)], [Piece("b", 2), Piece(" BREAKS")]]


@pytest.mark.parametrize(
    ("prompt", "pieces"),
    [
        ("an (important) word", [("an ", 1), ("important", 1.1), (" word", 1)]),
        ("((a) b:1.3)", [("a", 1.43), (" b", 1.3)]),
        ("((a:0.5) b)", [("a", 0.5), (" b", 1.1)]),  # an inner number replaces what is around it
        (r"\(a\) (b:2)", [("(a) ", 1), ("b", 2)]),
        ("(a", [("(a", 1)]),
        ("a) (b) c", [("a) (b) c", 1)]),
        ("[a] (b:x) (c:nan)", [("[a] ", 1), ("b:x", 1.1), (" ", 1), ("c:nan", 1.1)]),
        ("(:2)", [(":2", 1.1)]),
        ("a BREAK b", [("a BREAK b", 1)]),
        ("", [("", 1)]),
    ],
)
def test_comfyuis_parentheses(prompt: str, pieces: list[tuple[str, float]]) -> None:
    assert weights(comfyui(prompt)) == pieces


MARKS = st.text(alphabet=st.sampled_from(list("ab ,:()[]\\.1-+|BREAK\n")), max_size=80)


@settings(max_examples=400, deadline=None)
@given(prompt=st.one_of(st.text(max_size=80), MARKS), syntax=st.sampled_from(sorted(SYNTAXES)))
def test_any_text_parses_and_no_letter_is_lost(prompt: str, syntax: str) -> None:
    sections = SYNTAXES[syntax].parse(prompt)
    assert sections and all(sections)
    assert all(np.isfinite(piece.weight) for section in sections for piece in section)
    said = "".join(piece.text for section in sections for piece in section)
    for letter in set("ab,\n") & set(prompt):
        if syntax != "a1111" or "BREAK" not in prompt:
            assert said.count(letter) == prompt.count(letter)


@settings(max_examples=200, deadline=None)
@given(prompt=st.text(alphabet=st.characters(exclude_characters="()[]\\", exclude_categories=["Cs", "Co"])))
def test_words_without_brackets_weigh_1(prompt: str) -> None:
    for name, syntax in SYNTAXES.items():
        if name != "a1111" or "BREAK" not in prompt:
            assert syntax.parse(prompt) == [[Piece(prompt)]]


@pytest.mark.parametrize("trap", ["(", "(a", "[a(", "()", ":1)", "\\", "a BREAK ", "(" * 200 + "a" + ")" * 200])
@pytest.mark.parametrize("syntax", ["a1111", "comfyui"])
def test_no_prompt_keeps_the_parser_busy(syntax: str, trap: str) -> None:
    started = time.perf_counter()
    with contextlib.suppress(ValueError):
        SYNTAXES[syntax].parse((trap * 50_000)[:50_000])
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize("syntax", ["a1111", "comfyui"])
def test_too_many_brackets_within_one_another_are_one_sentence(syntax: str) -> None:
    assert SYNTAXES[syntax].parse("(" * 100 + "a" + ")" * 100)
    with pytest.raises(ValueError, match="more than 100 brackets within one another"):
        SYNTAXES[syntax].parse("(" * 101 + "a" + ")" * 101)


# Chunks


def row(*ids: int) -> list[tuple[int, float]]:
    return [(i, 1.0) for i in ids]


COMMA = 0


def lengths(chunks: list[Chunk]) -> list[int]:
    return [len(chunk) for chunk in chunks]


def test_a_comma_near_the_end_of_a_chunk_moves_what_follows_it_on() -> None:
    for place, kept in ((70, 71), (55, 56), (54, 75)):  # among the last 20, and just not
        words = row(*[1] * place, COMMA, *[2] * (100 - place))
        assert lengths(by_commas([words], 75, COMMA)) == [kept, 101 - kept]
    assert lengths(by_commas([row(*[1] * 74, COMMA)], 75, COMMA)) == [75]  # nothing follows that would not fit
    # A comma that is the first too many goes on by itself.
    assert lengths(by_commas([row(*[1] * 75, COMMA, 2)], 75, COMMA)) == [75, 2]
    assert lengths(by_commas([row(*[1] * 160)], 75, None)) == [75, 75, 10]
    assert by_commas([], 75, COMMA) == [[]]


def test_words_are_not_cut_unless_they_are_long() -> None:
    assert lengths(by_words([row(*[1] * 7)] * 12, 75, None)) == [70, 14]
    assert lengths(by_words([row(*[1] * 8)] * 12, 75, None)) == [75, 21]
    assert lengths(by_words([row(*[1] * 200)], 75, None)) == [75, 75, 50]
    assert by_words([], 75, None) == [[]]


@settings(max_examples=100, deadline=None)
@given(words=st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=30), max_size=40))
@pytest.mark.parametrize("cut", [by_commas, by_words])
def test_chunks_hold_every_token_in_order(cut: Callable[..., list[Chunk]], words: list[list[int]]) -> None:
    chunks = cut([row(*word) for word in words], 75, COMMA)
    assert [i for chunk in chunks for i, _ in chunk] == [i for word in words for i in word]
    assert all(len(chunk) <= 75 for chunk in chunks) and all(chunks[:-1])


# Weights


def test_a_weight_keeps_the_mean_of_its_chunk_or_leaves_the_empty_prompt() -> None:
    rng = np.random.default_rng(0)
    z, z0 = (mx.array(rng.normal(1, 1, shape).astype(np.float32)) for shape in ((2, 77, 6), (1, 77, 6)))
    w = mx.array(rng.uniform(0.5, 1.5, (2, 77)).astype(np.float32))
    kept = np.array(by_the_mean(z[None], w[None], lambda: z0, [1]))[0]
    assert np.allclose(kept.mean(axis=(1, 2)), np.array(z).mean(axis=(1, 2)), atol=1e-5)
    ratio = kept / (np.array(z) * np.array(w)[..., None])
    assert np.allclose(ratio, ratio[:, :1, :1], rtol=1e-4)  # one factor a chunk
    moved = from_empty(z[None], w[None], lambda: z0, [1])[0]
    assert np.allclose(np.array(moved - z0), np.array(w)[..., None] * np.array(z - z0), atol=1e-5)


def test_a_prompt_of_weight_1_is_the_plain_prompt() -> None:
    texts = StableDiffusion(SD1, float16=False).texts
    plain, _ = texts.encode("a house by the sea")
    for syntax in ("a1111", "comfyui"):
        assert mx.array_equal(texts.encode("a house by the (sea:1.0)", syntax=syntax)[0].context, plain.context)
        assert not mx.array_equal(texts.encode("a house by the (sea:1.2)", syntax=syntax)[0].context, plain.context)


def test_a_break_at_the_end_begins_nothing() -> None:
    (tokenizer,) = StableDiffusion(SD1, float16=False).texts.tokenizers
    assert len(chunks_of("a BREAK b BREAK", tokenizer, "a1111")) == 2
    assert len(chunks_of("BREAK a", tokenizer, "a1111")) == 2
    assert len(chunks_of("", tokenizer, "a1111")) == 1
