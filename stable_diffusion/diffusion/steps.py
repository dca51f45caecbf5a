"""What samplers and their drivers say to each other.

A sampler is a generator: it yields `Ask(x, sigma)`, is sent the clean estimate at x, and yields a `Step` when it has
moved. It never calls a network, so one driver can walk it alone (`walk`) or many of them at once (`lockstep`).
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Literal

import mlx.core as mx

FrameKind = Literal["noisy", "clean"]  # what a picture of a step shows: x, or the estimate


@dataclass(frozen=True)
class Ask:
    """A sampler's question: what is the clean picture in x, whose noise level is sigma?"""

    x: mx.array
    sigma: float


@dataclass(frozen=True)
class Step:
    """A sampler has moved: x is now at noise level sigma."""

    index: int
    sigma: float
    x: mx.array
    clean: mx.array  # the estimate at the level that the step came from

    def _repr_html_(self) -> str:
        """What a notebook shows: where the step is, and how far its latents spread."""
        shape = " x ".join(map(str, self.x.shape))
        spreads = [f"{float(mx.sqrt(mx.var(latents))):.3f}" for latents in (self.x, self.clean)]
        cells = (str(self.index), f"{self.sigma:.4f}", shape, *spreads)
        head = "".join(f"<th>{name}</th>" for name in ("index", "sigma", "x", "spread of x", "of clean"))
        return f"<table><tr>{head}</tr><tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr></table>"


Sampler = Generator[Ask | Step, mx.array, None]


def towards(x: mx.array, clean: mx.array, s: float, t: float) -> mx.array:
    """From level s to level t, straight towards the estimate: clean + (t / s) (x - clean).

    It is x + (t - s) d with d = (x - clean) / s, the direction of the probability-flow ODE (Karras et al. 2022,
    equation 3), and lands on the estimate at t = 0 without a rounding error.
    """
    return clean + (t / s) * (x - clean)
