"""ComfyUI's graphs: the nodes that lead to a picture, and what each of them means."""

from .reading import read
from .workflow import read_workflow

__all__ = ["read", "read_workflow"]
