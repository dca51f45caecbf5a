"""How each tool reads a prompt, and cuts a long one into chunks."""

from collections.abc import Callable
from dataclasses import dataclass

from .a1111 import a1111
from .chunks import Chunk, Token, by_commas, by_words
from .comfyui import comfyui
from .pieces import Piece, Section, plain
from .tokenizer import CLIPTokenizer


@dataclass(frozen=True)
class Syntax:
    """How one tool parses a prompt and cuts it."""

    parse: Callable[[str], list[Section]]
    cut: Callable[[list[list[Token]], int, int | None], list[Chunk]]
    apart: bool = False  # words between spaces are tokenized one by one


SYNTAXES = {
    "plain": Syntax(plain, by_commas),
    "a1111": Syntax(a1111, by_commas),
    "comfyui": Syntax(comfyui, by_words, apart=True),
}


EMBEDDING = "embedding:"  # before the name of one, in ComfyUI's prompts


def _ids_of(part: str, tokenizer: CLIPTokenizer, named: bool) -> list[list[int]]:
    """The ids of a part of a prompt; named: an embedding and the commas behind it are two words."""
    if not (named and part.startswith(EMBEDDING)):
        return [tokenizer.tokenize(part, False, False)]
    name = part.removeprefix(EMBEDDING)
    word = name.rstrip(",")
    for ending in (".safetensors", ".pt", ".bin"):
        word = word.removesuffix(ending)
    return [tokenizer.taught(word), tokenizer.tokenize(name[len(name.rstrip(",")) :], False, False)]


def chunks_of(prompt: str, tokenizer: CLIPTokenizer, syntax: str) -> list[Chunk]:
    """A prompt as chunks of up to 75 tokens, at least one.

    Raises ValueError for too many brackets in one another, and for an embedding that nobody named.
    """
    way = SYNTAXES[syntax]

    def words(piece: Piece) -> list[list[Token]]:
        parts = piece.text.replace("\n", " ").split(" ") if way.apart else [piece.text]
        return [[(i, piece.weight) for i in ids] for part in parts for ids in _ids_of(part, tokenizer, way.apart)]

    chunks: list[Chunk] = []
    for section in way.parse(prompt):
        chunks += way.cut([word for piece in section for word in words(piece)], tokenizer.length - 2, tokenizer.comma)
    # A break at the end begins nothing.
    return chunks[:-1] if len(chunks) > 1 and not chunks[-1] else chunks
