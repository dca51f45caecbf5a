"""How much memory runs would take, told before anything is done."""

from collections.abc import Sequence

import mlx.core as mx

from ..backend import memory
from ..models import unet
from ..weights.nets import Description
from .run import Run

# Arrays of the widest level that coding a picture holds at once. On CPUs measured: 3.5 GiB for 512 x 512 pixels of 128
# channels, most of it the columns that convolutions are unrolled to. GPUs need none of these: an estimate.
CODING_ON_CPU, CODING_ON_GPU = 28, 8


def needed(description: Description, runs: Sequence[Run], batch_size: int | None = None) -> int:
    """Bytes that runs of one size take at the most, about, besides the weights: in the UNet, or in coding a picture."""
    s, f = runs[0].settings, description.vae.factor
    images = [run.settings.n_images for run in runs]
    most = sum(images) if batch_size is None else min(sum(images), max(batch_size, *images))
    rows = most * max(run.told for run in runs)
    cpu = mx.default_device() == mx.cpu
    # On a CPU the attention of every place to every other is an array; GPUs never hold all of it.
    attention = rows * unet.largest_array(description.unet, s.height // f, s.width // f) if cpu else 0
    coding = (CODING_ON_CPU if cpu else CODING_ON_GPU) * s.height * s.width * description.vae.block_out_channels[0]
    return 4 * max(attention, coding)


def available() -> int:
    """Bytes of memory that there are for it: of the machine, or of its GPU."""
    if mx.default_device() == mx.cpu:
        return memory()
    about = mx.device_info()
    known = [about.get(name) for name in ("max_recommended_working_set_size", "memory_size", "total_memory")]
    return next((int(size) for size in known if isinstance(size, int) and size > 0), memory())


def check_memory(description: Description, runs: Sequence[Run], batch_size: int | None = None) -> None:
    """Raise MemoryError for runs of one size that take more than there is: on a CPU, MLX would be killed for it."""
    takes, there = needed(description, runs, batch_size), available()
    if takes > there:
        s = runs[0].settings
        raise MemoryError(
            f"pictures of {s.width} x {s.height} take about {takes / 2**30:.0f} GiB of memory, and there are "
            f"{there / 2**30:.0f}: make them smaller (--width), or fewer at the same time (--batch-size)"
        )
