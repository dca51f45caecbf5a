"""What a name of a file may lead to besides a file: devices and pipes, which might never end."""

import os
import stat
from pathlib import Path

DEVICE = "is no file, but a device or a pipe"  # the end of a sentence that begins with its name


def is_device(path: str | Path) -> bool:
    """Is there something at a path that is neither a file nor a folder?"""
    try:
        kind = os.stat(path).st_mode
    except (OSError, ValueError):  # not there, or no name that a file can have
        return False
    return not (stat.S_ISREG(kind) or stat.S_ISDIR(kind))
