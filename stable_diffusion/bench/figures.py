"""Medians, spreads and ratios of what was measured, as a table and as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from .workers import Measured


@dataclass(frozen=True)
class Figure:
    """What one piece of work took: a process of this package a round, and, side by side with it, one of torch."""

    what: str
    ours: tuple[Measured, ...]
    theirs: tuple[Measured, ...] = ()  # none: not measured, or torch has no such thing

    @property
    def seconds(self) -> tuple[float, ...]:
        return tuple(s for one in self.ours for s in one.seconds)

    @property
    def peak(self) -> int:
        return max(one.peak for one in self.ours)

    @property
    def their_seconds(self) -> tuple[float, ...]:
        return tuple(s for one in self.theirs for s in one.seconds)

    @property
    def time_ratios(self) -> tuple[float, ...]:
        """Our time over theirs, of each round: what disturbs a machine for minutes disturbs both."""
        pairs = zip(self.ours, self.theirs, strict=False)
        return tuple(median(a.seconds) / median(b.seconds) for a, b in pairs)

    @property
    def memory_ratio(self) -> float:
        return self.peak / max(one.peak for one in self.theirs)

    def as_json(self) -> dict[str, Any]:
        """All of it, and the medians."""
        said: dict[str, Any] = {"what": self.what, "seconds": self.seconds, "median": median(self.seconds)}
        said["peak_bytes"] = self.peak
        if self.theirs:
            said["torch"] = {
                "seconds": self.their_seconds,
                "median": median(self.their_seconds),
                "peak_bytes": max(one.peak for one in self.theirs),
            }
            said["time_ratios"], said["time_ratio"] = self.time_ratios, median(self.time_ratios)
            said["memory_ratio"] = self.memory_ratio
        return said


def _spread(values: Sequence[float]) -> str:
    """The median, and the least and the most where there are several."""
    if len(values) == 1:
        return f"{values[0]:.3g}"
    return f"{median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


def table(figures: Sequence[Figure]) -> str:
    """A markdown table: seconds and GiB, and how they compare where torch was measured too."""
    against = any(figure.theirs for figure in figures)
    head = ["work", "seconds", "peak GiB"]
    head += ["torch: seconds", "peak GiB", "time / torch's", "memory / torch's"] if against else []
    rows = [head, ["---"] * len(head)]
    for figure in figures:
        row = [figure.what, _spread(figure.seconds), f"{figure.peak / 2**30:.2f}"]
        if figure.theirs:
            theirs = max(one.peak for one in figure.theirs)
            row += [_spread(figure.their_seconds), f"{theirs / 2**30:.2f}"]
            row += [_spread(figure.time_ratios), f"{figure.memory_ratio:.2f}"]
        rows.append(row + [""] * (len(head) - len(row)))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def block(machine: Mapping[str, str], asked: str, figures: Sequence[Figure]) -> str:
    """What to paste into a bug report."""
    lines = [f"{name}: {value}" for name, value in machine.items()]
    return "\n".join(["```", *lines, f"asked: {asked}", "```", "", table(figures)])
