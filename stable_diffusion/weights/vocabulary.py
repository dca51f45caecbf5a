"""OpenAI's CLIP vocabulary, for checkpoints that bring none of their own."""

import gzip
from pathlib import Path

MERGES = Path(__file__).parent / "clip_merges.txt.gz"  # of OpenAI's CLIP, with its licence beside it
ENDS = ("<|startoftext|>", "<|endoftext|>")


def openai_tokenizer() -> tuple[dict[str, int], list[tuple[str, str]], str]:
    """The vocabulary, merges and padding of OpenAI's CLIP (Radford et al. 2021).

    49,408 tokens: 256 bytes, the same at the end of a word, what 48,894 merges join, and the two ends of a text.
    """
    with gzip.open(MERGES, "rt", encoding="utf-8") as file:
        _, *lines = file.read().strip().split("\n")
    merges = [(left, right) for left, right in (line.split() for line in lines)]
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    symbols = [chr(code) for code in (*printable, *range(256, 512 - len(printable)))]
    ends_of_words = [f"{symbol}</w>" for symbol in symbols]
    tokens = [*symbols, *ends_of_words, *(left + right for left, right in merges), *ENDS]
    return {token: i for i, token in enumerate(tokens)}, merges, ENDS[1]
