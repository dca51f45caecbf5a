"""Arrays to pictures, sheets, films, pages and files."""

from .animation import Shot, save_animation
from .images import to_array, to_mask, to_picture
from .page import Frame, Line, Page, save_page
from .reading import read_mask, read_picture
from .sheet import Cell, pyramid, strip, triangle
from .writing import save

__all__ = [
    "Cell",
    "Frame",
    "Line",
    "Page",
    "Shot",
    "pyramid",
    "read_mask",
    "read_picture",
    "save",
    "save_animation",
    "save_page",
    "strip",
    "to_array",
    "to_mask",
    "to_picture",
    "triangle",
]
