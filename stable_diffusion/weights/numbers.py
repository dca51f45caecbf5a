"""The kinds of numbers in safetensors files. MLX reads most of them, and no file that has any of the others."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import mlx.core as mx

if TYPE_CHECKING:  # not at every start: few files have what it reads
    import numpy as np

E4M3, E5M2, DOUBLE = "F8_E4M3", "F8_E5M2", "F64"
_NAMES = {"F16": "fp16", "F32": "fp32", "BF16": "bf16", DOUBLE: "fp64", E4M3: "fp8", E5M2: "fp8"}
_NOT_MLX = {E5M2, DOUBLE}


def _fp8(codes: mx.array) -> mx.array:
    return mx.from_fp8(codes, dtype=mx.float16)


class _Stored(NamedTuple):
    """How NumPy calls the bytes of a kind of numbers, and what makes these numbers of them."""

    dtype: str
    made: "Callable[[np.ndarray], mx.array]" = mx.array


_STORED: Mapping[str, _Stored] = {
    **{f"{sign}{bits}": _Stored(f"<{sign.lower()}{bits // 8}") for sign in "IU" for bits in (8, 16, 32, 64)},
    "BOOL": _Stored("?"),
    "F16": _Stored("<f2"),
    "F32": _Stored("<f4"),
    "BF16": _Stored("<u2", lambda codes: mx.array(codes).view(mx.bfloat16)),
    E4M3: _Stored("u1", lambda codes: _fp8(mx.array(codes))),
    E5M2: _Stored("u1", lambda codes: (mx.array(codes).astype(mx.uint16) << 8).view(mx.float16)),  # its upper half
    DOUBLE: _Stored("<f8", lambda doubles: _rounded(doubles)),
}


def _rounded(doubles: "np.ndarray") -> mx.array:
    import numpy as np

    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is found as that
        return mx.array(doubles.astype(np.float32))


def called(kind: str) -> str:
    """What people call a kind of numbers: fp16, say."""
    return _NAMES.get(kind, kind.lower())


def load_tensors(file: Path, entries: Mapping[str, Mapping[str, Any]], under: str = "") -> dict[str, mx.array]:
    """The tensors of a safetensors file whose names begin so, by the entries of its header.

    8-bit floats become float16, which is exact, and 64-bit floats float32. None is read before it is used, but those of
    a file that has numbers which MLX does not read: these are read at once. Raises RuntimeError or ValueError for what
    can't be read, and OSError.
    """
    wanted = {name: entry for name, entry in entries.items() if name.startswith(under)}
    if not any(entry["dtype"] in _NOT_MLX for entry in entries.values()):
        loaded: Any = mx.load(str(file), format="safetensors")
        return {name: _fp8(loaded[name]) if e["dtype"] == E4M3 else loaded[name] for name, e in wanted.items()}
    with file.open("rb") as opened:
        begins = 8 + int.from_bytes(opened.read(8), "little")
    return {name: _read(file, begins, entry) for name, entry in wanted.items()}


def _read(file: Path, begins: int, entry: Mapping[str, Any]) -> mx.array:
    """One tensor of a file whose numbers begin at this byte."""
    import numpy as np

    dtype, made = _STORED[entry["dtype"]]
    start, end = entry["data_offsets"]
    count = (end - start) // np.dtype(dtype).itemsize
    return made(np.fromfile(file, dtype, count, offset=begins + start).reshape(entry["shape"]))
