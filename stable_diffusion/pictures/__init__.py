"""Arrays to pictures, sheets and files."""

from .animation import save_animation
from .images import read_mask, read_picture, save, to_array, to_mask, to_picture
from .sheet import Cell, strip, triangle

__all__ = [
    "Cell",
    "read_mask",
    "read_picture",
    "save",
    "save_animation",
    "strip",
    "to_array",
    "to_mask",
    "to_picture",
    "triangle",
]
