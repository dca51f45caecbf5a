"""PyTorch's zip files, written by hand and without it: a program of opcodes, and the numbers beside it."""

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


class Class:
    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


class Named:
    """An object whose pickle names a function of torch and its arguments."""

    def __init__(self, module: str, name: str, *args: Any) -> None:
        self.of, self.args = (module, name), args


class Module:
    """An object of a class of torch's, made without arguments, and what is then in it."""

    def __init__(self, module: str, name: str, state: Mapping[str, Any]) -> None:
        self.of, self.state = (module, name), dict(state)


class Storage:
    def __init__(self, kind: str, key: str) -> None:
        self.kind, self.key = kind, key


_PICKLER: Any = pickle.__dict__["_Pickler"]  # Python's own, whose steps can be taken over


class Writer(_PICKLER):  # type: ignore[misc]
    def persistent_id(self, obj: Any) -> Any:
        return ("storage", Class("torch", obj.kind), obj.key, "cpu", 1) if isinstance(obj, Storage) else None

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if isinstance(obj, Class):
            self.write(b"c" + f"{obj.module}\n{obj.name}\n".encode())
        elif isinstance(obj, Named):
            self.save(Class(*obj.of))
            self.save(obj.args)
            self.write(b"R")
        elif isinstance(obj, Module):
            self.save(Class(*obj.of))
            self.save(())
            self.write(b"\x81")  # NEWOBJ
            self.save(obj.state)
            self.write(b"b")  # BUILD
        else:
            super().save(obj, save_persistent_id)


def tensor(key: str, array: np.ndarray, kind: str = "FloatStorage", offset: int = 0) -> Named:
    strides = tuple(s // array.itemsize for s in array.strides)
    shape = tuple(array.shape)
    return Named("torch._utils", "_rebuild_tensor_v2", Storage(kind, key), offset, shape, strides, False, OrderedDict())


def torch_file(path: Path, content: Any, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        with archive.open("model/data.pkl", "w") as out:
            Writer(out, protocol=2).dump(content)
        for key, data in members.items():
            archive.writestr(f"model/{key}" if "/" not in key else key, data)
        archive.writestr("model/version", "3\n")
    return path


def whole_file(path: Path, state: Mapping[str, np.ndarray]) -> Path:
    """A model as it was once shared: a table of all its tensors."""
    kinds = {np.dtype(np.float32): "FloatStorage", np.dtype(np.int64): "LongStorage"}
    content = {name: tensor(str(i), array, kinds[array.dtype]) for i, (name, array) in enumerate(state.items())}
    members = {f"model/data/{i}": array.tobytes() for i, array in enumerate(state.values())}
    return torch_file(path, {"state_dict": content}, members)
