"""What every grammar of prompts makes of a text: sections of pieces.

Each piece has one weight, and each section begins a chunk of its own.
"""

import math
from dataclasses import dataclass

MOST_NESTED = 100  # brackets within brackets


@dataclass(frozen=True)
class Piece:
    """Words of one weight."""

    text: str
    weight: float = 1.0


Section = list[Piece]


def plain(prompt: str) -> list[Section]:
    """Words alone."""
    return [[Piece(prompt)]]


def finite_number(text: str | None) -> float | None:
    """The finite number that a text is, or None."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def check_depth(depth: int) -> None:
    """Raise ValueError for too many brackets in one another."""
    if depth > MOST_NESTED:
        raise ValueError(f"the prompt has more than {MOST_NESTED} brackets within one another")
