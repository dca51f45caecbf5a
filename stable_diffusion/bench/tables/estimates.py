"""What is said of memory before work is done, beside what the work takes."""

from collections.abc import Sequence
from typing import NamedTuple

from ...pipeline import StableDiffusion
from ...pipeline.memory import PROCESS, needed, working
from ...settings import Settings
from ..families import Family
from ..nets import PROMPT, random_checkpoint

# Pieces of the bench's work, and the net that each of them has read; None: a whole run, which has read all.
PHASES = {"unet": "unet", "decode": "autoencoder", "txt2img": None}


class Compared(NamedTuple):
    """A piece of work and the bytes that it was said to take, and took, at the most."""

    family: str
    size: int
    what: str
    said: int
    took: int


def said(family: Family, what: str, size: int, float16: bool) -> int:
    """Bytes that a piece of work is said to take, weights and all."""
    sd = StableDiffusion(random_checkpoint(family), float16)
    run = sd.planner.run(Settings(prompt=PROMPT, width=size, height=size))
    phase = PHASES[what]
    if phase is None:
        return needed(sd.description, [run], 1, sd.dtype, sd.weights)
    own: int = getattr(sd.weights, phase)
    return PROCESS + own + working(sd.description, [run], 1, sd.dtype)[phase]


def comparison(rows: Sequence[Compared]) -> str:
    """A markdown table, in GiB."""
    head = ["nets", "side", "work", "said", "measured", "said / measured"]
    cells = [
        [row.family, str(row.size), row.what, f"{row.said / 2**30:.2f}", f"{row.took / 2**30:.2f}",
         f"{row.said / row.took:.2f}"]
        for row in rows
    ]  # fmt: skip
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *cells))
