"""Which model a job is for, and what is done to it when it is loaded."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from ..pipeline import Planner, StableDiffusion
from ..presets import DEFAULT_MODEL
from ..values import check, declared, flag, one_number_of, plain, rows, text, thawed
from ..weights.checkpoint import CheckpointError


@dataclass(frozen=True)
class Model:
    """What a checkpoint is called, and how it is loaded. None: as the package does it where nobody says anything."""

    name: str = declared(
        DEFAULT_MODEL,
        text(),
        f"a name from the list below, a Hugging Face repo, or a folder (default: {DEFAULT_MODEL})",
        "NAME",
    )
    hash: str | None = declared(None, text())  # of its contents, where it has been used before
    float16: bool | None = declared(None, flag())
    quantize: int | None = declared(
        None,
        one_number_of(2, 3, 4, 6, 8).strictly(),
        "keep each weight in 2, 3, 4, 6 or 8 bits: less memory, less exact (8 if no number is given)",
        "BITS",
    )
    named_by: str | None = None  # the file that says it was made with it

    def __post_init__(self) -> None:
        check(self, MODEL_ROWS)

    @classmethod
    def of(cls, sd: StableDiffusion) -> "Model":
        """The one that is loaded."""
        return cls(sd.model, sd.identity, sd.dtype == mx.float16, sd.quantize)

    def planner(self) -> Planner:
        """What knows its shapes and defaults, without its weights. Raises CheckpointError."""
        try:
            return Planner.of(self.name)
        except CheckpointError as error:
            raise self._missing(error) from None

    def load(self) -> StableDiffusion:
        """The model itself. Raises CheckpointError, which says where its name comes from."""
        try:
            return StableDiffusion(self.name, self.float16, self.quantize)
        except CheckpointError as error:
            raise self._missing(error) from None

    def _missing(self, error: CheckpointError) -> CheckpointError:
        if self.named_by is None:
            return error
        was = f"{self.named_by} was made with the model {self.name!r} ({(self.hash or '')[:10]})"
        return CheckpointError(f"{was}, which can't be had: name where it is with --model ({error})")

    def as_json(self) -> dict[str, Any]:
        """As it stands in a picture's file."""
        return {name: plain(getattr(self, name)) for name in MODEL_ROWS}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Model":
        """What `as_json` wrote down. Raises ValueError for what is unknown, missing or impossible."""
        return cls(**thawed(values, MODEL_ROWS, every=True))


MODEL_ROWS = rows(Model)
