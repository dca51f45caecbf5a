"""Stable Diffusion in MLX: pictures from a prompt, or from a picture and a prompt, step by step."""

import signal
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

# With python -m this comes before the command, which cannot take a stop yet: the stop waits until `start` lets it in.
if sys.argv[:1] == ["-m"] and {__name__, f"{__name__}.bench", f"{__name__}.convert"} & {*sys.orig_argv}:
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))

from . import backend  # noqa: F401  before MLX is imported: see there
from .version import __version__  # noqa: F401

if TYPE_CHECKING:
    from .diffusion.plan import Plan
    from .diffusion.samplers import SAMPLERS, Step
    from .diffusion.spacing import SPACINGS
    from .pipeline import StableDiffusion, StableDiffusionXL
    from .presets import PRESETS
    from .settings import Settings
    from .weights.checkpoint import CheckpointError

__all__ = [
    "PRESETS",
    "SAMPLERS",
    "SPACINGS",
    "CheckpointError",
    "Plan",
    "Settings",
    "StableDiffusion",
    "StableDiffusionXL",
    "Step",
]

# Each is imported when it is first asked for: whoever wants one part of the package need not wait for all of it.
_HOMES = {
    "PRESETS": "presets",
    "SAMPLERS": "diffusion.samplers",
    "SPACINGS": "diffusion.spacing",
    "CheckpointError": "weights.checkpoint",
    "Plan": "diffusion.plan",
    "Settings": "settings",
    "StableDiffusion": "pipeline",
    "StableDiffusionXL": "pipeline",
    "Step": "diffusion.samplers",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
