"""What is worth keeping from run to run, in the user's cache folder; it can be deleted at any time."""

import contextlib
import json
import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def cache_folder() -> Path:
    """Where it lies: $XDG_CACHE_HOME, or else where the system keeps its caches.

    Raises RuntimeError for somebody without a home.
    """
    chosen = os.environ.get("XDG_CACHE_HOME")
    home = Path(chosen) if chosen else Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache")
    return home / "stable-diffusion-mlx"


def recall(name: str) -> dict[str, Any]:
    """What was remembered under a name; nothing if there is nothing, or nothing that can be read."""
    try:
        known = json.loads((cache_folder() / f"{name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RuntimeError):  # RecursionError among them
        return {}
    return known if isinstance(known, dict) else {}


def remember(name: str, values: Mapping[str, Any]) -> None:
    """Add to what is remembered under a name. Where the folder cannot be written, nothing is."""
    with contextlib.suppress(OSError, RuntimeError):
        path = cache_folder() / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".unfinished-{secrets.token_hex(4)}")
        try:
            unfinished.write_text(json.dumps({**recall(name), **values}), encoding="utf-8")
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
