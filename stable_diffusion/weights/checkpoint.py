"""Files to parameters: strict, and lazy. A tensor is read when it is first used."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten
from safetensors import SafetensorError, safe_open

from .names import Table, renamed

Merges = list[tuple[str, str]]

_SHARD = re.compile(r"[\w.-]{1,200}\.safetensors")  # a file beside its index
_FLAGS = ("normalized", "single_word", "lstrip", "rstrip")  # of an added token: see tokenizers.AddedToken
_START = "<|startoftext|>"
_END = "<|endoftext|>"  # pads where a tokenizer does not say what does


class CheckpointError(ValueError):
    """A checkpoint that can't be loaded; the message is one sentence for the person who named it."""


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file. Raises CheckpointError."""
    try:
        content = json.loads(_read_text(path))
    except json.JSONDecodeError as error:
        raise _damaged(path, error) from None
    if not isinstance(content, dict):
        raise _damaged(path, "it holds no JSON object")
    return content


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(
            f"{path} is missing: is {path.parent} part of a checkpoint in the diffusers layout?"
        ) from None
    except OSError as error:
        raise CheckpointError(f"{path} can't be read ({error.strerror or error})") from None
    except UnicodeDecodeError as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, why: object) -> CheckpointError:
    if isinstance(why, UnicodeDecodeError):
        why = "it is no text in UTF-8"
    first = next(iter(str(why).splitlines()), type(why).__name__)
    if isinstance(why, SafetensorError):  # which quotes what its own readers say
        first = first.removeprefix("Error while deserializing header: ").partition(":")[0]
    return CheckpointError(f"{path} is damaged or cut short ({first}): download it again")


def weight_files(folder: Path, half: bool) -> list[Path]:
    """The safetensors files of one net: those in half precision first where half is wanted, the full ones otherwise.

    Raises CheckpointError where there are none, or where a shard is missing.
    """
    for variant in (".fp16", "") if half else ("", ".fp16"):
        for stem in ("diffusion_pytorch_model", "model"):
            index = folder / f"{stem}.safetensors.index{variant}.json"
            if index.exists():
                shards = read_json(index).get("weight_map")
                names = shards.values() if isinstance(shards, dict) else ()
                if not names or not all(isinstance(name, str) and _SHARD.fullmatch(name) for name in names):
                    raise _damaged(index, "it names no shards")
                files = [folder / name for name in sorted(set(names))]
                for file in files:
                    if not file.exists():
                        raise CheckpointError(f"{file} is missing, and {index.name} names it: download it again")
                return files
            if (file := folder / f"{stem}{variant}.safetensors").exists():
                return [file]
    others = sorted(p.name for p in folder.glob("*.bin")) if folder.is_dir() else []
    hint = f"only {others[0]} is there, which may run code when it is read" if others else "download it again"
    raise CheckpointError(f"{folder} has no .safetensors file: {hint}")


def open_tensors(file: Path) -> tuple[dict[str, mx.array], dict[str, str]]:
    """The tensors of a safetensors file, not yet read, and its metadata. Raises CheckpointError for a damaged one."""
    try:
        with safe_open(file, framework="numpy") as opened:  # reads the header only, and finds a truncated file
            metadata = opened.metadata() or {}
        return mx.load(str(file), format="safetensors"), metadata  # type: ignore[return-value]
    except OSError as error:
        raise CheckpointError(f"{file} can't be read ({error.strerror or error})") from None
    except (SafetensorError, RuntimeError) as error:
        if kinds := _unreadable(file):
            raise CheckpointError(
                f"{file} holds numbers of kind {kinds}: name a checkpoint of fp32, fp16 or bf16"
            ) from None
        raise _damaged(file, error) from None


def _unreadable(file: Path) -> str:
    """The kinds of numbers in a whole safetensors file that MLX does not read."""
    try:
        with safe_open(file, framework="numpy") as opened:
            kinds = {str(opened.get_slice(name).get_dtype()) for name in opened.keys()}  # noqa: SIM118  not a dict
    except (SafetensorError, OSError, RuntimeError):
        return ""
    return ", ".join(sorted(kind for kind in kinds if kind == "F64" or kind.startswith(("F8", "F4", "C"))))


def _fitted(tensor: mx.array, shape: tuple[int, ...]) -> mx.array:
    """PyTorch's layout to ours: (O, I, H, W) kernels to (O, H, W, I); 1x1 kernels to matrices where ours are."""
    if tensor.ndim == 4:
        if len(shape) == 2 and tensor.shape[2:] == (1, 1):
            return tensor.squeeze((2, 3))
        return tensor.transpose(0, 2, 3, 1)
    return tensor


def _theirs(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape in PyTorch's layout of a parameter of ours."""
    return (shape[0], shape[3], *shape[1:3]) if len(shape) == 4 else shape


def load(net: nn.Module, files: list[Path], table: Table, dtype: mx.Dtype) -> None:
    """Put the files' tensors into the net, every one of them, as dtype.

    Raises CheckpointError that names a tensor which is missing, left over, there twice, of the wrong shape, or not
    of floating-point numbers.
    """
    wanted: Mapping[str, mx.array] = dict(tree_flatten(net.parameters()))
    found: dict[str, mx.array] = {}
    for file in files:
        tensors, _ = open_tensors(file)
        for name, tensor in sorted(tensors.items(), key=itemgetter(0)):  # so that always the same one is named
            ours = renamed(name, table)
            if ours is None:
                continue
            if ours not in wanted:
                raise CheckpointError(f"{file} has a tensor {name!r} that its config.json knows nothing of")
            if ours in found:
                raise CheckpointError(f"{file} has the tensor {name!r} a second time: download it again")
            if not mx.issubdtype(tensor.dtype, mx.floating):  # 8-bit floats come as integers, and would pass silently
                raise CheckpointError(f"{file}: {name!r} holds no 16- or 32-bit floats: name a checkpoint that does")
            shape = wanted[ours].shape
            fitted = _fitted(tensor, shape)
            if fitted.shape != shape:
                raise CheckpointError(
                    f"{file}: {name!r} has shape {tuple(tensor.shape)}, and config.json asks for {_theirs(shape)}"
                )
            found[ours] = fitted.astype(dtype)
    missing = sorted(wanted.keys() - found.keys())
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        where = files[0] if len(files) == 1 else files[0].parent
        raise CheckpointError(f"{where} lacks the tensor {missing[0]!r}{more} that config.json asks for")
    net.load_weights(list(found.items()))


class TokenizerFiles(NamedTuple):
    """What a tokenizer is, in the order in which CLIPTokenizer takes it."""

    vocab: dict[str, int]
    merges: Merges  # best first
    pad_token: str
    length: int  # of every text, with its ends and padding
    words: dict[str, dict[str, bool]]  # that were added and are never split; how each is found, if not plainly


def read_tokenizer(folder: Path) -> TokenizerFiles:
    """A CLIP tokenizer.

    From vocab.json and merges.txt, or from the tokenizer.json that new versions of transformers save instead; words
    that were added to it stand in tokenizer.json, in tokenizer_config.json since transformers 4.34, and in
    added_tokens.json before.
    """
    files = {name: folder / f"{name}.json" for name in ("tokenizer", "tokenizer_config", "added_tokens")}
    there = {name: read_json(path) for name, path in files.items() if path.exists()}
    whole = there.get("tokenizer", {})
    if (folder / "vocab.json").exists() or not whole:
        vocab, merges = read_json(folder / "vocab.json"), _read_merges(folder / "merges.txt")
    else:
        try:
            vocab = {**whole["model"]["vocab"]}
            pairs = [m.split(" ") if isinstance(m, str) else m for m in whole["model"]["merges"]]
            merges = [_texts(left, right) for left, right in pairs]
        except (KeyError, TypeError, ValueError, AttributeError):
            raise _damaged(files["tokenizer"], "it holds no byte-pair vocabulary") from None
    for pair in merges:
        for token in (*pair, "".join(pair)):
            if token not in vocab:
                raise _damaged(folder, f"it joins {pair[0]!r} and {pair[1]!r}, and {token!r} has no id")
    added: dict[str, int] = {**there.get("added_tokens", {})}
    flags: dict[str, dict[str, bool]] = {}
    for name, listed in _LISTED.items():
        try:
            for i, token in listed(there.get(name, {})):
                (content,) = _texts(token["content"])
                added[content] = int(i) if isinstance(i, str) else i
                flags[content] = {flag: bool(token[flag]) for flag in _FLAGS if flag in token}
        except (KeyError, TypeError, ValueError, AttributeError):
            raise _damaged(files[name], "its added tokens are no words with numbers") from None
    pad = _pad_token(folder)
    words = {w: flags.get(w, {}) for w in added if w not in vocab and w not in (_START, _END, pad)}
    return TokenizerFiles(vocab | added, merges, pad, _length(folder), words)


def _texts(*values: Any) -> tuple[Any, ...]:
    """The same. Raises TypeError for what is no text."""
    if not all(isinstance(value, str) for value in values):
        raise TypeError
    return values


# The numbers and descriptions of added words in a tokenizer's files.
_LISTED: dict[str, Callable[[dict[str, Any]], Iterable[tuple[Any, Any]]]] = {
    "tokenizer_config": lambda config: (config.get("added_tokens_decoder") or {}).items(),
    "tokenizer": lambda whole: ((token["id"], token) for token in whole.get("added_tokens") or ()),
}


def _length(folder: Path) -> int:
    """How many tokens a text has, with its ends and padding: 77, unless the tokenizer says otherwise."""
    path = folder / "tokenizer_config.json"
    length = read_json(path).get("model_max_length", 77) if path.exists() else 77
    if not isinstance(length, int | float) or isinstance(length, bool) or length < 3:
        raise _damaged(path, f"model_max_length is {length!r}")
    return int(length) if length < 10**6 else 77  # transformers writes 10^30 where nobody has said anything


def _pad_token(folder: Path) -> str:
    """The token that a tokenizer pads with, from its settings, read as transformers does.

    SD 2.x's two files differ in it: there special_tokens_map.json is right. Since transformers 4.34 the tokens'
    properties stand in tokenizer_config.json (`added_tokens_decoder`), and then that file alone counts.
    """
    paths = (folder / "tokenizer_config.json", folder / "special_tokens_map.json")
    config, special = (read_json(path) if path.exists() else {} for path in paths)
    both = special | config if "added_tokens_decoder" in config else config | special
    pad = both.get("pad_token") or _END
    return str(pad.get("content", _END) if isinstance(pad, dict) else pad)


def _read_merges(path: Path) -> Merges:
    lines = _read_text(path).split("\n")
    merges = []
    for line in lines[lines[0].startswith("#version") :]:
        if not line.strip():
            continue
        pair = line.split()
        if len(pair) != 2:
            raise _damaged(path, f"the line {line!r} is no pair")
        merges.append((pair[0], pair[1]))
    return merges
