"""The small files of a folder in the diffusers layout, and which of its files hold the weights."""

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError

from ..devices import DEVICE, is_device

Merges = list[tuple[str, str]]

CONVERT = "python -m stable_diffusion.convert"  # which reads pickles, and runs nothing of what is in them

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
        raise damaged(path, error) from None
    if not isinstance(content, dict):
        raise damaged(path, "it holds no JSON object")
    return content


def _read_text(path: Path) -> str:
    if is_device(path):
        raise CheckpointError(f"{path} {DEVICE}")
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(
            f"{path} is missing: is {path.parent} part of a checkpoint in the diffusers layout?"
        ) from None
    except OSError as error:
        raise CheckpointError(f"{path} can't be read ({error.strerror or error})") from None
    except UnicodeDecodeError as error:
        raise damaged(path, error) from None


def damaged(path: Path, why: object) -> CheckpointError:
    """What to raise for a file that is not what it should be, in one sentence."""
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
                    raise damaged(index, "it names no shards")
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
            raise damaged(files["tokenizer"], "it holds no byte-pair vocabulary") from None
    for pair in merges:
        for token in (*pair, "".join(pair)):
            if token not in vocab:
                raise damaged(folder, f"it joins {pair[0]!r} and {pair[1]!r}, and {token!r} has no id")
    added: dict[str, int] = {**there.get("added_tokens", {})}
    flags: dict[str, dict[str, bool]] = {}
    for name, listed in _LISTED.items():
        try:
            for i, token in listed(there.get(name, {})):
                (content,) = _texts(token["content"])
                added[content] = int(i) if isinstance(i, str) else i
                flags[content] = {flag: bool(token[flag]) for flag in _FLAGS if flag in token}
        except (KeyError, TypeError, ValueError, AttributeError):
            raise damaged(files[name], "its added tokens are no words with numbers") from None
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
        raise damaged(path, f"model_max_length is {length!r}")
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
            raise damaged(path, f"the line {line!r} is no pair")
        merges.append((pair[0], pair[1]))
    return merges
