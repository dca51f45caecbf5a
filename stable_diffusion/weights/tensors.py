"""Tensors in safetensors files, and from there into nets: strict, and lazy. One is read when it is first used."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten
from safetensors import SafetensorError, safe_open

from ..devices import DEVICE, is_device
from .checkpoint import CONVERT, CheckpointError, damaged
from .names import Table, renamed
from .numbers import E4M3, E5M2, load_tensors
from .scales import dequantized, scales_of

UNREADABLE = ("F8_", "F4", "F6_", "C")  # beginnings of the kinds that are not read
# How files begin that people take for safetensors, and what to say of them.
_PICKLE = "is a PyTorch file, which may run code when it is read: make a .safetensors file of it first with {convert}"
_OTHERS: Mapping[bytes, str] = {
    b"PK": _PICKLE,
    b"\x80\x02": _PICKLE,
    b"\x80\x04": _PICKLE,
    b"GGUF": "is a GGUF file, which is not read here: name a .safetensors file",
    b"\x89HDF": "is an HDF5 file, which is not read here: name a .safetensors file",
    b"version https://git-lfs": "is damaged or cut short (it is a pointer of Git LFS): download the file itself",
    b"<": "is damaged or cut short (it is a page of the web): download it again, after a login where that is needed",
}


@dataclass(frozen=True)
class Header:
    """What a safetensors file says that it holds; its shapes are PyTorch's."""

    file: Path
    entries: Mapping[str, Mapping[str, Any]]  # of each tensor: dtype, shape, data_offsets
    metadata: Mapping[str, str]

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return {name: tuple(entry["shape"]) for name, entry in self.entries.items()}

    @cached_property
    def kinds(self) -> Mapping[str, str]:
        """F16, F32, ..."""
        return {name: entry["dtype"] for name, entry in self.entries.items()}

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
        return Header(file, entries, metadata)
    except FileNotFoundError:
        raise CheckpointError(f"there is no file {str(file)!r}") from None
    except OSError as error:
        raise CheckpointError(f"{file} can't be read ({error.strerror or error})") from None
    except (SafetensorError, ValueError, RecursionError) as error:
        raise _something_else(file) or damaged(file, error) from None


def _something_else(file: Path) -> CheckpointError | None:
    """The sentence about a file of another kind, known by how it begins."""
    with file.open("rb") as opened:
        begins = opened.read(24)
    said = next((said for magic, said in _OTHERS.items() if begins.startswith(magic)), None)
    return CheckpointError(f"{file} {said.format(convert=CONVERT)}") if said else None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON. Raises ValueError for a name that is there twice: readers differ in which one they take."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a tensor is there twice")
    return found


def open_tensors(file: Path, under: str = "") -> tuple[dict[str, mx.array], dict[str, str]]:
    """The tensors of a safetensors file whose names begin so, not yet read where MLX can read them, and its metadata.

    8-bit floats are float16, which is exact, or float32 where they have scales; 64-bit floats are float32. Raises
    CheckpointError for a damaged file, and for kinds of numbers that are not read here.
    """
    header = read_header(file)
    check_numbers(header)
    try:
        tensors = load_tensors(file, header.entries, under)
    except (RuntimeError, ValueError) as error:
        raise damaged(file, error) from None
    return dequantized(tensors, scales_of(file, header.entries, header.metadata)), dict(header.metadata)


def check_numbers(header: Header) -> None:
    """Raise CheckpointError for kinds of numbers that are not read here, and for forms of them."""
    kinds = sorted({kind for kind in header.kinds.values() if kind.startswith(UNREADABLE)} - {E4M3, E5M2})
    if kinds:
        raise CheckpointError(
            f"{header.file} holds numbers of kind {', '.join(kinds)}: name a checkpoint of fp32, fp16, bf16 or fp8"
        )
    scales_of(header.file, header.entries, header.metadata)


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
