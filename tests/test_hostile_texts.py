"""Texts that would keep a careless reader busy for hours: every reader of text is done with them in linear time.

Patterns that look back, brackets that are searched for once more each, texts that grow by a letter at a time: all take
quadratic time, and that is a quarter of a minute and more for 99,000 letters.
"""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stable_diffusion import StableDiffusion
from stable_diffusion.exchange.tools import read_tool
from stable_diffusion.jobs.axes import READERS, read_axis
from stable_diffusion.jobs.kinds import read_strengths
from stable_diffusion.jobs.lines import read_lines
from stable_diffusion.jobs.model import TAUGHT
from stable_diffusion.prompts.editing import NEGATIVE_PROMPTS, PROMPTS
from stable_diffusion.prompts.flags import flags_of
from stable_diffusion.prompts.literal import literal
from stable_diffusion.prompts.loras import lora_tags
from stable_diffusion.prompts.syntaxes import SYNTAXES, chunks_of
from stable_diffusion.prompts.tokenizer import CLIPTokenizer
from stable_diffusion.settings import read_perturbation
from stable_diffusion.values import line
from tests.commands import SD1
from tests.sentences import check_sentence

MOST = 99_000  # letters
LIMIT = 6.0  # seconds of this process; a linear reader takes one at the most, where nothing else goes on
NEST = 90  # brackets

SINGLE = [*"a1 \n\t\\\"'()[]{}<>:|,.;=-+_#é日\u2028²", "\0", "\u0301"]
PAIRS = [
    "()", "[]", "(a)", "[a:b:1]", "[a|b]", "[a:", "[a:b:", "(a:", "[a|", "<lora:", "<lora:a:1>", "a ", "a,", "\\(",
    "\\\\(", " BREAK ", " AND ", "a:1 AND ", " embedding:", "1.", "1e", "1:", "5:0.1,", "--", " --n ", "--prompt ",
    ' "a"', 'a:"', "Steps: 1, ", "\nNegative prompt:", "\r\n", '{"a":', "one ",
]  # fmt: skip
FRAMES = [("(" * NEST, ")" * NEST), ("[" * NEST, ":1]" * NEST), ("[a:", ""), ('--prompt "', '"'), ("a --n ", "")]
TRAPS = [before + (trap * MOST)[: MOST - 4 * NEST] + after for trap in (*SINGLE, *PAIRS) for before, after in FRAMES]
UNFRAMED = [(trap * MOST)[:MOST] for trap in (*SINGLE, *PAIRS)]
BETWEEN = [f"a{trap}b" for trap in UNFRAMED]


def in_time(read: Callable[[str], Any], texts: list[str]) -> None:
    """Read texts, or refuse them in a sentence; none may take long."""
    for text in texts:
        said = ""
        started = time.process_time()
        try:
            read(text)
        except ValueError as error:
            said = str(error)
        took = time.process_time() - started
        assert took < LIMIT, f"{took:.1f} s for {text[:200]!r}"
        if said:
            check_sentence(f"error: {said}")


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_grammars(syntax: str) -> None:
    in_time(SYNTAXES[syntax].parse, [*TRAPS[::7], *BETWEEN[::2], f"a{' ' * MOST}b"])


@pytest.mark.parametrize("kinds", [PROMPTS, NEGATIVE_PROMPTS])
def test_prompts_that_change(kinds: dict[str, Any]) -> None:
    in_time(lambda text: kinds["a1111"](text, 50), [*TRAPS[1::9], *UNFRAMED[::5]])


def test_tags_of_loras_and_words_that_are_taken_literally() -> None:
    in_time(lora_tags, [*UNFRAMED, *BETWEEN])
    for syntax in SYNTAXES:
        in_time(lambda text: (literal(text, syntax), literal(text, syntax, True)), UNFRAMED[::3])  # noqa: B023


@pytest.fixture(scope="module")
def tokenizer() -> CLIPTokenizer:
    (found,) = StableDiffusion(SD1, float16=False).texts.tokenizers
    found.teach({"one": [1, 2]})
    return found


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_tokens_and_chunks(syntax: str, tokenizer: CLIPTokenizer) -> None:
    in_time(lambda text: chunks_of(text, tokenizer, syntax), UNFRAMED[::9])


def test_prompt_files(tmp_path: Path) -> None:
    def read(text: str) -> None:
        for suffix in (".txt", ".csv", ".jsonl"):
            file = tmp_path / f"p{suffix}"
            file.write_text(text, encoding="utf-8")
            with contextlib.suppress(ValueError):
                read_lines(str(file))

    in_time(read, [*UNFRAMED, *(f"prompt\n{text}" for text in UNFRAMED[::3])])
    in_time(flags_of, [text.strip() for text in TRAPS[::2]])


@pytest.mark.parametrize("keyword", ["parameters", "prompt", "Comment"])
def test_texts_of_pictures(keyword: str) -> None:
    def read(text: str) -> None:
        with contextlib.suppress(ValueError):
            read_tool({keyword: text})

    numbers = "a\nSteps: 1, Sampler: {}, Seed: 4, Size: 8x8"
    in_time(read, [*UNFRAMED, *(numbers.replace("{}", text) for text in UNFRAMED[::3])])


def test_words_of_options() -> None:
    readers = [*READERS.values(), read_axis, read_strengths, read_perturbation, TAUGHT.read, line]
    for read in readers:
        in_time(read, UNFRAMED[::3])
    for name in ("prompt", "seed", "sampler", "sigmas", "lora"):
        in_time(read_axis, [f"{name}={text}" for text in UNFRAMED[::3]])
    in_time(read_strengths, ["²", "9" * 5000, "1:" * 3, "1,²"])
