"""What the outputs of ComfyUI's nodes mean."""

from dataclasses import dataclass, field, replace
from typing import Any

from .graph import Unknown

Remarks = tuple[str, ...]  # what a node does that no run here would


@dataclass(frozen=True)
class Net:
    """A model, a CLIP or a VAE: the file that it is from, and what has been done to it."""

    file: str | Unknown
    loras: tuple[tuple[str, float, float], ...] = ()  # names, and how much in the UNet and in the text encoders
    clip_skip: int | None = None  # as ComfyUI counts, from 1
    alone: bool = False  # a diffusion model without its text encoders, which may be of any family
    remarks: Remarks = ()

    def with_remark(self, text: str) -> "Net":
        return replace(self, remarks=(*self.remarks, text))


@dataclass(frozen=True)
class Told:
    """Conditioning: a prompt, and the CLIP that read it."""

    prompt: str | Unknown
    clip: "Net | Unknown | None" = None
    remarks: Remarks = ()

    def with_remark(self, text: str) -> "Told":
        return replace(self, remarks=(*self.remarks, text))


@dataclass(frozen=True)
class Start:
    """A latent: an empty one, a picture's, or one that a sampler has made."""

    size: tuple[int, int] | None = None  # width and height, where they are known
    batch: int = 1
    place: int | None = None  # in the batch, from 1, where one was taken out of it
    from_picture: bool = False
    made_by: "Pass | Unknown | None" = None
    remarks: Remarks = ()

    def with_remark(self, text: str) -> "Start":
        return replace(self, remarks=(*self.remarks, text))


@dataclass(frozen=True)
class Shown:
    """A picture: one from a file, or a latent decoded."""

    latent: Start | Unknown | None = None
    size: tuple[int, int] | None = None
    remarks: Remarks = ()

    def with_remark(self, text: str) -> "Shown":
        return replace(self, remarks=(*self.remarks, text))


@dataclass(frozen=True)
class Walker:
    """A sampler by its name, and what else is set of it."""

    name: str | Unknown
    settings: dict[str, Any] = field(default_factory=dict)  # of Settings
    remarks: Remarks = ()


@dataclass(frozen=True)
class Levels:
    """The noise levels that a scheduler lays: by name and steps, or by hand."""

    words: dict[str, Any] = field(default_factory=dict)  # in AUTOMATIC1111's names
    settings: dict[str, Any] = field(default_factory=dict)  # of Settings
    remarks: Remarks = ()


@dataclass(frozen=True)
class Guiding:
    """A guider: the model, what it is told, and how closely it follows."""

    model: Any
    positive: Any
    negative: Any = None
    cfg: Any = 1.0
    remarks: Remarks = ()


@dataclass(frozen=True)
class Pass:
    """One sampler's work."""

    kind: str  # of the node
    words: dict[str, Any]  # in AUTOMATIC1111's names; values may be unknown
    settings: dict[str, Any]  # of Settings
    guiding: Guiding
    latent: Start | Unknown
    adds_noise: bool = True
    remarks: Remarks = ()

    def __str__(self) -> str:
        """In a few words."""
        known = [f"{name} {value}" for name, value in self.words.items() if not isinstance(value, Unknown)]
        return f"{self.kind} ({', '.join(known)})"
