"""A checkpoint as its parts, wherever they lie: the nets, their configs, the tokenizers, and what it is."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .checkpoint import CheckpointError, TokenizerFiles, read_json, read_tokenizer, weight_files
from .family import SD1, XL
from .names import TEXT_ENCODER, UNET, VAE, Table
from .tensors import Tensor, tensors_of

Config = Mapping[str, Any]

TINY = "AutoencoderTiny"  # the class of TAESD, as configs call it

FOLDER_NAMES: Mapping[str, Table] = {
    "unet": UNET,
    "vae": VAE,
    "text_encoder": TEXT_ENCODER,
    "text_encoder_2": TEXT_ENCODER,
}


@dataclass(frozen=True)
class Part:
    """A net: its config as diffusers or transformers write it, and its tensors, which nobody has read yet."""

    config: Config
    source: Path  # the file that the config is from, for sentences about it
    tensors: Callable[[bool], Iterator[Tensor]]  # half precision, where there is a choice
    files: Callable[[bool], Sequence[Path]]  # that these are read from
    asks: str = "its config.json"  # what says which tensors there have to be
    unused: Sequence[str] = ()  # tensors in its files that it has no use for


@dataclass(frozen=True)
class Tokenizer:
    """A tokenizer, read when it is needed."""

    where: Path
    read: Callable[[], TokenizerFiles]


@dataclass(frozen=True)
class Checkpoint:
    """All of a checkpoint. Its parts have the names of the folders of the diffusers layout."""

    place: Path  # the folder, or the one file
    parts: Mapping[str, Part]
    tokenizers: Sequence[Tokenizer]
    scheduler: Config
    scheduler_source: Path
    index: Config  # model_index.json
    notes: tuple[str, ...] = ()  # what a person should know of it, in sentences
    replaced: frozenset[str] = frozenset()  # parts that come from elsewhere
    predicts: str = ""  # by what it is known what the UNet predicts: the end of the first note; none: by a config

    def with_part(self, name: str, part: Part, *notes: str) -> "Checkpoint":
        """The same with a part in the place of its own."""
        return replace(
            self,
            parts={**self.parts, name: part},
            notes=(*self.notes, *notes),
            replaced=self.replaced | {name},
        )

    @property
    def latents(self) -> Config:
        """How the autoencoder that belongs to it scales its latents, and whether it has to be float32."""
        family = XL if len(self.text_encoders) > 1 else SD1
        usual = {"scaling_factor": family.scaling, "force_upcast": family.force_upcast}
        own = self.parts.get("vae")
        if own is None or own.config.get("_class_name") == TINY:
            return usual
        defaults = {**usual, "scaling_factor": SD1.scaling}  # diffusers' own, where a config says nothing
        return {name: own.config.get(name, default) for name, default in defaults.items()}

    @property
    def text_encoders(self) -> list[str]:
        return [name for name in ("text_encoder", "text_encoder_2") if name in self.parts]


def folder_part(folder: Path, table: Table) -> Part:
    """A net in a folder of its own."""
    config = read_json(folder / "config.json")
    return Part(
        config,
        folder / "config.json",
        tensors=lambda half: tensors_of(weight_files(folder, half), table),
        files=lambda half: weight_files(folder, half),
    )


def folder_checkpoint(folder: Path) -> Checkpoint:
    """The checkpoint in a folder in the diffusers layout, without a look at its weights.

    Raises CheckpointError, one sentence, for what is missing or damaged.
    """
    if not (folder / "model_index.json").exists() and (folder / "config.json").exists():
        kind = str(read_json(folder / "config.json").get("_class_name", "net"))[:80]
        raise CheckpointError(f"{folder} holds one {kind} alone: name a folder that has model_index.json, or a file")
    index = read_json(folder / "model_index.json")

    def listed(part: str) -> bool:
        entry = index.get(part)
        return isinstance(entry, list) and bool(entry) and bool(entry[0])

    if "_class_name" in index and not listed("unet"):
        kind = str(index["_class_name"])[:80]
        raise CheckpointError(f"{folder} is a {kind}, without a UNet: name an SD 1.x, 2.x or XL")
    if not listed("text_encoder"):
        raise CheckpointError(f"{folder} has no text_encoder: XL's refiner and its like are not supported")
    suffixes = ("", "_2") if listed("text_encoder_2") else ("",)
    names = [*(f"text_encoder{suffix}" for suffix in suffixes), "unet", "vae"]
    scheduler = folder / "scheduler" / "scheduler_config.json"
    parts = {name: folder_part(folder / name, FOLDER_NAMES[name]) for name in names}
    return Checkpoint(
        folder,
        parts,
        [folder_tokenizer(folder / f"tokenizer{suffix}") for suffix in suffixes],
        read_json(scheduler),
        scheduler,
        index,
    )


def folder_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer in a folder of its own."""
    return Tokenizer(folder, lambda: read_tokenizer(folder))
