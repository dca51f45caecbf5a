"""What in a LoRA fits a model, what does nothing, and the sentences about it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import mlx.nn as nn

from .fuse import Shape, difference
from .lora import Change, LoRA


def unfit(read: LoRA) -> str | None:
    """The sentence about what in a LoRA fits nothing; None where all of it does."""
    names: Sequence[str] = read.unmatched
    if not names:
        return None
    first = ", ".join(names[:3])
    many = "1 name that fits nothing" if len(names) == 1 else f"{len(names)} names that fit nothing"
    return f"{read.file} has {many} in this model ({first}{', ...' * (len(names) > 3)})"


def without_narrow(read: LoRA, nets: Mapping[str, nn.Module]) -> tuple[LoRA, str | None]:
    """A LoRA without its change of the UNet's first layer, if that is for fewer channels, and the sentence about it.

    As a LoRA that was made for a model without a mask has it, on one whose UNet is also told of the mask.
    """
    channels = nets["unet"].config.in_channels

    def narrow(change: Change) -> bool:
        if change.target != ("unet", "conv_in"):
            return False
        O, H, W, I = nets["unet"].conv_in.weight.shape  # noqa: E741
        fits = [_fits(change, (O, n, H, W)) for n in (I, 4)]
        return I > 4 and fits == [False, True]

    kept = [change for change in read.changes if not narrow(change)]
    if len(kept) == len(read.changes):
        return read, None
    said = f"{read.file} changes the UNet's first layer (conv_in) for 4 channels, and this model's has {channels}"
    return replace(read, changes=kept), said


def _fits(change: Change, shape: Shape) -> bool:
    try:
        difference(change, shape)
    except (ValueError, KeyError, IndexError):
        return False
    return True


def switched_off(read: LoRA) -> str | None:
    """The sentence about what an alpha of 0 switches off in a LoRA; None: nothing."""
    own = {"magnitude", "dora_scale", "diff", "diff_b"}
    off = [change for change in read.changes if change.alpha == 0 and not own & change.factors.keys()]
    if not off:
        return None
    if len(off) == len(read.changes) and not read.embeddings:
        return f"{read.file} does nothing: alpha is 0 in all of it, which switches it off, as in other tools"
    return f"alpha is 0 in {len(off)} of {len(read.changes)} changes in {read.file}, which switches them off"
