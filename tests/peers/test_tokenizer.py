"""The tokenizer against transformers' CLIPTokenizer, on any text."""

from pathlib import Path

import pytest
from families import tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import CLIPTokenizer as TheirTokenizer

from stable_diffusion.prompts.tokenizer import CLIPTokenizer
from stable_diffusion.weights.checkpoint import read_tokenizer
from stable_diffusion.weights.vocabulary import openai_tokenizer
from tests.texts import TEXTS


@pytest.fixture(scope="module", params=["<|endoftext|>", "!"])
def small(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[CLIPTokenizer, TheirTokenizer]:
    """A checkpoint's tokenizer, padded as SD 1.x and as SD 2.x are."""
    folder = tmp_path_factory.mktemp("tokenizer")
    theirs = tokenizer(folder, request.param)
    return CLIPTokenizer(*read_tokenizer(folder)), theirs


@pytest.fixture(scope="module")
def openai() -> tuple[CLIPTokenizer, TheirTokenizer]:
    vocab, merges, pad = openai_tokenizer()
    theirs = TheirTokenizer(vocab=dict(vocab), merges=merges, pad_token=pad, model_max_length=77)
    return CLIPTokenizer(vocab, merges, pad), theirs


def their_ids(theirs: TheirTokenizer, text: str) -> list[int]:
    return theirs(text, padding="max_length", max_length=77, truncation=True).input_ids


@pytest.mark.parametrize("text", TEXTS)
def test_ids_are_transformers(text: str, openai: tuple, small: tuple) -> None:
    for ours, theirs in (openai, small):
        assert ours(text)[0] == their_ids(theirs, text)


@settings(max_examples=500, deadline=None)
@given(text=st.text(max_size=120))
def test_ids_are_transformers_for_any_text(openai: tuple, small: tuple, text: str) -> None:
    for ours, theirs in (openai, small):
        ids, dropped = ours(text)
        assert ids == their_ids(theirs, text)
        assert text.strip().endswith(dropped)


@pytest.mark.parametrize("new", [["<cat-toy>"], ["sks", "Mixed Case", "über"], ["!!", "a b"]])
def test_added_words_are_found_as_transformers_finds_them(
    new: list[str], small: tuple[CLIPTokenizer, TheirTokenizer], tmp_path: Path
) -> None:
    theirs = tokenizer(tmp_path, "!")
    theirs.add_tokens(new)
    theirs.save_pretrained(tmp_path)
    ours = CLIPTokenizer(*read_tokenizer(tmp_path))
    for text in (*TEXTS, "a <cat-toy> sks", "<CAT-TOY>s and SKSy things", "Mixed Case, mixed case", "ÜBER a b !!! ab"):
        assert ours(text)[0] == their_ids(theirs, text), text
