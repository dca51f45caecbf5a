"""Processes that measure.

Each measurement has a process of its own: the allocators, caches and threads of one do not meddle with another's, its
peak memory is its own, and the weights of this package and of torch are never in memory at the same time.
"""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .families import Family

HERE = Path(__file__).parent
# What each side is run by. torch's is a program by its path, which imports nothing of this package.
PROGRAMS: Mapping[str, tuple[str, ...]] = {
    "mlx": ("-m", "stable_diffusion.bench.nets"),
    "torch": (str(HERE / "torch_side.py"),),
}
NEEDED = {"torch": ("torch", "diffusers", "transformers")}
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True, kw_only=True)
class Work:
    """What is to be measured, in a form that both sides read."""

    family: dict[str, Any]
    what: str
    size: int  # pixels a side
    float16: bool
    steps: int
    runs: int
    threads: int | None

    @classmethod
    def of(cls, family: Family, **more: Any) -> "Work":
        return cls(family=family.as_json(), **more)


@dataclass(frozen=True)
class Measured:
    """The seconds of each run, and the bytes that the process, or its GPU, held at the most, weights and all."""

    seconds: tuple[float, ...]
    peak: int


def check_there(side: str) -> None:
    """Raise ValueError where what a side is made of is not installed."""
    if missing := [name for name in NEEDED.get(side, ()) if importlib.util.find_spec(name) is None]:
        raise ValueError(f"{side} can't be measured here without {', '.join(missing)}: pip install {' '.join(missing)}")


def measure(side: str, work: Work) -> Measured:
    """Do the work in a process of its own. Raises RuntimeError, with its last words, where it fails."""
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(HERE.parents[1]), environment.get("PYTHONPATH"))))
    if work.threads is not None:
        environment |= dict.fromkeys(_THREADS, str(work.threads))
    process = subprocess.Popen(
        [sys.executable, *PROGRAMS[side]],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        out, err = process.communicate(json.dumps(asdict(work)))
    finally:
        process.kill()  # after Ctrl-C; else it has ended
        process.wait()
    if process.returncode:
        why = (err.strip().splitlines() or [f"it ended with status {process.returncode}"])[-1]
        raise RuntimeError(f"{work.what} of {side} could not be measured: {why}")
    found = json.loads(out.splitlines()[-1])
    return Measured(tuple(found["seconds"]), found["peak"])
