"""Arrays to pictures, sheets and files."""

from .animation import save_animation
from .images import to_array, to_mask, to_picture
from .reading import read_mask, read_picture
from .sheet import Cell, strip, triangle
from .writing import save

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
