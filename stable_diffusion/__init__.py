"""Stable Diffusion in MLX: pictures from a prompt, or from a picture and a prompt, step by step."""

from . import backend  # noqa: F401  before MLX is imported: see there
from .diffusion.plan import Plan
from .diffusion.samplers import SAMPLERS, Step
from .diffusion.spacing import SPACINGS
from .pipeline import StableDiffusion, StableDiffusionXL
from .presets import PRESETS
from .settings import Settings
from .version import __version__  # noqa: F401
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
