"""Tensors in safetensors files, and from there into nets: strict, and lazy. One is read when it is first used."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten
from safetensors import SafetensorError, safe_open

from ..devices import DEVICE, is_device
from .checkpoint import CheckpointError, damaged
from .names import Table, renamed

FP8 = "F8_E4M3"  # which MLX reads as whole numbers, and can convert
UNREADABLE = ("F64", "F8_", "F4", "F6_", "C")  # beginnings of the kinds that MLX does not read


@dataclass(frozen=True)
class Header:
    """What a safetensors file says that it holds; its shapes are PyTorch's."""

    file: Path
    shapes: Mapping[str, tuple[int, ...]]
    kinds: Mapping[str, str]  # F16, F32, ...
    metadata: Mapping[str, str]

    def under(self, prefix: str) -> dict[str, tuple[int, ...]]:
        """The shapes of the tensors whose names begin so, by the rest of their names."""
        return {name[len(prefix) :]: shape for name, shape in self.shapes.items() if name.startswith(prefix)}


def read_header(file: Path) -> Header:
    """What is in a safetensors file, by its first bytes. Raises CheckpointError for one that is damaged, or none."""
    if file.is_dir():
        raise CheckpointError(f"{file} is a folder, and no .safetensors file: name the file in it")
    if is_device(file):
        raise CheckpointError(f"{file} {DEVICE}")
    try:
        with safe_open(file, framework="numpy") as opened:  # finds lengths that do not fit, and a truncated file
            metadata = opened.metadata() or {}
        with file.open("rb") as raw:
            entries = json.loads(raw.read(int.from_bytes(raw.read(8), "little")), object_pairs_hook=_once)
        entries.pop("__metadata__", None)
        shapes = {name: tuple(entry["shape"]) for name, entry in entries.items()}
        return Header(file, shapes, {name: entry["dtype"] for name, entry in entries.items()}, metadata)
    except FileNotFoundError:
        raise CheckpointError(f"there is no file {str(file)!r}") from None
    except OSError as error:
        raise CheckpointError(f"{file} can't be read ({error.strerror or error})") from None
    except (SafetensorError, ValueError, RecursionError) as error:
        raise damaged(file, error) from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON. Raises ValueError for a name that is there twice: readers differ in which one they take."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a tensor is there twice")
    return found


def open_tensors(file: Path) -> tuple[dict[str, mx.array], dict[str, str]]:
    """The tensors of a safetensors file, not yet read, and its metadata; 8-bit floats (e4m3) as float16, to be exact.

    Raises CheckpointError for a damaged file, and for kinds of numbers that are not read here.
    """
    header = read_header(file)
    kinds = sorted({kind for kind in header.kinds.values() if kind.startswith(UNREADABLE) and kind != FP8})
    if kinds:
        raise CheckpointError(
            f"{file} holds numbers of kind {', '.join(kinds)}: name a checkpoint of fp32, fp16, bf16 or fp8 (e4m3)"
        )
    try:
        tensors: dict[str, mx.array] = mx.load(str(file), format="safetensors")  # type: ignore[assignment]
    except (RuntimeError, ValueError) as error:
        raise damaged(file, error) from None
    for name, kind in header.kinds.items():
        if kind == FP8:
            tensors[name] = mx.from_fp8(tensors[name], dtype=mx.float16)
    return tensors, dict(header.metadata)


class Tensor(NamedTuple):
    """A tensor on its way into a net: not yet read, in PyTorch's layout."""

    file: Path
    theirs: str  # its name in the file
    ours: str
    array: mx.array


def tensors_of(files: Iterable[Path], table: Table) -> Iterator[Tensor]:
    """The tensors of some files whose names differ from ours by a table."""
    for file in files:
        tensors, _ = open_tensors(file)
        for name, array in sorted(tensors.items(), key=itemgetter(0)):  # so that always the same one is named
            if (ours := renamed(name, table)) is not None:
                yield Tensor(file, name, ours, array)


def fitted(tensor: mx.array, shape: tuple[int, ...]) -> mx.array:
    """PyTorch's layout to ours: (O, I, H, W) kernels to (O, H, W, I); 1x1 kernels to matrices where ours are."""
    if tensor.ndim == 4:
        if len(shape) == 2 and tensor.shape[2:] == (1, 1):
            return tensor.squeeze((2, 3))
        return tensor.transpose(0, 2, 3, 1)
    if tensor.ndim == 3 and len(shape) == 2 and tensor.shape[2] == 1:
        return tensor.squeeze(2)
    return tensor


def theirs(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape in PyTorch's layout of a parameter of ours."""
    return (shape[0], shape[3], *shape[1:3]) if len(shape) == 4 else shape


def load(net: nn.Module, tensors: Iterable[Tensor], dtype: mx.Dtype, asks: str = "its config.json") -> None:
    """Put tensors into the net, every one of them, as dtype.

    asks: what says which there have to be. Raises CheckpointError that names a tensor which is missing, left over,
    there twice, of the wrong shape, or not of floating-point numbers.
    """
    wanted: Mapping[str, mx.array] = dict(tree_flatten(net.parameters()))
    found: dict[str, mx.array] = {}
    files: dict[Path, None] = {}
    config = asks.removeprefix("its ")
    for file, name, ours, tensor in tensors:
        files[file] = None
        if ours not in wanted:
            raise CheckpointError(f"{file} has a tensor {name!r} that {asks} knows nothing of")
        if ours in found:
            raise CheckpointError(f"{file} has the tensor {name!r} a second time: download it again")
        if not mx.issubdtype(tensor.dtype, mx.floating):
            if (wanted[ours].dtype, wanted[ours].shape) != (tensor.dtype, tensor.shape):
                raise CheckpointError(f"{file}: {name!r} holds no 16- or 32-bit floats: name a checkpoint that does")
            found[ours] = tensor  # of a quantised layer
            continue
        shape = wanted[ours].shape
        fitting = fitted(tensor, shape)
        if fitting.shape != shape:
            raise CheckpointError(
                f"{file}: {name!r} has shape {tuple(tensor.shape)}, and {config} asks for {theirs(shape)}"
            )
        # What only looks transposed would be copied again at every call of a convolution.
        found[ours] = mx.contiguous(fitting.astype(dtype))
    missing = sorted(wanted.keys() - found.keys())
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        where = next(iter(files), "the file") if len(files) < 2 else next(iter(files)).parent
        raise CheckpointError(f"{where} lacks the tensor {missing[0]!r}{more} that {config} asks for")
    net.load_weights(list(found.items()))
