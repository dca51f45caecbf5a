"""python -m stable_diffusion.bench: what nets, samplers and fewer bits cost, measured."""

from .command import main

__all__ = ["main"]
