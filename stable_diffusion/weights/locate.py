"""From what a person calls a model to a folder or a file.

What lies on the Hub, hub.py fetches. It is imported where something is to be had from there, and not before: its client
takes longer to import than all else together.
"""

import re
from difflib import get_close_matches
from pathlib import Path

from ..devices import DEVICE, is_device
from ..presets import PRESETS
from .checkpoint import CheckpointError
from .repo import ENDING, INDEX, extra_in

HUB_FILE = re.compile(rf"([\w.-]+/[\w.-]+)/((?:[\w.-]+/)*[\w. -]+{re.escape(ENDING)})")  # a file in a repo


# Other families of models, by what their names begin with.
_FAMILIES = {
    "flux": "Flux", "sd3": "Stable Diffusion 3", "stable-diffusion-3": "Stable Diffusion 3", "qwen": "Qwen-Image",
    "z-image": "Z-Image", "hunyuan": "Hunyuan", "wan": "Wan", "pixart": "PixArt", "kolors": "Kolors",
    "hidream": "HiDream", "chroma": "Chroma", "lumina": "Lumina", "auraflow": "AuraFlow", "sana": "Sana",
    "cascade": "Stable Cascade", "stable-cascade": "Stable Cascade", "svd": "Stable Video Diffusion",
    "ltx": "LTX", "dall": "DALL-E",
}  # fmt: skip


def _no_model(model: str) -> str:
    """What to say of a model that is not there."""
    said, low = f"there is no model {model!r}", model.lower()
    if low.endswith(ENDING):
        return f"{said}: there is no such file here"
    if family := next((family for begins, family in _FAMILIES.items() if low.startswith(begins)), None):
        return f"{said}: {family} is another family of models; this package runs Stable Diffusion 1.x, 2.x and XL"
    near = get_close_matches(low, PRESETS, n=2, cutoff=0.6)
    others = f"name one of {', '.join(PRESETS)}, a folder, a .safetensors file, or a repo"
    return f"{said}: did you mean {' or '.join(near)}? Or {others}" if near else f"{said}: {others}"


def locate(model: str, half: bool, weights: bool = True) -> Path:
    """The folder or file of a preset, of a path, or of a Hugging Face repo (or a file in one), downloaded once.

    Without weights only its small files are downloaded, which say what it is.

    Downloads go through huggingface_hub: its cache (HF_HOME), its login, its offline mode (HF_HUB_OFFLINE=1), its
    progress bars. What was downloaded once is enough when the Hub is out of reach, or no longer gives it out.
    Raises CheckpointError, one sentence with the remedy.
    """
    preset = PRESETS.get(model)
    place = preset.place if preset else model
    if isinstance(place, Path):
        return place
    path = Path(place).expanduser()
    if path.is_dir() or path.is_file():
        return path
    if is_device(path):
        raise CheckpointError(f"{model!r} {DEVICE}")
    if found := HUB_FILE.fullmatch(place):
        from .hub import hub_file

        return hub_file(*found.groups())
    if place.count("/") != 1 or place.startswith((".", "/", "~")) or place.endswith(ENDING):
        raise CheckpointError(_no_model(model))
    from .hub import hub_folder

    return hub_folder(place, half, weights)


def size_of(model: str) -> int:
    """Bytes that a preset takes on this disk; 0 for one that is not here."""
    from .hub import cached_file

    preset = PRESETS[model]
    folder = preset.place if isinstance(preset.place, Path) else None
    for repo in (preset.place, *preset.mirrors):
        if folder is None and isinstance(repo, str) and (at := cached_file(repo, INDEX)):
            folder = at.parent
    if folder is None:
        return 0
    files = [path for path in folder.rglob("*") if path.is_file()]
    if preset.unet is not None:
        found = HUB_FILE.fullmatch(preset.unet)
        there = cached_file(*found.groups()) if found else None
        if there is None:
            return 0
        files.append(there)
    if not any(path.suffix == ENDING for path in files):
        return 0
    return sum(path.stat().st_size for path in files)


def locate_extra(name: str, what: str) -> Path:
    """The file or folder of a LoRA, an embedding or an autoencoder: a path, a file in a Hub repo, or a repo's only one.

    what: "a LoRA", say, for sentences. A folder that holds no config.json stands for the one .safetensors file in it.
    Raises CheckpointError, one sentence with the remedy.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        return extra_in(path, what)
    if is_device(path):
        raise CheckpointError(f"{name!r} {DEVICE}")
    if found := HUB_FILE.fullmatch(name):
        from .hub import hub_file

        return hub_file(*found.groups())
    if name.count("/") != 1 or name.startswith((".", "/", "~")) or name.endswith(ENDING):
        raise CheckpointError(f"there is no file {name!r}, which is to be {what}")
    from .hub import hub_extra

    return hub_extra(name, what)
