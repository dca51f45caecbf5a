"""Where nets and mathematics meet."""

from .inputs import NOTHING, Inputs
from .planner import Planner
from .run import Run
from .stable_diffusion import StableDiffusion, StableDiffusionXL

__all__ = ["NOTHING", "Inputs", "Planner", "Run", "StableDiffusion", "StableDiffusionXL"]
