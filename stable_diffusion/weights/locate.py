"""From what a person calls a model to a folder in the diffusers layout. The only home of huggingface_hub."""

import fnmatch
from collections.abc import Iterable
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    DryRunError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)

from ..presets import PRESETS, preset_of
from .checkpoint import CheckpointError

_SMALL_FILES = [
    "model_index.json",
    "scheduler/scheduler_config.json",
    "unet/config.json",
    "vae/config.json",
    *(
        f"{folder}/{name}"
        for i in ("", "_2")
        for folder, names in (
            (f"text_encoder{i}", ("config.json",)),
            (
                f"tokenizer{i}",
                ("vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"),
            ),
        )
        for name in names
    ),
]
_CHECK_NAME = "check the name; a gated one also needs `hf auth login`"
_NETS = ("unet", "vae", "text_encoder", "text_encoder_2")


def needed(files: Iterable[str], half: bool) -> list[str]:
    """Of a repo's files, those that loading takes: for every net its half-precision weights, or else the full ones."""
    names = set(files)
    chosen = [name for name in _SMALL_FILES if name in names]
    for net in _NETS:
        for stem in (f"{net}/diffusion_pytorch_model", f"{net}/model"):
            full = {n for n in names if fnmatch.fnmatch(n, f"{stem}*.safetensors*") and ".non_ema" not in n}
            fp16 = {n for n in full if ".fp16" in n}
            wanted = (fp16 or full) if half else (full - fp16 or fp16)
            chosen += sorted(wanted)
    return chosen


def locate(model: str, half: bool) -> Path:
    """The folder of a preset, of a folder's path, or of a Hugging Face repo, which is downloaded once.

    Downloads go through huggingface_hub: its cache (HF_HOME), its login, its offline mode (HF_HUB_OFFLINE=1), its
    progress bars. Raises CheckpointError, one sentence with the remedy.
    """
    preset = PRESETS.get(model)
    source = preset.source if preset else model
    if isinstance(source, Path):
        return source
    if (path := Path(source).expanduser()).is_dir():
        return path
    if path.is_file():
        raise CheckpointError(f"{model} is one file: name a folder in the diffusers layout, or a Hugging Face repo")
    if source.count("/") != 1 or source.startswith((".", "/", "~")):
        raise CheckpointError(f"there is no model {model!r}: name one of {', '.join(PRESETS)}, a folder, or a repo")
    try:
        return _download(source, half)
    except (GatedRepoError, RepositoryNotFoundError):
        preset = preset_of(source)
        others = [repo for repo in (preset.repos if preset else ()) if repo != source]
        remedy = "try " + " or ".join(f"--model {repo}" for repo in others) if others else _CHECK_NAME
        raise CheckpointError(f"the Hub does not give out {source} (missing, withdrawn or gated): {remedy}") from None
    except HFValidationError:
        raise CheckpointError(f"{source!r} is neither a folder here nor a name that a Hub repo can have") from None
    except LocalEntryNotFoundError:
        raise CheckpointError(
            f"{source} is not in the cache, and the Hub is out of reach: connect, and try again"
        ) from None
    except (HfHubHTTPError, OSError) as error:
        raise CheckpointError(f"downloading {source} failed ({str(error).splitlines()[0]}): try again") from None


def _download(repo: str, half: bool) -> Path:
    try:
        files = needed((info.filename for info in snapshot_download(repo, dry_run=True)), half)
    except DryRunError as error:
        if isinstance(error.__cause__, HfHubHTTPError):
            raise error.__cause__ from None
        # No network: what was downloaded once is enough.
        return Path(snapshot_download(repo, allow_patterns=_SMALL_FILES, local_files_only=True))
    if "model_index.json" not in files:
        raise CheckpointError(f"{repo} has no model_index.json: it is not in the diffusers layout")
    return Path(snapshot_download(repo, allow_patterns=files))
