"""The tokenizer against what transformers made of the same texts: tests/make_token_ids.py."""

import json
from pathlib import Path

import pytest

from stable_diffusion.prompts.tokenizer import CLIPTokenizer
from stable_diffusion.weights.vocabulary import openai_tokenizer
from tests.texts import TEXTS

WANTED = json.loads((Path(__file__).parent / "data" / "token_ids.json").read_text())


@pytest.fixture(scope="module")
def tokenizer() -> CLIPTokenizer:
    return CLIPTokenizer(*openai_tokenizer())


@pytest.mark.parametrize(("text", "wanted"), list(zip(TEXTS, WANTED, strict=True)))
def test_ids_are_transformers(tokenizer: CLIPTokenizer, text: str, wanted: list[int]) -> None:
    ids, _ = tokenizer(text)
    assert len(ids) == 77
    assert ids == wanted + [tokenizer.pad] * (77 - len(wanted))


def test_a_text_that_fits_loses_nothing(tokenizer: CLIPTokenizer) -> None:
    assert tokenizer("house " * 75)[1] == ""
    assert tokenizer("")[1] == ""


def test_words_beyond_77_tokens_are_named(tokenizer: CLIPTokenizer) -> None:
    ids, dropped = tokenizer("house " * 75 + "Café  by the sea")
    assert dropped == "Café  by the sea"
    assert ids[-1] == tokenizer.eos
    assert len(ids) == 77


def test_the_checkpoints_own_pad_token_is_used() -> None:
    vocab, merges, _ = openai_tokenizer()
    ids, _ = CLIPTokenizer(vocab, merges, pad_token="!")("a cat")
    assert ids[4:] == [0] * 73
    with pytest.raises(ValueError, match="no '<pad>'"):
        CLIPTokenizer(vocab, merges, pad_token="<pad>")
