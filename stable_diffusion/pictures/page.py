"""Stub until the page is merged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .images import Picture


@dataclass(frozen=True)
class Frame:
    pictures: Mapping[str, Picture]
    label: str
    sigma: float
    step: int


@dataclass(frozen=True)
class Line:
    heading: str
    frames: Sequence[Frame]
    row: int
    column: int
    strength: float | None
    about: Mapping[str, str]
    command: str
    texts: Mapping[str, str]
    levels: Sequence[float]
    times: Sequence[float]


@dataclass(frozen=True)
class Page:
    title: str
    kind: str
    lines: Sequence[Line]
    original: Picture | None
    chunks: Mapping[str, Picture] = field(default_factory=dict)
    rows: Sequence[str] = ()
    columns: Sequence[str] = ()


def save_page(page: Page, path: Path, megabytes: float = 10.0, overwrite: bool = True) -> tuple[Path, str]:
    raise NotImplementedError
