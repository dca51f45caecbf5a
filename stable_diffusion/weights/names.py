"""Where a checkpoint's names differ from ours. Everything that is not in these tables has the same name."""

import re

# (pattern in the file, replacement); the first one that matches is taken.
TEXT_ENCODER = ((r"^text_model\.(.*)$", r"\1"),)
VAE = (  # names before diffusers 0.15
    (r"^(.*\.attentions\.\d+)\.query\.(.*)$", r"\1.to_q.\2"),
    (r"^(.*\.attentions\.\d+)\.key\.(.*)$", r"\1.to_k.\2"),
    (r"^(.*\.attentions\.\d+)\.value\.(.*)$", r"\1.to_v.\2"),
    (r"^(.*\.attentions\.\d+)\.proj_attn\.(.*)$", r"\1.to_out.0.\2"),
)
UNET = ()

# Buffers that old versions saved and that hold nothing learned.
NOT_WEIGHTS = re.compile(r"(^|\.)position_ids$")

Table = tuple[tuple[str, str], ...]


def renamed(name: str, table: Table) -> str | None:
    """Our name of a checkpoint's tensor; None where it is not a weight."""
    if NOT_WEIGHTS.search(name):
        return None
    for pattern, replacement in table:
        if re.match(pattern, name):
            return re.sub(pattern, replacement, name)
    return name
