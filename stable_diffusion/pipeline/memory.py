"""How much memory runs would take, told before anything is done, and kept to."""

from collections.abc import Sequence

import mlx.core as mx

from ..backend import memory
from ..config import TILE, TinyVAEConfig, UNetConfig, VAEConfig
from ..models.stripes import Tiling
from ..parallel import lanes, on_cpu
from ..weights.nets import Description
from .run import Run

# Measured on CPUs: what a stream's stripes and pieces take, and the widest arrays of a level that are there at once.
STREAM = 250 * 2**20
WIDEST, CODED = 6, 2
STRIPE = 10  # arrays as large as a stripe of the autoencoder's largest level, where it goes in stripes
# On GPUs, where Winograd's transforms take five times the arrays that they are of: an estimate.
TRANSFORMED = 5


def kept(config: UNetConfig, h: int, w: int) -> int:
    """Numbers that the way down keeps for the way up, for one latent (h, w)."""
    count, last = h * w * config.block_out_channels[0], len(config.block_out_channels) - 1
    for level, width in enumerate(config.block_out_channels):
        count += config.layers_per_block[level] * h * w * width
        if level < last:
            h, w = -(-h // 2), -(-w // 2)
            count += h * w * width
    return count


def needed(
    description: Description,
    runs: Sequence[Run],
    batch_size: int | None = None,
    dtype: mx.Dtype = mx.float32,
    tile: int | None = None,
) -> int:
    """Bytes that runs of one size take at the most, about, besides the weights: in the UNet, or in coding a picture.

    tile: of the autoencoder, where one is asked for.
    """
    s, f = runs[0].settings, description.vae.factor
    h, w, size = s.height // f, s.width // f, dtype.size
    images = [run.settings.n_images for run in runs]
    most = sum(images) if batch_size is None else min(sum(images), max(batch_size, *images))
    rows = most * max(run.told for run in runs)
    cpu = on_cpu()
    streams = len(lanes()) * STREAM if cpu else 0
    widest = (WIDEST if cpu else 2 * TRANSFORMED) * h * w * description.unet.block_out_channels[0]
    painting = streams + size * rows * (kept(description.unet, h, w) + widest)
    pixels, coded = s.height * s.width, description.coding(dtype)
    return max(painting, coding(description.vae, pixels, coded, tiling_for(description.vae, pixels, coded, tile)))


def coding(vae: VAEConfig | TinyVAEConfig, pixels: int, dtype: mx.Dtype, tiling: Tiling | None = None) -> int:
    """Bytes that pictures of so many pixels take on their way into latents, or back; tiling: one after the other."""
    cpu, size = on_cpu(), dtype.size
    streams = len(lanes()) * STREAM if cpu else 0
    first, second = (*vae.block_out_channels, vae.block_out_channels[-1])[:2]
    tiny = isinstance(vae, TinyVAEConfig)
    if tiling is None or pixels <= tiling.side**2:
        if tiny or cpu:
            return streams // (1 if tiny else 2) + CODED * size * pixels * second
        return TRANSFORMED * size * pixels * (first + second)
    # TAESD has no norms, and keeps levels of a quarter and less alone.
    kept = pixels * (first // 4 if tiny else tiling.room * first + 3)
    return streams // 2 + size * (kept + tiling.side**2 * (STRIPE if cpu else 2 * TRANSFORMED) * first)


def fits_whole(vae: VAEConfig | TinyVAEConfig, pixels: int, dtype: mx.Dtype) -> bool:
    """Can pictures of so many pixels be coded at once? They get half of what memory there is."""
    return coding(vae, pixels, dtype) <= available() // 2


def tiling_for(vae: VAEConfig | TinyVAEConfig, pixels: int, dtype: mx.Dtype, asked: int | None) -> Tiling | None:
    """How a picture of so many pixels is coded: in the tile that is asked for, or in one where it has to be.

    It has to be where memory does not suffice for the whole picture; None: it is coded whole.
    """
    if asked is None and (fits_whole(vae, pixels, dtype) or pixels <= TILE**2):
        return None
    ample = Tiling(TILE if asked is None else asked)
    return ample if coding(vae, pixels, dtype, ample) <= available() // 2 else Tiling(ample.side, room=1)


def tiling(description: Description, run: Run, dtype: mx.Dtype, asked: int | None) -> str | None:
    """What a person is told where a run's pictures are coded in tiles that nobody asked for."""
    s, coded = run.settings, description.coding(dtype)
    found = tiling_for(description.vae, s.height * s.width, coded, asked)
    if asked is not None or found is None:
        return None
    whole = coding(description.vae, s.height * s.width, coded)
    return (
        f"to encode or decode {s.width} x {s.height} whole would take about {whole / 2**30:.1f} GiB of memory: it is "
        f"done in stripes (as by --tile {found.side}), to the same numbers"
    )


def precision(float16: bool | None) -> mx.Dtype:
    """What the nets calculate with; None: half precision on a GPU, float32 on a CPU, where MLX is slow at half."""
    return mx.float16 if (not on_cpu() if float16 is None else float16) else mx.float32


def available() -> int:
    """Bytes of memory that there are for it: of the machine, or of its GPU."""
    if on_cpu():
        return memory()
    about = mx.device_info()
    known = [about.get(name) for name in ("max_recommended_working_set_size", "memory_size", "total_memory")]
    return next((int(size) for size in known if isinstance(size, int) and size > 0), memory())


def keep_in_bounds() -> None:
    """On Apple GPUs, let MLX keep no more freed memory than a quarter of what the GPU works best with.

    By itself it keeps up to one and a half times of it. Not measured on a Mac.
    """
    if mx.metal.is_available() and not on_cpu():
        mx.set_cache_limit(available() // 4)


def give_back() -> None:
    """On a GPU, give back what was freed, between encoding, steps and decoding, which need arrays of other sizes."""
    if not on_cpu():
        mx.clear_cache()


def check_memory(
    description: Description,
    runs: Sequence[Run],
    batch_size: int | None = None,
    dtype: mx.Dtype = mx.float32,
    tile: int | None = None,
) -> None:
    """Raise MemoryError for runs of one size that take more than there is: on a CPU, MLX would be killed for it."""
    takes, there = needed(description, runs, batch_size, dtype, tile), available()
    if takes > there:
        s = runs[0].settings
        raise MemoryError(
            f"pictures of {s.width} x {s.height} take about {takes / 2**30:.0f} GiB of memory, and there are "
            f"{there / 2**30:.0f}: make them smaller (--width), or fewer at the same time (--batch-size)"
        )


def fitting(description: Description, runs: Sequence[Run], dtype: mx.Dtype) -> int | None:
    """How many rows of runs of one size go into a network call so that memory suffices; None: all of them.

    As many as take half of what there is, which leaves the weights their share; one run's rows are never split.
    """
    room, rows = available() // 2, sum(run.settings.n_images for run in runs)
    if needed(description, runs, None, dtype) <= room:
        return None
    while rows > 1 and needed(description, runs, rows, dtype) > room:
        rows //= 2
    return rows
