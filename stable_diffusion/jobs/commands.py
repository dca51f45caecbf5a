"""The command line that makes a picture again, to copy."""

import shlex
from collections.abc import Iterator
from typing import Any

from ..presets import DEFAULT_MODEL
from ..settings import ROWS, Settings
from .model import Model
from .originals import Originals

# Settings that are written in another way than --name value, or that stand for themselves.
_APART = {"prompt", "perturb", "image_weight", "n_images"}


def command(settings: Settings, model: Model, originals: Originals | None = None) -> str:
    """What to type for a picture of these settings; a mask is called mask.png, because nobody remembers its name.

    Raises ValueError for what no command line says: a perturbation that keeps to a mask.
    """
    words = ["txt2image", settings.prompt]
    if originals is not None and originals.picture is not None:
        words = ["image2image", originals.name or "image.png", settings.prompt]
    if settings.prompt.startswith("-"):
        words = [*words[:-1], *_options(settings, model, originals), "--", settings.prompt]
    else:
        words += _options(settings, model, originals)
    return shlex.join(words)


def _options(settings: Settings, model: Model, originals: Originals | None) -> Iterator[str]:
    if model.name != DEFAULT_MODEL:
        yield from ("--model", model.name)
    if model.quantize is not None:
        yield from ("--quantize", str(model.quantize))
    for path, unet, text, _ in model.loras:
        yield from ("--lora", f"{path}:{unet!r}" + (f":{text!r}" if text != unet else ""))
    for path, word in model.embeddings:
        yield from ("--embedding", path if word is None else f"{path}:{word}")
    for flag, named in (("--vae", model.vae), ("--prediction", model.prediction), ("--lora-dir", model.lora_dir)):
        if named is not None:
            yield from (flag, named)
    if model.tile is not None:
        yield from ("--tile", str(model.tile))
    if model.lora_partial:
        yield "--lora-partial"
    by_hand = {"steps", "spacing"} if settings.sigmas is not None or settings.times is not None else set()
    for name, row in ROWS.items():
        value = getattr(settings, name)
        if name in _APART | by_hand or value == row.default:
            continue
        if value is True:
            yield f"--{name.replace('_', '-')}"
            continue
        written = _written(value)
        flag = f"--{name.replace('_', '-')}"
        # What begins with a hyphen would be taken for another option.
        yield from ((f"{flag}={written}",) if written.startswith("-") else (flag, written))
    if settings.image_weight == 0:
        yield "--pure-noise"
    if originals is not None and originals.mask is not None:
        yield from ("--mask", "mask.png")
    for seed, amount, *mask in settings.perturb:
        if mask:
            raise ValueError("a perturbation that keeps to a mask can't be typed")
        yield from ("--variation", f"{seed}:{amount!r}")


def _written(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_written, value))
    return repr(value) if isinstance(value, float) else str(value)
