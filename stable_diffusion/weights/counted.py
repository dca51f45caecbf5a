"""The first dialect of LoRAs (cloneofsimo's), which counts layers: `unet:7:up` is of the eighth that it changes.

They are counted in the order in which PyTorch keeps modules: the UNet's way down, its way up, its middle; in a block of
a transformer the attention to the picture, the first layer of the feed-forward part (GEGLU), and the attention to the
text. The metadata say which classes of modules were changed. There is no alpha: up . down is all of the difference.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import mlx.nn as nn

from .checkpoint import CheckpointError
from .dialects import Target

TAUGHT = "<embed>"  # what the metadata say of a tensor that is a textual inversion
_COUNTED = re.compile(r"(unet|text_encoder):(\d{1,6})")
_ATTENTIONS = {"CrossAttention", "Attention"}  # the same class, before and after it was called otherwise
_KNOWN = {"unet": (_ATTENTIONS, {"GEGLU"}), "text_encoder": ({"CLIPAttention"},)}
_SIDES = ("down_blocks.", "up_blocks.", "mid_block.")
_ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
_TEXT = ("k_proj", "v_proj", "q_proj", "out_proj")  # in the order of transformers' own class


def counted(
    file: Path, names: Iterable[str], metadata: Mapping[str, str], nets: Mapping[str, nn.Module], family: str
) -> dict[str, Target]:
    """The modules that the counted names of a file stand for; none where it counts none.

    Raises CheckpointError for one that counts other layers than this model has.
    """
    numbers: dict[str, set[int]] = {}
    for name in names:
        if found := _COUNTED.fullmatch(name):
            numbers.setdefault(found[1], set()).add(int(found[2]))
    made: dict[str, Target] = {}
    for net, there in numbers.items():
        ours = net if net in nets else f"{net}_1"
        if ours not in nets:
            continue
        orders = _orders(nets[ours], net, _classes(file, metadata, net))
        order = next((order for order in orders if there == set(range(len(order)))), None)
        if order is None:
            raise CheckpointError(
                f"{file} is a LoRA for {len(there)} layers of the {net.replace('_', ' ')}, and this model ({family}) "
                f"has {len(orders[0])}: was it made for another?"
            )
        made |= {f"{net}:{i}": (ours, path) for i, path in enumerate(order)}
    return made


def _classes(file: Path, metadata: Mapping[str, str], net: str) -> set[str] | None:
    """The classes of modules that a file says it changes; None: it does not say. Raises CheckpointError for others."""
    if net not in metadata:
        return None
    try:
        said = json.loads(metadata[net])
    except (ValueError, RecursionError):
        said = None
    known = set().union(*_KNOWN[net])
    if not isinstance(said, list) or not all(isinstance(name, str) and name in known for name in said):
        raise CheckpointError(
            f"{file} is a LoRA that changes {metadata[net][:80]!r} in the {net.replace('_', ' ')}, and those that are "
            f"known here are {', '.join(sorted(known))}"
        )
    return set(said)


def _orders(module: nn.Module, net: str, classes: set[str] | None) -> list[Sequence[str]]:
    """The paths of the layers that are counted, in their order: as the classes say, or else in every way there is."""
    paths = {path for path, _ in module.named_modules()}
    if net == "text_encoder":
        layers = sorted({int(path.split(".")[2]) for path in paths if path.startswith("encoder.layers.")})
        return [[f"encoder.layers.{n}.self_attn.{one}" for n in layers for one in _TEXT]]
    blocks = sorted((path for path in paths if re.search(r"\.transformer_blocks\.\d+$", path)), key=_place)
    gated = [True, False] if classes is None else ["GEGLU" in classes]
    return [[path for block in blocks for path in _of_block(block, gate)] for gate in gated]


def _of_block(block: str, gate: bool) -> list[str]:
    one, two = ([f"{block}.attn{n}.{leaf}" for leaf in _ATTENTION] for n in (1, 2))
    return [*one, *([f"{block}.ff.net.0.proj"] if gate else []), *two]


def _place(path: str) -> tuple[int, ...]:
    """Where a block stands: its side of the UNet, and its numbers."""
    side = next(i for i, prefix in enumerate(_SIDES) if path.startswith(prefix))
    return side, *(int(part) for part in path.split(".") if part.isdigit())
