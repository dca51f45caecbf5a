"""k-diffusion's sampling.py, without the training code that its package imports (and whose needs would not install)."""

import importlib.metadata
import sys
import types
from typing import Any


class _Absent(types.ModuleType):
    """Stands for a package that sampling.py's neighbours import and sampling.py never calls."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Absent(name)


def load() -> types.ModuleType:
    package = types.ModuleType("k_diffusion")
    package.__path__ = [str(importlib.metadata.distribution("k-diffusion").locate_file("k_diffusion"))]
    sys.modules["k_diffusion"] = package
    for name in ("torchvision", "torchvision.transforms", "torchvision.transforms.functional"):
        sys.modules.setdefault(name, _Absent(name))
    from k_diffusion import sampling

    for name in ("torchvision", "torchvision.transforms", "torchvision.transforms.functional"):
        if isinstance(sys.modules[name], _Absent):
            del sys.modules[name]
    return sampling
