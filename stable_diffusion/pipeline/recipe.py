"""Everything that a picture was made with, as the text that lies in its file."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from ..settings import CompleteSettings, Settings
from ..version import __version__

VERSION = 1  # of this form


@dataclass(frozen=True)
class Together:
    """The runs that shared a picture's network calls: its last bits depend on them."""

    settings: tuple[CompleteSettings, ...]
    index: int  # of the picture's own run
    batch_size: int | None
    decoding_batch_size: int = 1


@dataclass(frozen=True)
class Recipe:
    """How to make a picture again, bit for bit on the same machine."""

    settings: CompleteSettings
    model: str
    model_hash: str  # see StableDiffusion.identity
    float16: bool
    quantize: int | None
    image: Mapping[str, str] | None = None  # the picture that it starts from: its name, and sha256 of its pixels
    mask: Mapping[str, str] | None = None
    together: Together | None = None
    view: Mapping[str, Any] = field(default_factory=dict)  # what the command line was asked to show
    made_by: str = f"stable-diffusion-mlx {__version__}"

    def as_json(self) -> str:
        """One line of JSON, in ASCII."""
        values: dict[str, Any] = {
            "version": VERSION,
            "made_by": self.made_by,
            "model": {
                "name": self.model,
                "hash": self.model_hash,
                "float16": self.float16,
                "quantize": self.quantize,
            },
            "settings": self.settings.as_json(),
        }
        if self.image is not None:
            values["image"] = dict(self.image)
        if self.mask is not None:
            values["mask"] = dict(self.mask)
        if self.together is not None:
            values["together"] = {
                "differences": [differences(self.settings, other) for other in self.together.settings],
                "index": self.together.index,
                "batch_size": self.together.batch_size,
                "decoding_batch_size": self.together.decoding_batch_size,
            }
        if self.view:
            values["view"] = dict(self.view)
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
            settings = CompleteSettings.from_json(values["settings"])
            model, together = values["model"], values.get("together")
            recipe = cls(
                settings=settings,
                model=_a(str, model["name"]),
                model_hash=_a(str, model["hash"]),
                float16=_a(bool, model["float16"]),
                quantize=None if model["quantize"] is None else _a(int, model["quantize"]),
                image=_texts(values["image"]) if "image" in values else None,
                mask=_texts(values["mask"]) if "mask" in values else None,
                view=_a(dict, values.get("view", {})),
                made_by=_a(str, values["made_by"]),
            )
            if together is None:
                return recipe
            all_settings = (
                CompleteSettings.from_json({**settings.as_json(), **_a(dict, other)})
                for other in together["differences"]
            )
            size = together["batch_size"]
            size = None if size is None else _a(int, size)
            decoding = _a(int, together["decoding_batch_size"])
            shared = Together(tuple(all_settings), _a(int, together["index"]), size, decoding)
            if not 0 <= shared.index < len(shared.settings) or shared.settings[shared.index] != settings:
                raise ValueError("its own run is not among those that it was made with")
            return replace(recipe, together=shared)
        except KeyError as error:
            raise ValueError(f"its settings are damaged (there is no {error})") from None
        except (ValueError, TypeError, AttributeError) as error:
            raise ValueError(f"its settings are damaged ({error})") from None


def differences(settings: Settings, other: Settings) -> dict[str, Any]:
    """What the other settings have otherwise, as JSON."""
    ours, theirs = settings.as_json(), other.as_json()
    return {f.name: theirs[f.name] for f in fields(settings) if ours[f.name] != theirs[f.name]}


def _a(kind: type, value: Any) -> Any:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(f"{value!r} is no {kind.__name__}")
    return value


def _texts(value: Any) -> dict[str, str]:
    return {_a(str, name): _a(str, text) for name, text in _a(dict, value).items()}
