"""Where nets and mathematics meet."""

from .planner import Planner
from .run import Run
from .stable_diffusion import StableDiffusion, StableDiffusionXL

__all__ = ["Planner", "Run", "StableDiffusion", "StableDiffusionXL"]
