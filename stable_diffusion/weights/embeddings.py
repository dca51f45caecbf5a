"""Textual inversion: words that a person has taught, as vectors that take the place of tokens (Gal et al. 2022)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import mlx.core as mx

from ..models.text import TextNets
from .checkpoint import CONVERT, CheckpointError
from .kinds import EMBEDDING, UNKNOWN, VECTORS, kind_of, listed, mistaken
from .tensors import open_tensors, read_header

_XL = ("clip_l", "clip_g")


@dataclass(frozen=True)
class Embedding:
    """A word, and its vectors for each text encoder: (n, width) each."""

    word: str
    vectors: Sequence[mx.array]
    source: str
    unused: Sequence[str] = ()  # tensors beside them


def read_embedding(file: Path, word: str | None, widths: Sequence[int], family: str) -> Embedding:
    """An embedding for text encoders of these widths; its word is the one given, or its token, or the file's stem.

    Raises CheckpointError, one sentence, for a file that is damaged, something else, or for another family.
    """
    if file.suffix.lower() in (".pt", ".bin", ".pth"):
        raise CheckpointError(
            f"{file} is a pickle, which may run code when it is read: make a .safetensors file of it first with "
            f"{CONVERT}"
        )
    header = read_header(file)
    kind, shapes = kind_of(header), list(header.shapes.values())
    alone = kind.what == UNKNOWN and len(shapes) == 1 and len(shapes[0]) in (1, 2)  # whatever its name
    if not alone and (kind.option != EMBEDDING or kind.remedy):
        raise mistaken(header, EMBEDDING)
    tensors, _ = open_tensors(file)
    return embedding_of(tensors, word, widths, family, file.stem, str(file))


def embedding_of(
    tensors: Mapping[str, mx.array], word: str | None, widths: Sequence[int], family: str, stem: str, source: str
) -> Embedding:
    """An embedding from its tensors. Raises CheckpointError."""
    names = [name for name in sorted(tensors) if VECTORS.fullmatch(name)] if len(tensors) > 1 else list(tensors)
    if set(_XL) <= set(names):
        names = list(_XL)
    if not names or (len(names) > 1 and names != list(_XL)):
        raise CheckpointError(f"{source} is no textual inversion for one word: it has {listed(sorted(tensors))}")
    own = names[0] if not VECTORS.fullmatch(names[0]) else None
    found = [tensors[name] for name in names]
    for array in found:
        if not mx.issubdtype(array.dtype, mx.floating) or not mx.isfinite(array).all():
            raise CheckpointError(f"{source} holds a NaN, an infinite number, or whole numbers: name another file")
    if len(found) > len(widths):
        raise _refused(source, "is an embedding for SD XL", family)
    found = [array[None] if array.ndim == 1 else array for array in found]
    if len(found) != len(widths):
        raise _refused(source, f"is an embedding for one text encoder, of shape {tuple(found[0].shape)}", family)
    for array, width in zip(found, widths, strict=True):
        if array.ndim != 2 or array.shape[1] != width or not array.shape[0]:
            raise _refused(source, f"is an embedding of shape {tuple(array.shape)}", f"{family}, whose are of {width}")
    if len({array.shape[0] for array in found}) > 1:
        raise CheckpointError(f"{source} has {found[0].shape[0]} vectors for one text encoder, and {found[1].shape[0]}")
    spelled = word or own or stem
    if not spelled.strip() or any(c.isspace() for c in spelled):
        raise CheckpointError(f"{source}: its word {spelled!r} has spaces: name another, as in PATH:WORD")
    return Embedding(spelled, found, source, sorted(tensors.keys() - set(names)))


def _refused(source: str, what: str, family: str) -> CheckpointError:
    return CheckpointError(f"{source} {what}, and this model is {family}: name one that was made for it")


def teach(texts: TextNets, embeddings: Sequence[Embedding]) -> None:
    """Add the vectors to the text encoders' tables, and the words to their tokenizers. Raises CheckpointError."""
    words = [embedding.word.lower() for embedding in embeddings]
    if twice := next((word for word in words if words.count(word) > 1), None):
        raise CheckpointError(f"two embeddings have the word {twice!r}: name another for one of them, as in PATH:WORD")
    for i, (encoder, tokenizer) in enumerate(zip(texts.encoders, texts.tokenizers, strict=True)):
        table = encoder.embeddings.token_embedding
        rows = [table.weight]
        at = table.weight.shape[0]
        known: dict[str, list[int]] = {}
        for embedding in embeddings:
            vectors = embedding.vectors[i].astype(table.weight.dtype)
            rows.append(vectors)
            known[embedding.word] = list(range(at, at + vectors.shape[0]))
            at += vectors.shape[0]
        table.weight = mx.concatenate(rows)
        tokenizer.teach(known)
        if encoder.config.eos_token_id == 2:  # there the highest id marks the end, and these are higher
            encoder.config = replace(encoder.config, eos_token_id=tokenizer.eos)
