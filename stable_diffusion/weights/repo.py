"""The files of a checkpoint in the diffusers layout, in a folder or a repo: which of them loading takes."""

import re
from collections.abc import Iterable
from pathlib import Path

from .checkpoint import CheckpointError

SMALL_FILES = (
    "model_index.json",
    "scheduler/scheduler_config.json",
    "unet/config.json",
    "vae/config.json",
    *(
        f"{folder}{i}/{name}"
        for i in ("", "_2")
        for folder, names in (
            ("text_encoder", ("config.json",)),
            (
                "tokenizer",
                ("vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"),
            ),
        )
        for name in names
    ),
)
_NETS = ("unet", "vae", "text_encoder", "text_encoder_2")
_WEIGHTS = re.compile(  # one file, or shards and the index that names them; ".fp16" stands before or after the number
    r"(diffusion_pytorch_)?model(\.fp16)?(-\d+-of-\d+)?(\.fp16)?\.safetensors(\.index(\.fp16)?\.json)?"
)
ENDING = ".safetensors"
INDEX = "model_index.json"
ADAPTER = "adapter_config.json"
_USUAL = (f"adapter_model{ENDING}", f"pytorch_lora_weights{ENDING}")  # what peft and diffusers call a LoRA


def _weights(files: Iterable[str], net: str) -> set[str]:
    return {name for name in files if name.startswith(f"{net}/") and _WEIGHTS.fullmatch(name, len(net) + 1)}


def unweighted(files: set[str]) -> str | None:
    """The first net that has a config.json and no weights that can be read."""
    return next((net for net in _NETS if f"{net}/config.json" in files and not _weights(files, net)), None)


def needed(files: Iterable[str], half: bool) -> list[str]:
    """Of a repo's files, those that loading takes: for every net its half-precision weights, or else the full ones."""
    names = set(files)
    chosen = [name for name in SMALL_FILES if name in names]
    for net in _NETS:
        weights = _weights(names, net)
        fp16 = {name for name in weights if ".fp16" in name}
        chosen += sorted((fp16 or weights) if half else (weights - fp16 or fp16))
    return chosen


def extra_in(folder: Path, what: str) -> Path:
    """What in a folder is meant: all of it, where it has an autoencoder's config.json, or the one file in it."""
    if any((folder / sub / "config.json").exists() for sub in (".", "vae")):
        return folder
    return folder / only((file.name for file in folder.glob("*" + ENDING)), str(folder), what)


def only(names: Iterable[str], place: str, what: str) -> str:
    """The one file that is meant: the only one, or the one that diffusers' own name says."""
    there = sorted(names)
    usual = [name for name in there if name in _USUAL]
    if not there:
        raise CheckpointError(f"{place} has no {ENDING} file that could be {what}")
    if len(there) > 1 and not usual:
        raise CheckpointError(f"{place} has {len(there)} files: name one of them, as in {place}/{there[0]}")
    return (usual or there)[0]
