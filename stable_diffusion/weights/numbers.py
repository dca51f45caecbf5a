"""The kinds of numbers in safetensors files: MLX reads most of them, and the others become float16 or float32 here."""

import io
import json
import os
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import get_ident
from typing import Any

import mlx.core as mx

E4M3, E5M2, DOUBLE = "F8_E4M3", "F8_E5M2", "F64"
# How MLX is told to read what it does not know: as whole numbers with the same bits.
_READ_AS: Mapping[str, str] = {E5M2: "U8", DOUBLE: "U64"}
_NAMES = {"F16": "fp16", "F32": "fp32", "BF16": "bf16", DOUBLE: "fp64", E4M3: "fp8", E5M2: "fp8"}


def _doubles(bits: mx.array) -> mx.array:
    """float32 from the bits of 64-bit floats, which only a CPU has."""
    return bits.view(mx.float64, stream=mx.cpu).astype(mx.float32, stream=mx.cpu)


def _e5m2(bits: mx.array) -> mx.array:
    """float16 from 8-bit floats that are its upper halves."""
    return (bits.astype(mx.uint16) << 8).view(mx.float16)


_DECODED: Mapping[str, Callable[[mx.array], mx.array]] = {
    E4M3: lambda bits: mx.from_fp8(bits, dtype=mx.float16),
    E5M2: _e5m2,
    DOUBLE: _doubles,
}


def called(kind: str) -> str:
    """What people call a kind of numbers: fp16, say."""
    return _NAMES.get(kind, kind.lower())


class _Relabelled(io.RawIOBase):
    """A safetensors file, opened, under another header.

    MLX reads tensors in several threads, and goes to a place before it reads: every thread has a place of its own.
    """

    def __init__(self, file: Path, header: bytes, begins: int) -> None:
        self.name = str(file)
        self._file = file.open("rb")
        self._head = struct.pack("<Q", len(header)) + header
        self._shift = begins - len(self._head)  # from a place here to that in the file, behind the header
        self._at: dict[int, int] = {}

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_END:
            offset += os.fstat(self._file.fileno()).st_size - self._shift
        elif whence == os.SEEK_CUR:
            offset += self.tell()
        self._at[get_ident()] = offset
        return offset

    def tell(self) -> int:
        return self._at.get(get_ident(), 0)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view, at = memoryview(buffer).cast("B"), self.tell()
        here = self._head[at : at + len(view)]
        view[: len(here)] = here
        read = len(here)
        while read < len(view):
            more = os.pread(self._file.fileno(), min(len(view) - read, 2**26), at + read + self._shift)
            if not more:
                break
            view[read : read + len(more)] = more
            read += len(more)
        self._at[get_ident()] = at + read
        return read


def load_lazily(file: Path, entries: Mapping[str, Any]) -> dict[str, mx.array]:
    """The tensors of a safetensors file, not yet read; entries: those of its header, without `__metadata__`.

    8-bit floats become float16, which is exact; those of 64 bits become float32. Raises RuntimeError or ValueError for
    what MLX can't read.
    """
    kinds = {name: entry["dtype"] for name, entry in entries.items()}
    source: Any = str(file)
    if set(kinds.values()) & _READ_AS.keys():
        relabelled = {name: {**e, "dtype": _READ_AS.get(e["dtype"], e["dtype"])} for name, e in entries.items()}
        with file.open("rb") as opened:
            (length,) = struct.unpack("<Q", opened.read(8))
        source = _Relabelled(file, json.dumps(relabelled).encode(), 8 + length)
    tensors: dict[str, mx.array] = mx.load(source, format="safetensors")  # type: ignore[assignment]
    for name in tensors:
        if decode := _DECODED.get(kinds[name]):
            tensors[name] = decode(tensors[name])
    return tensors
