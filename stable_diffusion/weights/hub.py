"""What the Hugging Face Hub gives, and what to say where it does not. The only home of huggingface_hub."""

import errno
import os
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ..presets import preset_of
from .checkpoint import CheckpointError
from .repo import ADAPTER, ENDING, INDEX, SMALL_FILES, extra_in, needed, only, unweighted

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

_FULL = (errno.ENOSPC, errno.EDQUOT)
_PATIENCE = 10.0  # seconds that the Hub has to answer


def hub_folder(repo: str, half: bool, weights: bool) -> Path:
    """The folder of a repo in the diffusers layout, or of its small files alone. Raises CheckpointError."""
    return _hub(repo, lambda: _download(repo, half, weights), lambda: _cached(repo, weights))


def hub_extra(repo: str, what: str) -> Path:
    """The folder of an autoencoder, or a repo's only file. what: see `locate_extra`. Raises CheckpointError."""
    return _hub(repo, lambda: _download_extra(repo, what), lambda: _cached_extra(repo, what))


def cached_file(repo: str, name: str) -> Path | None:
    """A file that was downloaded before."""
    there = try_to_load_from_cache(repo, name)
    return Path(there) if isinstance(there, str) else None


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
    files = _files(repo)
    if INDEX not in files:
        raise CheckpointError(f"{repo} has no model_index.json: it is not in the diffusers layout")
    if net := unweighted(files):
        raise CheckpointError(f"{repo} has no .safetensors file for its {net}: name a repo that has one")
    wanted = [name for name in needed(files, half) if weights or name in SMALL_FILES]
    return Path(snapshot_download(repo, allow_patterns=wanted))


def hub_file(repo: str, name: str) -> Path:
    """A file in a repo; one that was downloaded before is not asked for again."""
    if there := cached_file(repo, name):
        return there

    def download() -> Path:
        if name not in _files(repo):
            raise CheckpointError(f"{repo} has no file {name}: look there for its name")
        return _with_config(repo, name)

    return _hub(repo, download)


def _files(repo: str) -> set[str]:
    """The names of a repo's files. It goes before any download, which would wait half a minute for a Hub that is out of
    reach, where this says so at once."""
    return {file.rfilename for file in HfApi().model_info(repo, timeout=_PATIENCE).siblings or ()}


def _with_config(repo: str, name: str) -> Path:
    """A file of a repo, and beside it what peft says of it: how much of a LoRA there is to be."""
    folder, _, file = name.rpartition("/")
    if file.startswith("adapter_model"):
        with suppress(EntryNotFoundError):
            hf_hub_download(repo, f"{folder}/{ADAPTER}" if folder else ADAPTER)
    return Path(hf_hub_download(repo, name))


def _download_extra(repo: str, what: str) -> Path:
    files = _files(repo)
    for folder in ("", "vae/"):
        if f"{folder}config.json" in files and f"{folder}diffusion_pytorch_model{ENDING}" in files:
            hf_hub_download(repo, f"{folder}diffusion_pytorch_model{ENDING}")
            return Path(hf_hub_download(repo, f"{folder}config.json")).parent
    return _with_config(repo, only((f for f in files if f.endswith(ENDING) and "/" not in f), repo, what))


def _cached_extra(repo: str, what: str) -> Path | None:
    """What of a repo was downloaded before, or None."""
    try:
        return extra_in(Path(snapshot_download(repo, local_files_only=True)), what)
    except (CheckpointError, LocalEntryNotFoundError):
        return None


def _cached(repo: str, weights: bool) -> Path | None:
    """The folder of a repo of which all that is wanted was downloaded before, or None."""
    if (index := cached_file(repo, INDEX)) is None:
        return None
    folder = index.parent
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    whole = {"unet/config.json", "vae/config.json"} <= files
    return folder if whole and not (weights and unweighted(files)) else None


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
