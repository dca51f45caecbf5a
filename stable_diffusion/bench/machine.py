"""What a machine is, as far as it matters to how fast it is."""

import os
import platform
import re
import subprocess
import sys
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import mlx.core as mx

from .. import backend
from ..compute.streams import cores
from ..version import __version__


def _processor() -> str:
    with suppress(OSError, subprocess.CalledProcessError):
        if sys.platform == "darwin":
            brand = ["sysctl", "-n", "machdep.cpu.brand_string"]
            return subprocess.run(brand, capture_output=True, text=True, check=True).stdout.strip()
        if found := re.search(r"^model name\s*: (.*)", Path("/proc/cpuinfo").read_text(), re.MULTILINE):
            return found[1]
    return platform.processor() or platform.machine()


def _blas() -> str:
    """The file that matrix products on a CPU come from."""
    if sys.platform == "darwin":
        return "Accelerate"
    with suppress(OSError):
        maps = Path("/proc/self/maps").read_text().splitlines()
        names = {Path(line.split()[-1]).name for line in maps if "/" in line}
        if found := sorted(name for name in names if re.match(r"lib(openblas|flexiblas|mkl_rt|blis)", name)):
            return ", ".join(found)
    return "MLX's own"


def _device() -> str:
    if mx.default_device() == mx.cpu:
        return "cpu"
    about = mx.device_info()
    return f"gpu, {about.get('device_name') or about.get('architecture')}"


def machine() -> dict[str, str]:
    """What to know of this machine, in words."""
    load = os.getloadavg()[0]
    compiler = "yes" if backend.compiles else "no"
    return {
        "stable-diffusion-mlx": __version__,
        "MLX": f"{metadata.version('mlx')}, device {_device()}",
        "BLAS": _blas(),
        "compiled loops": compiler,
        "Python": platform.python_version(),
        "system": platform.platform(),
        "processor": f"{_processor()}, {cores()} cores used, load {load:.1f}",
        "memory": f"{backend.memory() / 2**30:.1f} GiB",
    } | {name: metadata.version(name) for name in ("torch", "diffusers") if _installed(name)}


def _installed(name: str) -> bool:
    with suppress(metadata.PackageNotFoundError):
        return bool(metadata.version(name))
    return False
