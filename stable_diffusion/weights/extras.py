"""What a person puts on top of a checkpoint: LoRAs and embeddings, found, read, and put into its nets."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn

from ..models.text import TextNets
from ..presets import Defaults, distilled_of
from .checkpoint import CheckpointError
from .embeddings import Embedding, embedding_of, read_embedding, teach
from .fit import switched_off, unfit, without_narrow
from .fuse import fuse
from .kinds import listed
from .locate import locate_extra
from .lora import LoRA, read_lora
from .tensors import read_header


@dataclass(frozen=True)
class LoRAUse:
    """A LoRA, and how much of it: in the UNet, and in the text encoders."""

    path: str
    unet: float = 1.0
    text: float = 1.0

    @classmethod
    def of(cls, given: "str | Path | LoRAUse | Sequence[object]") -> "LoRAUse":
        """From a path, `(path, scale)`, or `(path, scale of the UNet, scale of the text encoders)`."""
        if isinstance(given, LoRAUse):
            return given
        if isinstance(given, str | Path):
            return cls(str(given))
        path, *scales = given
        numbers = [float(scale) for scale in scales if isinstance(scale, int | float)]
        if not numbers or len(numbers) != len(scales) or len(numbers) > 2:
            raise ValueError(f"{given!r} is no LoRA: it must be a path and one scale or two")
        return cls(str(path), numbers[0], numbers[-1])

    @cached_property
    def file(self) -> Path:
        """Where it lies, downloaded if it is on the Hub. Raises CheckpointError."""
        return locate_extra(self.path, "a LoRA")


def put_on(
    texts: TextNets | None,
    nets: Mapping[str, nn.Module],
    family: str,
    dtype: mx.Dtype,
    loras: Sequence[LoRAUse],
    embeddings: Sequence[tuple[str, str | None]],
    partial: bool = False,
    opened: Collection[str] | None = None,
) -> tuple[str, ...]:
    """Fuse LoRAs into the nets, and teach the text encoders their embeddings, each with its word or None.

    nets: by the names that `read_lora` takes. partial: what in a LoRA fits nothing is left out, and said in the
    sentences that are returned. opened: those of the nets that it is done to, which have been opened anew; the others
    have it, and where the text encoders are among these, texts is None. Raises CheckpointError, one sentence, for what
    can't be.
    """
    notes: list[str] = []
    widths = [encoder.config.hidden_size for encoder in texts.encoders] if texts else []
    taught: list[Embedding] = []
    for path, word in embeddings if texts else ():
        taught.append(one := read_embedding(locate_extra(path, "an embedding"), word, widths, family))
        if one.unused:
            notes.append(f"{one.source} has tensors that are not used: {listed(one.unused)}")
    for use in loras:
        read, said = read_fitting(use, nets, family, partial)
        notes += said
        fuse(nets, read if opened is None else read.of(opened), use.unet, use.text, dtype)
        if texts:
            taught += _bundled(read, widths, family)
    if texts and taught:
        teach(texts, taught)
        notes.append("words that were taught: " + ", ".join(e.word for e in taught))
    return tuple(notes)


def read_fitting(
    use: LoRAUse, nets: Mapping[str, nn.Module], family: str, partial: bool = False
) -> tuple[LoRA, list[str]]:
    """A LoRA, and what is to be said of it. Raises CheckpointError where it does not fit, or not all of it."""
    read, narrow = without_narrow(read_lora(use.file, nets, family), nets)
    notes = [*filter(None, (switched_off(read),))]
    faults = [*filter(None, (unfit(read), narrow))]
    if not faults:
        return read, notes
    said = "; ".join(faults)
    if not partial or not read.changes:
        raise CheckpointError(f"{said}: --lora-partial leaves those out" if read.changes else said)
    several = len(read.unmatched) + bool(narrow) > 1
    return read, [*notes, f"{said}, and {'are' if several else 'is'} left out"]


def _bundled(read: LoRA, widths: Sequence[int], family: str) -> list[Embedding]:
    return [
        embedding_of(tensors, name, widths, family, name, f"{read.file}: {name}")
        for name, tensors in read.embeddings.items()
    ]


def distilled(loras: Sequence[LoRAUse]) -> tuple[str, Defaults] | None:
    """The kind and the defaults of the first LoRA that makes a model one of few steps, by its name or metadata."""
    for use in loras:
        name, metadata = Path(use.path).name, read_header(use.file).metadata
        said = (metadata.get(key, "") for key in ("ss_output_name", "modelspec.title", "ss_network_module"))
        if found := distilled_of(use.path.replace("/", " "), name, *said):
            return found
    return None
