"""Everything that a picture was made with, as the text that lies in its file."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..exchange.a1111 import Origin
from ..settings import CompleteSettings, Outdated, Settings
from ..values import check, declared, plain, rows, text, texts, thawed, whole
from ..version import __version__
from .model import Model
from .view import ONE_OR_MORE, View

VERSION = 1  # of this form

# Where it lies in a PNG file, and what lies beside it.
RECIPE = "stable-diffusion-mlx"  # the keyword of the text
IMAGE, MASK = "siMg", "smSk"  # private chunks: the picture and the mask that image-to-image started from


@dataclass(frozen=True)
class Batch:
    """The runs that shared a picture's network calls: its last bits depend on them."""

    settings: tuple[CompleteSettings, ...]
    index: int = declared(0, whole(0))  # of the picture's own run
    batch_size: int | None = declared(None, ONE_OR_MORE)
    decoding_batch_size: int = declared(1, ONE_OR_MORE)

    def __post_init__(self) -> None:
        check(self, BATCH_ROWS)
        if self.index >= len(self.settings):
            raise ValueError("its own run is not among those that it was made with")

    def as_json(self) -> dict[str, Any]:
        """Its settings as their differences from those of the picture's own run."""
        own = self.settings[self.index]
        numbers = {name: plain(getattr(self, name)) for name in BATCH_ROWS}
        return {"differences": [differences(own, other) for other in self.settings], **numbers}

    @classmethod
    def from_json(cls, values: Any, own: CompleteSettings) -> "Batch":
        """What `as_json` wrote down, for a picture of these settings. Raises ValueError."""
        given = dict(values)
        others = tuple(
            CompleteSettings.from_json({**own.as_json(), **_object(other)}) for other in given.pop("differences")
        )
        batch = cls(others, **thawed(given, BATCH_ROWS, every=True))
        if others[batch.index] != own:
            raise ValueError("its own run is not among those that it was made with")
        return batch


BATCH_ROWS = rows(Batch)


@dataclass(frozen=True)
class Recipe:
    """How to make a picture again, bit for bit on the same machine."""

    settings: CompleteSettings
    model: Model
    image: Mapping[str, str] | None = declared(None, texts())  # that it starts from: its name, sha256 of its pixels
    mask: Mapping[str, str] | None = declared(None, texts())
    batch: Batch | None = None
    view: View = field(default_factory=View)
    made_by: str = declared(f"stable-diffusion-mlx {__version__}", text())

    def __post_init__(self) -> None:
        check(self, RECIPE_ROWS)

    @property
    def origin(self) -> Origin:
        """The model and its parts, as other tools name them."""
        loras = {Path(path).stem: known or "" for path, _, _, known in self.model.loras} | dict(self.model.tagged)
        return Origin(self.model.name, self.model.hash or "", loras, self.model.vae, self.made_by)

    def alone(self, settings: CompleteSettings) -> "Recipe":
        """That of one picture of a sheet, made by itself."""
        return replace(self, settings=settings, view=View(feather=self.view.feather))

    def as_json(self) -> str:
        """One line of JSON, in ASCII."""
        values: dict[str, Any] = {
            "version": VERSION,
            "made_by": self.made_by,
            "model": self.model.as_json(),
            "settings": self.settings.as_json(),
        }
        if self.image is not None:
            values["image"] = dict(self.image)
        if self.mask is not None:
            values["mask"] = dict(self.mask)
        if self.batch is not None:
            values["together"] = self.batch.as_json()
        if view := self.view.as_json():
            values["view"] = view
        return json.dumps(values)

    @classmethod
    def from_json(cls, text: str) -> "Recipe":
        """What `as_json` wrote. Raises ValueError, the rest of a sentence, for what is damaged or newer than this."""
        try:
            values = json.loads(text)
            version = values["version"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ValueError("its settings are damaged") from None
        if version != VERSION:
            raise ValueError(
                f"its settings are of version {version!r}, and {VERSION} is known here: update this package"
            )
        try:
            # A file that does not say so is from before long prompts were told in chunks.
            settings = CompleteSettings.from_json({"cut_prompt": True, **_object(values["settings"])})
            batch = values.get("together")
            return cls(
                settings=settings,
                model=Model.from_json(values["model"]),
                image=values.get("image"),
                mask=values.get("mask"),
                batch=None if batch is None else Batch.from_json(batch, settings),
                view=_view(values.get("view", {})),
                made_by=values["made_by"],
            )
        except Outdated:
            raise
        except KeyError as error:
            raise ValueError(f"its settings are damaged (there is no {error})") from None
        except (ValueError, TypeError, AttributeError) as error:
            raise ValueError(f"its settings are damaged ({error})") from None


RECIPE_ROWS = rows(Recipe)


def differences(settings: Settings, other: Settings) -> dict[str, Any]:
    """What the other settings have otherwise, as JSON."""
    ours, theirs = settings.as_json(), other.as_json()
    return {name: value for name, value in theirs.items() if value != ours[name]}


def _view(values: Any) -> View:
    """Raises ValueError, and Outdated for a grid over a setting that is gone."""
    for axis in _object(values).get("grid", ()):
        if axis[:1] == ["merge_tokens"]:
            raise Outdated(axis[1:])
    return View.from_json(values)


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{str(value)[:40]!r} is no object")
    return value
