"""How each tool reads a prompt, and cuts a long one into chunks."""

from collections.abc import Callable
from dataclasses import dataclass

from .a1111 import a1111
from .chunks import Chunk, Token, by_commas, by_segments
from .comfyui import comfyui, segments
from .pieces import Section, plain
from .tokenizer import CLIPTokenizer


@dataclass(frozen=True)
class Syntax:
    """How one tool parses a prompt, what of a piece's ids stays together there, and how it cuts them into chunks."""

    parse: Callable[[str], list[Section]]
    units: Callable[[str, CLIPTokenizer], list[list[int]]]
    cut: Callable[[list[list[Token]], int, int | None], list[Chunk]]


def _units(text: str, tokenizer: CLIPTokenizer) -> list[list[int]]:
    return tokenizer.units(text)


SYNTAXES = {
    "plain": Syntax(plain, _units, by_commas),
    "a1111": Syntax(a1111, _units, by_commas),
    "comfyui": Syntax(comfyui, segments, by_segments),
}


def chunks_of(prompt: str, tokenizer: CLIPTokenizer, syntax: str) -> list[Chunk]:
    """A prompt as chunks of up to 75 tokens, at least one.

    Raises ValueError for too many brackets in one another, and for an embedding that nobody named.
    """
    way = SYNTAXES[syntax]
    chunks: list[Chunk] = []
    for section in way.parse(prompt):
        units = [[(i, piece.weight) for i in unit] for piece in section for unit in way.units(piece.text, tokenizer)]
        chunks += way.cut(units, tokenizer.length - 2, tokenizer.comma)
    # A break at the end begins nothing.
    return chunks[:-1] if len(chunks) > 1 and not chunks[-1] else chunks
