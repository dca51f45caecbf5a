"""Files to parameters: strict, and lazy. A tensor is read when it is first used."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten
from safetensors import SafetensorError, safe_open

from .names import Table, renamed


class CheckpointError(ValueError):
    """A checkpoint that can't be loaded; the message is one sentence for the person who named it."""


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file. Raises CheckpointError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing: is {path.parent} a checkpoint in the diffusers layout?") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path} is damaged ({error}): download it again") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} does not hold a JSON object: download it again")
    return content


def weight_files(folder: Path, half: bool) -> list[Path]:
    """The safetensors files of one net: those in half precision first where half is wanted, the full ones otherwise.

    Raises CheckpointError where there are none, or where a shard is missing.
    """
    for variant in (".fp16", "") if half else ("", ".fp16"):
        for stem in ("diffusion_pytorch_model", "model"):
            index = folder / f"{stem}.safetensors.index{variant}.json"
            if index.exists():
                files = [folder / name for name in sorted(set(read_json(index)["weight_map"].values()))]
                for file in files:
                    if not file.exists():
                        raise CheckpointError(f"{file} is missing, and {index.name} names it: download it again")
                return files
            if (file := folder / f"{stem}{variant}.safetensors").exists():
                return [file]
    others = sorted(p.name for p in folder.glob("*.bin")) if folder.is_dir() else []
    hint = f"only {others[0]} is there, which may run code when it is read" if others else "download it again"
    raise CheckpointError(f"{folder} has no .safetensors file: {hint}")


def _open(file: Path) -> dict[str, mx.array]:
    """Lazy tensors of a file whose header covers it."""
    try:
        with safe_open(file, framework="numpy"):  # reads the header only, and finds a truncated file
            pass
        return mx.load(str(file))  # type: ignore[return-value]
    except (SafetensorError, RuntimeError, OSError) as error:
        raise CheckpointError(f"{file} is damaged or cut short ({error}): download it again") from None


def _fitted(tensor: mx.array, shape: tuple[int, ...]) -> mx.array:
    """PyTorch's layout to ours: (O, I, H, W) kernels to (O, H, W, I); 1x1 kernels to matrices where ours are."""
    if tensor.ndim == 4:
        if len(shape) == 2 and tensor.shape[2:] == (1, 1):
            return tensor.squeeze((2, 3))
        return tensor.transpose(0, 2, 3, 1)
    return tensor


def load(net: nn.Module, files: list[Path], table: Table, dtype: mx.Dtype) -> None:
    """Put the files' tensors into the net, every one of them, as dtype.

    Raises CheckpointError that names a tensor which is missing, left over, or of the wrong shape.
    """
    wanted: Mapping[str, mx.array] = dict(tree_flatten(net.parameters()))
    found: dict[str, mx.array] = {}
    for file in files:
        for name, tensor in _open(file).items():
            ours = renamed(name, table)
            if ours is None:
                continue
            if ours not in wanted:
                raise CheckpointError(f"{file} has a tensor {name!r} that its config.json knows nothing of")
            fitted = _fitted(tensor, wanted[ours].shape)
            if fitted.shape != wanted[ours].shape:
                raise CheckpointError(
                    f"{file}: {name!r} has shape {tuple(tensor.shape)}, and config.json asks for {wanted[ours].shape}"
                )
            found[ours] = fitted.astype(dtype)
    missing = sorted(wanted.keys() - found.keys())
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise CheckpointError(f"{files[0]} lacks the tensor {missing[0]!r}{more} that config.json asks for")
    net.load_weights(list(found.items()))


def read_tokenizer(folder: Path) -> tuple[dict[str, int], list[tuple[str, str]], str]:
    """A CLIP tokenizer's vocabulary, its merges (best first) and the token that it pads with.

    From vocab.json and merges.txt, or from the tokenizer.json that new versions of transformers save instead.
    """
    config: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if (folder / name).exists():
            config |= read_json(folder / name)
    pad = config.get("pad_token") or "<|endoftext|>"
    pad = pad["content"] if isinstance(pad, dict) else pad
    if not (folder / "vocab.json").exists() and (folder / "tokenizer.json").exists():
        model = read_json(folder / "tokenizer.json")["model"]
        pairs = [merge.split() if isinstance(merge, str) else merge for merge in model["merges"]]
        return model["vocab"], [(left, right) for left, right in pairs], pad
    return read_json(folder / "vocab.json"), _read_merges(folder / "merges.txt"), pad


def _read_merges(path: Path) -> list[tuple[str, str]]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except OSError:
        raise CheckpointError(f"{path} is missing: download it again") from None
    merges = []
    for line in lines:
        if not line.strip() or line.startswith("#version"):
            continue
        pair = line.split()
        if len(pair) != 2:
            raise CheckpointError(f"{path} has a line {line!r} that is no pair: download it again")
        merges.append((pair[0], pair[1]))
    return merges
