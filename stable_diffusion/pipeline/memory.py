"""How much memory runs would take, told before the first step."""

from collections.abc import Sequence

import mlx.core as mx

from ..backend import memory
from ..models import unet, vae
from ..weights.nets import Description
from .run import Run


def check_memory(description: Description, runs: Sequence[Run], batch_size: int | None) -> None:
    """Raise MemoryError for runs of one size whose largest array alone is more than this machine can hold.

    On a CPU, MLX would crash without a word.
    """
    if mx.default_device() != mx.cpu:
        return
    s, f = runs[0].settings, description.vae.factor
    images = [run.settings.n_images for run in runs]
    most = sum(images) if batch_size is None else min(sum(images), max(batch_size, *images))
    rows = most * (1 if all(run.settings.cfg in (0, 1) for run in runs) else 2)
    numbers = rows * unet.largest_array(description.unet, s.height // f, s.width // f)
    needed, there = 4 * max(numbers, vae.largest_array(description.vae, s.height, s.width)), memory()
    if needed > there:
        raise MemoryError(
            f"{most} of {s.width} x {s.height} at the same time take over {needed / 2**30:.0f} GiB of memory, and "
            f"there are {there / 2**30:.0f}: make them smaller, or fewer"
        )
