"""PyTorch's zip files (.ckpt, .pt), read without PyTorch, and without running anything that is in them.

A pickle is a program. This one may name a handful of things, which are data; whatever else it names is refused.
"""

import io
import math
import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from .checkpoint import CheckpointError, damaged
from .opcodes import Unneeded, check_program

# PyTorch's storage classes: NumPy's kind of number, and MLX's where NumPy has none of that name.
STORAGES: Mapping[str, tuple[str, mx.Dtype | None]] = {
    "FloatStorage": ("<f4", None),
    "HalfStorage": ("<f2", None),
    "BFloat16Storage": ("<u2", mx.bfloat16),
    "DoubleStorage": ("<f8", None),
    "LongStorage": ("<i8", None),
    "IntStorage": ("<i4", None),
    "ShortStorage": ("<i2", None),
    "CharStorage": ("i1", None),
    "ByteStorage": ("u1", None),
    "BoolStorage": ("?", None),
}
_MEMBER = re.compile(
    r"[^/]+/(data/\d+|version|data\.pkl|byteorder|\.format_version|\.storage_alignment|\.data/serialization_id)"
)
MOST_PICKLE = 32 * 2**20  # bytes of the program; that of a whole model has about 1 MB
MOST_SIDES = 16  # of a tensor
SHARING = 4  # how often the bytes of a file may come, in tensors that share them
_CALLBACKS = re.compile(r"(pytorch_lightning|lightning)\.(pytorch\.)?callbacks\..+")  # Lightning leaves their names


@dataclass(frozen=True)
class Stored:
    """A tensor as the pickle describes it."""

    storage: str
    key: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Refused(ValueError):
    """Why a file is not read, in words for the person who named it."""


class _Nothing:
    """Stands for an object that is not needed."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass


class _Parameters(dict[str, Any]):
    """Stands for PyTorch's ParameterDict, a module in which an embedding's vectors may lie."""

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, Mapping) and isinstance(held := state.get("_parameters"), Mapping):
            self.update(held)


def _tensor(storage: tuple[str, str], offset: int, shape: Any, strides: Any, *_: Any) -> Stored:
    if max(len(shape), len(strides)) > MOST_SIDES:
        raise Refused(f"a tensor has more than {MOST_SIDES} sides")
    return Stored(*storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))


def _table(*entries: Any) -> OrderedDict[Any, Any]:
    if entries:
        raise Refused("it makes a table out of something else")
    return OrderedDict()


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        allowed: Mapping[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): lambda *entries: _table(*entries),
            # Made anew for each, because a pickle may set attributes of what it is given.
            ("torch._utils", "_rebuild_tensor_v2"): lambda *args: _tensor(*args),
            ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
            ("torch.nn.modules.container", "ParameterDict"): _Parameters,
            # Which a module has several of, and all of them empty.
            ("__builtin__", "set"): lambda *_: None,
            ("builtins", "set"): lambda *_: None,
        }
        if (module, name) in allowed:
            return allowed[module, name]
        if module in ("torch", "torch.storage") and name in STORAGES:
            return name
        if _CALLBACKS.fullmatch(f"{module}.{name}"):
            return _Nothing
        raise Refused(f"it asks for {module}.{name}, which no model needs, and may be an attack")

    def persistent_load(self, pid: Any) -> tuple[str, str]:
        kind, storage, key, *_ = pid
        if kind != "storage" or not isinstance(storage, str):
            raise Refused("it refers to something that is no storage")
        return storage, str(key)


def read_pickle(file: Path) -> dict[str, mx.array]:
    """The tensors of a PyTorch file by their names; those of an embedding's `string_to_param` among them.

    A tensor that has several names is one array. Raises CheckpointError, one sentence, for what is damaged, of an old
    form, or asks for anything but data.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            root, size = _root(archive, file), file.stat().st_size
            program = archive.read(f"{root}/data.pkl")
            check_program(program)
            stored = dict(_tensors(_Reader(io.BytesIO(program)).load()))
            order = f"{root}/byteorder"
            if order in archive.namelist() and archive.read(order).strip() != b"little":
                raise Refused(
                    "its numbers are in another byte order than here: save it again on a machine of this kind"
                )
            for one in set(stored.values()):
                _check_reach(one, archive.getinfo(f"{root}/data/{one.key}").file_size // _width(one))
            if sum(math.prod(one.shape) * _width(one) for one in stored.values()) > SHARING * size + 2**20:
                raise Refused("its tensors share their numbers and would take many times the size of the file")
            return _read_all(archive, root, stored)
    except CheckpointError:
        raise
    except zipfile.BadZipFile:
        raise CheckpointError(
            f"{file} is no zip file, as PyTorch writes since version 1.6: it is damaged, or of an older form: load and "
            "save it with a newer PyTorch"
        ) from None
    except FileNotFoundError:
        raise CheckpointError(f"there is no file {str(file)!r}") from None
    except OSError as error:
        raise CheckpointError(f"{file} can't be read ({error.strerror or error})") from None
    except (Refused, Unneeded) as error:
        raise CheckpointError(f"{file} is refused: {error}") from None
    except Exception:  # a damaged pickle may raise anything
        raise damaged(file, "its pickle leads nowhere") from None


def _root(archive: zipfile.ZipFile, file: Path) -> str:
    """The folder that everything in a PyTorch file lies in. Raises CheckpointError for another kind of zip file."""
    names = archive.namelist()
    if strange := next((name for name in names if not _MEMBER.fullmatch(name)), None):
        raise CheckpointError(f"{file} is no PyTorch file: it holds {strange!r}")
    if len(set(names)) < len(names):
        raise CheckpointError(f"{file} is no PyTorch file: it holds a name twice")
    roots = {name.split("/")[0] for name in names}
    program = f"{next(iter(roots), '')}/data.pkl"
    if len(roots) != 1 or program not in names or archive.getinfo(program).file_size > MOST_PICKLE:
        raise CheckpointError(f"{file} is no PyTorch file: it has no data.pkl of a reasonable size")
    if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
        raise CheckpointError(f"{file} is no PyTorch file: it is packed, which PyTorch's are not")
    if sum(member.file_size for member in archive.infolist()) > file.stat().st_size:
        raise CheckpointError(f"{file} is no PyTorch file: its parts are larger than the file")
    return roots.pop()


def _tensors(said: Any) -> Iterator[tuple[str, Stored]]:
    """The tensors of what was pickled: a table of them, or one that lies in `state_dict` or `string_to_param`."""
    if not isinstance(said, Mapping):
        raise Refused("it holds no table of tensors")
    for inner in ("state_dict", "string_to_param"):
        if isinstance(said.get(inner), Mapping):
            table = said[inner]
            prefix = "string_to_param." if inner == "string_to_param" else ""
            yield from ((f"{prefix}{k}", v) for k, v in table.items() if isinstance(k, str) and isinstance(v, Stored))
            return
    yield from ((k, v) for k, v in said.items() if isinstance(k, str) and isinstance(v, Stored))


def _width(stored: Stored) -> int:
    return np.dtype(STORAGES[stored.storage][0]).itemsize


def _read_all(archive: zipfile.ZipFile, root: str, stored: Mapping[str, Stored]) -> dict[str, mx.array]:
    """Every tensor, each storage read once; those that are described alike are one array."""
    alike: dict[Stored, list[str]] = {}
    for name, one in stored.items():
        alike.setdefault(one, []).append(name)
    found: dict[str, mx.array] = {}
    for key, group in groupby(sorted(alike, key=lambda one: one.key), key=lambda one: one.key):
        data = archive.read(f"{root}/data/{key}")
        for one in group:
            found |= dict.fromkeys(alike[one], _array(data, one))
    return {name: found[name] for name in stored}


def _check_reach(stored: Stored, count: int) -> None:
    """Raise Refused for a tensor that is not within the so many numbers of its storage."""
    reach = stored.offset + 1 + sum((n - 1) * s for n, s in zip(stored.shape, stored.strides, strict=True))
    reach = max(reach, math.prod(stored.shape))  # also of one number that is repeated
    if any(n < 0 for n in (stored.offset, *stored.shape, *stored.strides)) or (0 not in stored.shape and reach > count):
        raise Refused("a tensor reaches beyond its storage")


def _array(data: bytes, stored: Stored) -> mx.array:
    if 0 in stored.shape:
        return mx.zeros(stored.shape)
    kind, other = STORAGES[stored.storage]
    numbers = np.frombuffer(data, dtype=kind)[stored.offset :]
    steps = tuple(s * numbers.itemsize for s in stored.strides)
    view = np.lib.stride_tricks.as_strided(numbers, stored.shape, steps)
    array = mx.array(np.ascontiguousarray(view, dtype=np.float32 if kind == "<f8" else None))
    return array if other is None else array.view(other)
