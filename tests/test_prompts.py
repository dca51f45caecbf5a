"""Prompts: what other tools' brackets and breaks mean."""

import contextlib
import math
import re
import time

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stable_diffusion import StableDiffusion
from stable_diffusion.models.text import by_the_mean, from_empty
from stable_diffusion.prompts.a1111 import a1111
from stable_diffusion.prompts.comfyui import comfyui
from stable_diffusion.prompts.pieces import Piece
from stable_diffusion.prompts.syntaxes import SYNTAXES
from tests.commands import SD1
from tests.test_properties import often


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
        # Neighbours of one weight are told apart, and halves of a word are words.
        ("(a)(b) c(d:1)", [("a", 1.1), ("b", 1.1), (" c", 1), ("d", 1)]),
        ("a (b", [("a ", 1), ("(b", 1)]),
        # One that is never closed takes the last of the text for its partner.
        ("x ((a) (b:2)", [("x ", 1), ("a", 2.2), (" ", 2), ("(b", 2)]),
        (r"x ((a\)", [("x ", 1), ("((a)", 1)]),
        ("a) (b (c:2)", [("a) (b ", 1), ("c", 2)]),
        (r"(a:1\:2) (\(b\):1.5)", [("a:1\\", 2), (" ", 1), ("(b)", 1.5)]),
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


# The rules once more, as plainly as they can be said, however slow: what the readers are measured by.


def a1111_rule(prompt: str) -> list[tuple[str, float]]:
    """Letters, each with the product of all brackets around it."""
    letters: list[str] = []
    spans: list[tuple[int, int, float]] = []
    opened: dict[str, list[int]] = {"(": [], "[": []}
    at = 0
    while at < len(prompt):
        here = prompt[at]
        number = re.match(r":([+-]?[.\d]+)\)", prompt[at:])
        if here == "\\":
            escapes = prompt[at + 1 : at + 2] in tuple("()[]\\")
            letters += prompt[at + 1] if escapes else ""
            at += 2 if escapes else 1
        elif here in opened:
            opened[here].append(len(letters))
            at += 1
        elif number and opened["("] and re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)", number[1]):
            spans.append((opened["("].pop(), len(letters), float(number[1])))
            at += number.end()
        elif number and number.end() > 1:  # of no bracket, or of two points: words
            letters += number.group()
            at += number.end()
        elif here in ")]" and opened["(" if here == ")" else "["]:
            spans.append((opened["(" if here == ")" else "["].pop(), len(letters), 1.1 if here == ")" else 1 / 1.1))
            at += 1
        else:
            letters.append(here)
            at += 1
    spans += [(start, len(letters), 1.1) for start in opened["("]]
    spans += [(start, len(letters), 1 / 1.1) for start in opened["["]]
    return [
        (letter, math.prod(factor for start, end, factor in spans if start <= place < end))
        for place, letter in enumerate(letters)
    ]


def comfyui_rule(prompt: str, weight: float = 1.0) -> list[tuple[str, float]]:
    """Cut where the count of open parentheses leaves 0 and where it comes back; what is in a pair, by the same rule."""
    parts, depth = [""], 0
    for sign in re.findall(r"\\[()]|.", prompt, re.DOTALL):
        if sign == "(" and depth == 0:
            parts.append("")
        parts[-1] += sign
        depth += {"(": 1, ")": -1}.get(sign, 0)
        if sign == ")" and depth == 0:
            parts.append("")
    found = []
    for part in filter(None, parts):
        if part[0] == "(" and len(part) > 1 and part[-1] == ")" and not part.endswith("\\)"):
            words, number = part[1:-1], weight * 1.1
            at = words.rfind(":")
            with contextlib.suppress(ValueError):
                if at > 0 and math.isfinite(own := float(words[at + 1 :])):
                    words, number = words[:at], own
            found += comfyui_rule(words, number)
        else:
            found.append((part.replace("\\(", "(").replace("\\)", ")"), weight))
    return found


def check_rules(prompt: str) -> None:
    found = [(letter, p.weight) for section in a1111(prompt) for p in section for letter in p.text]
    wanted = a1111_rule(prompt)
    assert [letter for letter, _ in found] == [letter for letter, _ in wanted], prompt
    assert np.allclose([w for _, w in found], [w for _, w in wanted], rtol=1e-9), prompt
    (pieces,) = comfyui(prompt)
    assert [(p.text, p.weight) for p in pieces] == (comfyui_rule(prompt) or [("", 1.0)]), prompt


BRACKETS = st.lists(
    st.sampled_from([*"ab ,:()()()[]\\.1-\n", ":1.3)", "(a:0.5)", "(b)", "\\(", "\\)"]), max_size=40
).map("".join)


@often
@given(prompt=BRACKETS)
def test_weights_are_as_the_rules_say(prompt: str) -> None:
    check_rules(prompt)


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
