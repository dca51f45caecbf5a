"""LoRA files as one form, whatever their dialect: to which module of which net, and what is done to it."""

import json
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from .checkpoint import CheckpointError, damaged, read_json
from .counted import TAUGHT, counted
from .dialects import BUNDLED, Target, key_of, split, targets
from .family import WIDTHS
from .kinds import LORA, kind_of, mistaken
from .tensors import open_tensors, read_header

# The factors that make a change: those of each kind, and those that may be there besides.
_LOKR = [{f"lokr_w{i}"} for i in (1, 2)], [{f"lokr_w{i}_a", f"lokr_w{i}_b"} for i in (1, 2)]
_KINDS: tuple[tuple[set[str], set[str]], ...] = (
    ({"up", "down"}, {"mid", "up_bias"}),
    ({"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"}, {"hada_t1", "hada_t2"}),
    *((first[0] | second[1], {"lokr_t2"}) for first in _LOKR for second in _LOKR),
    ({"diff"}, set()),
    ({"diff_b"}, set()),
)
_BESIDES = {"alpha", "dora_scale", "magnitude", "diff_b"}
_PATTERN = re.compile(r"(?!(.*\.\*){4})([\w.|()^$\\-]|\.\*){1,200}")  # of names, in peft's configs; quickly matched
_SECOND = re.compile(r"(lora_te2_|text_encoder_2\.|text_encoders\.clip_g)")  # XL's second text encoder
_CONTEXT = re.compile(r".*attn2[._]to_[kv]")
_WORDS = re.compile(r"(lora_te1?_|text_encoder\.|text_encoders\.clip_[lh]).*self_attn[._](to_)?[qkv](_proj)?")


@dataclass(frozen=True)
class Change:
    """What is done to one module: factors by their common names, in PyTorch's layout, and the rule's own scale."""

    target: Target
    theirs: str  # the module's name in the file
    factors: Mapping[str, mx.array]
    alpha: float | None = None
    rank: int | None = None  # where the factors do not show it
    root: bool = False  # rank-stabilised: alpha is over the root of the rank


@dataclass(frozen=True)
class LoRA:
    """A file, read: what it changes, what in it fits nothing, and the embeddings that it brings."""

    file: Path
    changes: Sequence[Change]
    unmatched: Sequence[str]
    embeddings: Mapping[str, Mapping[str, mx.array]] = field(default_factory=dict)

    def of(self, nets: Collection[str]) -> "LoRA":
        """The same for some of the nets alone."""
        return replace(self, changes=[change for change in self.changes if change.target[0] in nets])


Modules = Mapping[str, Mapping[str, mx.array]]  # by their names in the file: factors by their common names


def read_lora(file: Path, nets: Mapping[str, nn.Module], family: str) -> LoRA:
    """A LoRA for these nets, "unet" and "text_encoder", or XL's "text_encoder_1" and "text_encoder_2".

    Raises CheckpointError, one sentence, for a file that is damaged, incomplete, something else, or for another family.
    """
    header = read_header(file)
    if (kind := kind_of(header)).option != LORA or kind.remedy:
        raise mistaken(header, LORA)
    tensors, metadata = open_tensors(file)
    modules, embeddings, strange = _sorted(file, tensors, metadata)
    if not modules:
        raise mistaken(header, LORA)
    _check_family(file, modules, nets, family)
    _check_numbers(file, modules)
    # What was read to be checked is let go of: a net that has not been read holds nothing of its LoRAs either.
    modules, embeddings, strange = _sorted(file, open_tensors(file)[0], metadata)
    known = {**targets(nets), **counted(file, modules, metadata, nets, family)}
    placed: dict[Target, tuple[str, dict[str, mx.array]]] = {}
    unmatched = list(strange)
    for name, factors in modules.items():
        target = known.get(key_of(name))
        if target is None:
            unmatched.append(name)
        else:  # two dialects in one file may have parts of the same change
            _put(file, placed.setdefault(target, (name, {}))[1], factors, name)
    adapter = _adapter(file, metadata)
    changes = []
    for target, (name, factors) in placed.items():
        _check_whole(file, name, factors)
        changes.append(Change(target, name, factors, *_alpha(file, name, factors, adapter, target)))
    return LoRA(file, changes, sorted(unmatched), embeddings)


def _sorted(
    file: Path, tensors: Mapping[str, mx.array], metadata: Mapping[str, str]
) -> tuple[dict[str, dict[str, mx.array]], dict[str, dict[str, mx.array]], list[str]]:
    """The tensors of a file as modules and embeddings, and the names of those that are neither."""
    modules: dict[str, dict[str, mx.array]] = {}
    embeddings: dict[str, dict[str, mx.array]] = {}
    strange = []
    for name, array in sorted(tensors.items(), key=itemgetter(0)):  # so that always the same one is named
        if found := BUNDLED.fullmatch(name):
            embeddings.setdefault(found[1], {})[found[2]] = array
        elif metadata.get(name) == TAUGHT:
            embeddings[name] = {name: array}
        elif (parts := split(name)) is not None:
            _put(file, modules.setdefault(parts[0], {}), {parts[1]: array}, parts[0])
        else:
            strange.append(name)
    return modules, embeddings, strange


def _put(file: Path, factors: dict[str, mx.array], more: Mapping[str, mx.array], name: str) -> None:
    """Add factors to those of a module. Raises CheckpointError for one that is there already."""
    if twice := factors.keys() & more.keys():
        raise CheckpointError(f"{file} changes {name!r} twice ({', '.join(sorted(twice))}): name a file with one LoRA")
    factors.update(more)


def _check_whole(file: Path, name: str, factors: Mapping[str, mx.array]) -> None:
    """Raise CheckpointError for a change of which something is missing, or that is of two kinds."""
    there = factors.keys()
    if not any(kind <= there <= kind | more | _BESIDES for kind, more in _KINDS):
        raise CheckpointError(f"{file}: {name!r} has {', '.join(sorted(there))}, which are not one whole change")


def _check_numbers(file: Path, modules: Modules) -> None:
    """Raise CheckpointError for factors that hold nothing, or no numbers."""
    every = [(name, leaf, array) for name, factors in modules.items() for leaf, array in factors.items()]
    for name, leaf, array in every:
        if not array.size or (leaf == "alpha" and array.size > 1):
            raise CheckpointError(f"{file}: the {leaf} of {name!r} has shape {tuple(array.shape)}: name another file")
        if leaf != "alpha" and not mx.issubdtype(array.dtype, mx.floating):
            raise CheckpointError(f"{file}: the {leaf} of {name!r} holds whole numbers: name another file")
    if not mx.stack([mx.isfinite(array).all() for *_, array in every]).all():
        name, leaf, _ = next(one for one in every if not mx.isfinite(one[2]).all())
        raise CheckpointError(f"{file}: the {leaf} of {name!r} holds a NaN or an infinite number: name another file")


def _check_family(file: Path, modules: Modules, nets: Mapping[str, nn.Module], family: str) -> None:
    """Raise CheckpointError, which names it, for a LoRA of another family."""

    def wrong(known: str, why: str) -> CheckpointError:
        return CheckpointError(
            f"{file} is a LoRA for {known}, {why}, and this model is {family}: name one that was made for it"
        )

    width = nets["unet"].config.cross_attention_dim
    for theirs in _widths(modules, _CONTEXT):
        if theirs != width:
            known = WIDTHS[theirs].name if theirs in WIDTHS else "another model"
            raise wrong(known, f"whose texts are {theirs} numbers wide and not {width}")
    first = nets.get("text_encoder", nets.get("text_encoder_1"))
    if "text_encoder_2" not in nets and any(map(_SECOND.match, modules)):
        raise wrong("SD XL", "which has two text encoders")
    if "text_encoder" not in nets and any(name.startswith("lora_te_") for name in modules):
        raise wrong("SD 1.x or 2.x", "which have one text encoder")
    for theirs in _widths(modules, _WORDS):
        if first is not None and theirs != (own := first.config.hidden_size):
            known = {768: "SD 1.x or XL", 1024: "SD 2.x"}.get(theirs, "another model")
            raise wrong(known, f"whose text encoder is {theirs} numbers wide and not {own}")


def _widths(modules: Modules, pattern: re.Pattern[str]) -> Iterator[int]:
    """How many numbers go into the modules whose names a pattern fits."""
    for name, factors in modules.items():
        if not pattern.fullmatch(name):
            continue
        shapes = {leaf: array.shape for leaf, array in factors.items() if array.ndim > 1}
        columns = [shapes[leaf][1] for leaf in ("down", "hada_w1_b", "diff") if leaf in shapes]
        kron = [next((shapes[f"lokr_w{i}{end}"][1] for end in ("", "_b") if f"lokr_w{i}{end}" in shapes), 0)
                for i in (1, 2)]  # fmt: skip
        yield from filter(None, (*columns, math.prod(kron)))


def _adapter(file: Path, metadata: Mapping[str, str]) -> Mapping[str, Any]:
    """What peft says of rank and alpha: beside the file, or in its metadata. Raises CheckpointError."""
    if "lora_adapter_metadata" in metadata:
        try:
            said = json.loads(metadata["lora_adapter_metadata"])
        except (ValueError, RecursionError):
            said = None
        if not isinstance(said, dict):
            raise damaged(file, "its lora_adapter_metadata is no JSON object")
        return said
    beside = file.parent / "adapter_config.json"
    return read_json(beside) if file.name.startswith("adapter_model") and beside.exists() else {}


def _alpha(
    file: Path, name: str, factors: Mapping[str, mx.array], adapter: Mapping[str, Any], target: Target
) -> tuple[float | None, int | None, bool]:
    """A module's alpha (None: as its rank) and rank, in the file or as peft says; and is it over the rank's root?"""
    if "alpha" in factors:
        return float(factors["alpha"].astype(mx.float32).reshape(-1)[0]), None, False
    net = "unet" if target[0] == "unet" else target[0].replace("_1", "")
    said = {
        key.removeprefix(f"{net}."): value for key, value in adapter.items() if key.startswith(f"{net}.")
    } or adapter
    module = name.replace("base_model.model.", "").removeprefix(f"{net}.")
    try:
        alpha = _patterned(said, "alpha_pattern", module, said.get("lora_alpha", said.get("alpha")))
        rank = _patterned(said, "rank_pattern", module, said.get("r"))
    except ValueError as error:
        raise CheckpointError(f"{file}: what peft says of it can't be read: {error}") from None
    return None if alpha is None else float(alpha), None if rank is None else int(rank), bool(said.get("use_rslora"))


def _patterned(said: Mapping[str, Any], key: str, module: str, plain: Any) -> float | None:
    """A number of peft's config for a module: of the first pattern that fits the end of its name, or the plain one.

    Raises ValueError for what is no number, or no pattern.
    """
    patterns = said.get(key) or {}
    if not isinstance(patterns, dict):
        raise ValueError(f"{key} is {patterns!r:.80}, and must be a table")
    found = plain
    for pattern, value in patterns.items():
        try:
            if not _PATTERN.fullmatch(pattern):
                raise re.error("too wild")
            fits = re.match(rf"(.*\.)?({pattern})$", module)
        except re.error as error:
            raise ValueError(f"{key} has {pattern!r:.80}, which is no pattern ({error})") from None
        if fits:
            found = value
            break
    if found is not None and (isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found < 1e6):
        raise ValueError(f"{key.partition('_')[0]} is {found!r:.80}, and must be a number from 0")
    return found
