"""From what a person calls a model to a folder in the diffusers layout. The only home of huggingface_hub."""

import errno
import os
import re
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from ..presets import PRESETS, preset_of
from .checkpoint import CheckpointError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # in a notebook, of a bar that is not used here
    from huggingface_hub import HfApi, constants, hf_hub_download, snapshot_download, try_to_load_from_cache
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
    )

_SMALL_FILES = (
    "model_index.json",
    "scheduler/scheduler_config.json",
    "unet/config.json",
    "vae/config.json",
    *(
        f"{folder}{i}/{name}"
        for i in ("", "_2")
        for folder, names in (
            ("text_encoder", ("config.json",)),
            (
                "tokenizer",
                ("vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"),
            ),
        )
        for name in names
    ),
)
_NETS = ("unet", "vae", "text_encoder", "text_encoder_2")
_WEIGHTS = re.compile(  # one file, or shards and the index that names them; ".fp16" stands before or after the number
    r"(diffusion_pytorch_)?model(\.fp16)?(-\d+-of-\d+)?(\.fp16)?\.safetensors(\.index(\.fp16)?\.json)?"
)
_FULL = (errno.ENOSPC, errno.EDQUOT)
ENDING = ".safetensors"
HUB_FILE = re.compile(rf"([\w.-]+/[\w.-]+)/((?:[\w.-]+/)*[\w. -]+{re.escape(ENDING)})")  # a file in a repo
INDEX = "model_index.json"
ADAPTER = "adapter_config.json"
_USUAL = (f"adapter_model{ENDING}", f"pytorch_lora_weights{ENDING}")  # what peft and diffusers call a LoRA
_PATIENCE = 10.0  # seconds that the Hub has to answer


def _weights(files: Iterable[str], net: str) -> set[str]:
    return {name for name in files if name.startswith(f"{net}/") and _WEIGHTS.fullmatch(name, len(net) + 1)}


def _unweighted(files: set[str]) -> str | None:
    """The first net that has a config.json and no weights that can be read."""
    return next((net for net in _NETS if f"{net}/config.json" in files and not _weights(files, net)), None)


def needed(files: Iterable[str], half: bool) -> list[str]:
    """Of a repo's files, those that loading takes: for every net its half-precision weights, or else the full ones."""
    names = set(files)
    chosen = [name for name in _SMALL_FILES if name in names]
    for net in _NETS:
        weights = _weights(names, net)
        fp16 = {name for name in weights if ".fp16" in name}
        chosen += sorted((fp16 or weights) if half else (weights - fp16 or fp16))
    return chosen


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
    if path.is_dir():
        return path
    if path.is_file():
        return path
    if found := HUB_FILE.fullmatch(place):
        return _hub_file(*found.groups())
    if place.count("/") != 1 or place.startswith((".", "/", "~")) or place.endswith(ENDING):
        raise CheckpointError(
            f"there is no model {model!r}: name one of {', '.join(PRESETS)}, a folder, a .safetensors file, or a repo"
        )
    return _hub(place, lambda: _download(place, half, weights), lambda: _cached(place, weights))


def size_of(model: str) -> int:
    """Bytes that a preset takes on this disk; 0 for one that is not here."""
    preset = PRESETS[model]
    folder = preset.place if isinstance(preset.place, Path) else None
    for repo in (preset.place, *preset.mirrors):
        if folder is None and isinstance(repo, str) and isinstance(at := try_to_load_from_cache(repo, INDEX), str):
            folder = Path(at).parent
    if folder is None:
        return 0
    files = [path for path in folder.rglob("*") if path.is_file()]
    if preset.unet is not None:
        found = HUB_FILE.fullmatch(preset.unet)
        there = try_to_load_from_cache(*found.groups()) if found else None
        if not isinstance(there, str):
            return 0
        files.append(Path(there))
    if not any(path.suffix == ENDING for path in files):
        return 0
    return sum(path.stat().st_size for path in files)


def _hub(place: str, download: Callable[[], Path], cached: Callable[[], Path | None] = lambda: None) -> Path:
    """What the Hub gives, or, where it is out of reach, what it gave before."""
    try:
        return download()
    except CheckpointError:
        raise
    except HFValidationError:
        raise CheckpointError(f"{place!r} is neither a folder here nor a name that a Hub repo can have") from None
    except Exception as error:  # httpx's or httpx2's among them: which of the two, huggingface_hub's version says
        if there := cached():
            return there
        raise CheckpointError(_refusal(place, error)) from error


def _download(repo: str, half: bool, weights: bool) -> Path:
    files = {file.rfilename for file in HfApi().model_info(repo, timeout=_PATIENCE).siblings or ()}
    if "model_index.json" not in files:
        raise CheckpointError(f"{repo} has no model_index.json: it is not in the diffusers layout")
    if net := _unweighted(files):
        raise CheckpointError(f"{repo} has no .safetensors file for its {net}: name a repo that has one")
    wanted = [name for name in needed(files, half) if weights or name in _SMALL_FILES]
    return Path(snapshot_download(repo, allow_patterns=wanted))


def _hub_file(repo: str, name: str) -> Path:
    """A file in a repo; one that was downloaded before is not asked for again."""
    if isinstance(there := try_to_load_from_cache(repo, name), str):
        return Path(there)
    return _hub(repo, lambda: _with_config(repo, name))


def _with_config(repo: str, name: str) -> Path:
    """A file of a repo, and beside it what peft says of it: how much of a LoRA there is to be."""
    folder, _, file = name.rpartition("/")
    if file.startswith("adapter_model"):
        with suppress(EntryNotFoundError):
            hf_hub_download(repo, f"{folder}/{ADAPTER}" if folder else ADAPTER)
    return Path(hf_hub_download(repo, name))


def locate_extra(name: str, what: str) -> Path:
    """The file or folder of a LoRA, an embedding or an autoencoder: a path, a file in a Hub repo, or a repo's only one.

    what: "a LoRA", say, for sentences. A folder that holds no config.json stands for the one .safetensors file in it.
    Raises CheckpointError, one sentence with the remedy.
    """
    path = Path(name).expanduser()
    if path.is_file() or (path.is_dir() and any((path / sub / "config.json").exists() for sub in (".", "vae"))):
        return path
    if path.is_dir():
        return path / _only((file.name for file in path.glob("*" + ENDING)), str(path), what)
    if found := HUB_FILE.fullmatch(name):
        return _hub_file(*found.groups())
    if name.count("/") != 1 or name.startswith((".", "/", "~")) or name.endswith(ENDING):
        raise CheckpointError(f"there is no file {name!r}, which is to be {what}")
    return _hub(name, lambda: _download_extra(name, what), lambda: _cached_extra(name, what))


def _download_extra(repo: str, what: str) -> Path:
    files = {file.rfilename for file in HfApi().model_info(repo, timeout=_PATIENCE).siblings or ()}
    for folder in ("", "vae/"):
        if f"{folder}config.json" in files and f"{folder}diffusion_pytorch_model{ENDING}" in files:
            hf_hub_download(repo, f"{folder}diffusion_pytorch_model{ENDING}")
            return Path(hf_hub_download(repo, f"{folder}config.json")).parent
    return _with_config(repo, _only((f for f in files if f.endswith(ENDING) and "/" not in f), repo, what))


def _cached_extra(repo: str, what: str) -> Path | None:
    """What of a repo was downloaded before, or None."""
    try:
        return locate_extra(snapshot_download(repo, local_files_only=True), what)
    except (CheckpointError, LocalEntryNotFoundError):
        return None


def _only(names: Iterable[str], place: str, what: str) -> str:
    """The one file that is meant: the only one, or the one that diffusers' own name says."""
    there = sorted(names)
    usual = [name for name in there if name in _USUAL]
    if not there:
        raise CheckpointError(f"{place} has no {ENDING} file that could be {what}")
    if len(there) > 1 and not usual:
        raise CheckpointError(f"{place} has {len(there)} files: name one of them, as in {place}/{there[0]}")
    return (usual or there)[0]


def _cached(repo: str, weights: bool) -> Path | None:
    """The folder of a repo of which all that is wanted was downloaded before, or None."""
    index = try_to_load_from_cache(repo, "model_index.json")
    if not isinstance(index, str):
        return None
    folder = Path(index).parent
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    whole = {"unet/config.json", "vae/config.json"} <= files
    return folder if whole and not (weights and _unweighted(files)) else None


def _unusable(folder: Path) -> str | None:
    """What is wrong with a folder for files, which need not be there yet; None: nothing that can be seen."""
    real = Path(os.path.realpath(folder))  # where links lead, of which the last folders are made when they are needed
    for place in map(str, (real, *real.parents)):
        if os.path.exists(place):
            if not os.path.isdir(place):
                return f"{place} is no folder"
            return None if os.access(place, os.W_OK | os.X_OK) else f"{place} can't be written to"
    return None


def _refusal(repo: str, error: Exception) -> str:
    """Why a repo that is not in the cache can't be had, and what to do, in one sentence."""
    if isinstance(error, GatedRepoError):
        return f"{repo} is gated: accept its terms at https://huggingface.co/{repo}, and log in with `hf auth login`"
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    if status in (401, 403, 404):
        preset = preset_of(repo)
        others = [other for other in (preset.repos if preset else ()) if other != repo]
        if others:
            return f"the Hub does not give out {repo}: try " + " or ".join(f"--model {other}" for other in others)
        return f"the Hub gives out no {repo}: check the name; a private one also needs `hf auth login`"
    if status is not None:
        return f"the Hub answered {status} when it was asked for {repo}: try again later"
    if isinstance(error, OfflineModeIsEnabled):
        return f"{repo} is not in the cache, and HF_HUB_OFFLINE is set: unset it, and try again"
    if said := _unusable(Path(constants.HF_HUB_CACHE)):
        return f"{repo} is not in the cache, and can't be put there: {said}; name a folder of your own in HF_HOME"
    if isinstance(error, OSError) and error.errno in _FULL:
        return f"there is no room for {repo} ({error.strerror}): name a folder on a larger disk in HF_HOME"
    why = next(iter(str(error).splitlines()), "") or type(error).__name__
    return f"{repo} is not in the cache, and downloading it failed ({why}): check the connection, and try again"
