"""What a job says while it works. It prints nothing: that is for whoever asked for it."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Note:
    """One line for the person: what was decided, or what is not as it seems."""

    text: str


@dataclass(frozen=True)
class Answer:
    """One line, or some, of what was asked for in words: a plan."""

    text: str


@dataclass(frozen=True)
class Written:
    """A file is there, whole."""

    path: Path


@dataclass(frozen=True)
class Progress:
    """So many steps of so many have been taken."""

    done: int
    total: int


Event = Note | Answer | Written | Progress
