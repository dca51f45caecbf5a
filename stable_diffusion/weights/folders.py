"""Folders of LoRAs, from which prompts name them."""

from difflib import get_close_matches
from pathlib import Path

from ..devices import DEVICE, is_device
from .checkpoint import CheckpointError
from .repo import ENDING


def _listed(folder: Path) -> dict[str, list[Path]]:
    """The files of a folder, and of those in it, by what prompts call them: stems, or paths without the ending."""
    found: dict[str, list[Path]] = {}
    for file in sorted(folder.rglob("*" + ENDING)):
        path = file.relative_to(folder).with_suffix("").as_posix()
        for name in dict.fromkeys((path, file.stem)):
            found.setdefault(name, []).append(file)
    return found


def lora_named(name: str, folder: str | None) -> Path:
    """The file of a LoRA that a prompt names. Raises CheckpointError, one sentence, where there is none, or several."""
    if folder is None:
        raise CheckpointError(f"the prompt names the LoRA {name!r}: name the folder that it is in with --lora-dir")
    place = Path(folder).expanduser()
    if not place.is_dir():
        raise CheckpointError(f"there is no folder {folder!r}, in which the prompt's LoRA {name!r} is to be")
    files = _listed(place)
    there = files.get(name, [])
    if len(there) == 1:
        if is_device(there[0]):
            raise CheckpointError(f"{str(there[0])!r} {DEVICE}")
        return there[0]
    if there:
        paths = " or ".join(repr(file.relative_to(place).with_suffix("").as_posix()) for file in there)
        raise CheckpointError(f"{folder} has {len(there)} LoRAs of the name {name!r}: write {paths}")
    near = get_close_matches(name, files, n=3, cutoff=0.5) or sorted(files)[:5]
    instead = f"there are {', '.join(near)}" if near else f"it has no {ENDING} file"
    raise CheckpointError(f"{folder} has no LoRA {name!r}: {instead}")
