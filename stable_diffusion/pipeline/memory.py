"""How much memory runs would take, told before anything is done, and kept to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from ..backend import memory, trim
from ..compute.streams import lanes, on_cpu
from ..compute.stripes import Tiling
from ..config import TILE, TinyVAEConfig, UNetConfig, VAEConfig
from ..weights.nets import Description
from .run import Run

PROCESS = 100 * 2**20  # Python, its libraries and MLX
# Measured on CPUs. Of the UNet: copies of its largest kernel, transformed ones too, and the widest arrays of a level
# that are there at once, all streams' stripes and pieces among them. Of the autoencoder: a stream's stripes, the widest
# arrays, and arrays as large as a stripe of its largest level, where it goes in stripes.
KERNELS, WIDEST = 2.5, 16
STREAM, CODED, STRIPE = 190 * 2**20, 2.9, 10
# The widest arrays of a level of the UNet, and of the autoencoder, on an NVIDIA H100 in half precision; Apple GPUs are
# taken to be like it.
WIDEST_ON_GPU, CODED_ON_GPU = 80, 10
# Bytes of what a float32 convolution sees and makes on NVIDIA GPUs. MLX 0.32 counts them in 32 bits, and asks for more
# memory than there is at this many (XL's decoder at 1024 x 1024 on an H100).
CONVOLVED = 2**31


def kept(config: UNetConfig, h: int, w: int) -> int:
    """Numbers that the way down keeps for the way up, for one latent (h, w)."""
    count, last = h * w * config.block_out_channels[0], len(config.block_out_channels) - 1
    for level, width in enumerate(config.block_out_channels):
        count += config.layers_per_block[level] * h * w * width
        if level < last:
            h, w = -(-h // 2), -(-w // 2)
            count += h * w * width
    return count


@dataclass(frozen=True)
class Weights:
    """Bytes of the weights of a model's nets, and how memory is spared.

    in_turn: weights of a net are in memory only while it works; tile: of the autoencoder, where one is asked for;
    coded: pictures that it is to work on together.
    """

    unet: int = 0
    texts: int = 0
    autoencoder: int = 0
    in_turn: bool = False
    tile: int | None = None
    coded: int = 1

    @classmethod
    def of(cls, nets: Mapping[str, nn.Module], in_turn: bool = False, tile: int | None = None) -> "Weights":
        """Those of nets by their names in `StableDiffusion`, be they read or not."""
        sizes = dict.fromkeys(("unet", "texts", "autoencoder"), 0)
        for name, net in nets.items():
            arrays: dict[str, mx.array] = dict(tree_flatten(net.parameters()))
            sizes["texts" if name.startswith("text_encoder") else name] += sum(a.nbytes for a in arrays.values())
        return cls(**sizes, in_turn=in_turn, tile=tile)

    def beside(self, own: int) -> int:
        """Those that are in memory while a net works whose own are so many."""
        return own if self.in_turn else self.unet + self.texts + self.autoencoder


UNREAD = Weights()  # none are counted


def needed(
    description: Description,
    runs: Sequence[Run],
    batch_size: int | None = None,
    dtype: mx.Dtype = mx.float32,
    weights: Weights = UNREAD,
    at_once: int | None = None,
) -> int:
    """Bytes that runs of one size take at the most, about: weights, and work in the UNet or in coding pictures.

    at_once: rows that the UNet is given in a call at the most, where a step's are more than go together.
    """
    work = working(description, runs, batch_size, dtype, at_once, weights)
    return PROCESS + max(weights.beside(getattr(weights, name)) + takes for name, takes in work.items())


def working(
    description: Description,
    runs: Sequence[Run],
    batch_size: int | None,
    dtype: mx.Dtype,
    at_once: int | None = None,
    weights: Weights = UNREAD,
) -> dict[str, int]:
    """Bytes that each of the nets takes at the most for its work, besides weights, by the names in `Weights`."""
    s, f = runs[0].settings, description.vae.factor
    h, w, size = s.height // f, s.width // f, dtype.size
    images = [run.settings.n_images for run in runs]
    most = sum(images) if batch_size is None else min(sum(images), max(batch_size, *images))
    rows = most * max(run.told for run in runs)
    rows = rows if at_once is None else min(rows, at_once)
    cpu = on_cpu()
    widths = description.unet.block_out_channels
    widest = (WIDEST if cpu else WIDEST_ON_GPU) * h * w * widths[0]
    kernel = 9 * 2 * max(widths) ** 2  # of the deepest convolution on the way up
    painting = size * (int(KERNELS * kernel) * cpu + rows * (kept(description.unet, h, w) + widest))
    vae, pixels, coded = description.vae, s.height * s.width, description.coding(dtype)
    tiling, count = tiling_for(vae, pixels, coded, weights.tile), max(*images, weights.coded)
    together = count if tiling is None and fits_whole(vae, count * pixels, coded) else 1
    made = 2 * mx.float32.size * 3 * count * pixels  # pictures, before and after they are brought into [0, 1]
    return {"texts": 0, "unet": painting, "autoencoder": made + coding(vae, together * pixels, coded, tiling)}


def coding(vae: VAEConfig | TinyVAEConfig, pixels: int, dtype: mx.Dtype, tiling: Tiling | None = None) -> int:
    """Bytes that pictures of so many pixels take on their way into latents, or back; tiling: one after the other."""
    cpu, size = on_cpu(), dtype.size
    streams = len(lanes()) * STREAM if cpu else 0
    first, second = (*vae.block_out_channels, vae.block_out_channels[-1])[:2]
    tiny = isinstance(vae, TinyVAEConfig)
    if tiling is None or pixels <= tiling.side**2:
        if tiny or cpu:
            return streams // (1 if tiny else 2) + int(CODED * size * pixels * second)
        return CODED_ON_GPU * size * pixels * (first + second)
    # TAESD has no norms, and keeps levels of a quarter and less alone.
    between = pixels * (first // 4 if tiny else tiling.room * first + 3)
    return streams // 2 + size * (between + tiling.side**2 * (STRIPE if cpu else CODED_ON_GPU) * first)


def fits_whole(vae: VAEConfig | TinyVAEConfig, pixels: int, dtype: mx.Dtype) -> bool:
    """Can pictures of so many pixels be coded at once? They get half of what memory there is."""
    return not _too_wide(vae, pixels, dtype) and coding(vae, pixels, dtype) <= available() // 2


def _too_wide(vae: VAEConfig | TinyVAEConfig, pixels: int, dtype: mx.Dtype) -> bool:
    """Would MLX fail at a convolution of so many pixels, however much memory there is?"""
    widest = (*vae.block_out_channels, vae.block_out_channels[-1])[1]
    on_cuda = not on_cpu() and mx.cuda.is_available()
    return on_cuda and dtype == mx.float32 and 2 * dtype.size * pixels * widest >= CONVOLVED


def tiling_for(vae: VAEConfig | TinyVAEConfig, pixels: int, dtype: mx.Dtype, asked: int | None) -> Tiling | None:
    """How a picture of so many pixels is coded: in the tile that is asked for, or in one where it has to be.

    It has to be where memory does not suffice for the whole picture; None: it is coded whole, as one is that the tile
    covers.
    """
    if asked is not None and pixels <= asked**2:
        asked = None
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
    why = f"would take about {whole / 2**30:.1f} GiB of memory"
    if _too_wide(description.vae, s.height * s.width, coded):
        why = "is beyond MLX in full precision on this GPU"
    return (
        f"to encode or decode {s.width} x {s.height} whole {why}: it is done in stripes (as by --tile {found.side}), "
        "to the same numbers"
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


def limit() -> int:
    """Bytes of memory that there are at all: an Apple GPU, slower then, can use more than it works best with."""
    if on_cpu():
        return available()
    known = [mx.device_info().get(name) for name in ("memory_size", "total_memory")]
    return max([available(), *(int(size) for size in known if isinstance(size, int))])


def room() -> int:
    """Bytes that work is made to fit into: three quarters of what there is, the rest being for others."""
    return 3 * available() // 4


def keep_in_bounds() -> None:
    """On Apple GPUs, let MLX keep no more freed memory than a quarter of what the GPU works best with.

    By itself it keeps up to one and a half times of it. What it works with stays in memory, as much as the GPU works
    best with (from macOS 15 on), or weights would be paged out between pictures. Not measured on a Mac.
    """
    if mx.metal.is_available() and not on_cpu():
        mx.set_cache_limit(available() // 4)
        mx.set_wired_limit(available())


def give_back(all_of_it: bool = False) -> None:
    """Give back what was freed. On a GPU always, between phases, which need arrays of other sizes.

    all_of_it: on a CPU too, after weights; else malloc keeps it for arrays of the next call.
    """
    if not on_cpu():
        mx.clear_cache()
    elif all_of_it:
        trim()


def check_memory(
    description: Description, runs: Sequence[Run], dtype: mx.Dtype = mx.float32, weights: Weights = UNREAD
) -> None:
    """Raise MemoryError for runs of one size that take more than there is, however few rows go into a network call.

    On a CPU, MLX would be killed for it.
    """

    def taken(otherwise: Weights) -> int:
        return needed(description, runs, 1, dtype, otherwise, at_once=1)

    there = limit()
    if taken(weights) <= there:
        return
    s, in_turn = runs[0].settings, replace(weights, in_turn=True)
    remedies = ["make them smaller (--width)"]
    if taken(in_turn) <= there:
        remedies = ["have each net in memory only while it works (--low-memory)"]
    elif taken(replace(in_turn, unet=weights.unet // 4, texts=weights.texts // 4)) <= there:
        remedies.append("keep weights in fewer bits (--quantize 4)")
    raise MemoryError(
        f"pictures of {s.width} x {s.height} take about {taken(weights) / 2**30:.0f} GiB of memory, weights and all, "
        f"and there are {there / 2**30:.0f}: {', or '.join(remedies)}"
    )


def tight(description: Description, runs: Sequence[Run], dtype: mx.Dtype, weights: Weights) -> bool:
    """Would runs of one size, however few rows go together, take more than there is room for with all weights there?"""
    return not weights.in_turn and needed(description, runs, 1, dtype, weights, at_once=1) > room()


class Fit(NamedTuple):
    """What goes into a network call."""

    rows: int | None  # pictures; None: all
    at_once: int | None  # rows of the UNet, where not even those of one step of one run go together; None: all


def fitting(
    description: Description,
    runs: Sequence[Run],
    dtype: mx.Dtype,
    weights: Weights = UNREAD,
    batch_size: int | None = None,
) -> Fit:
    """How much of runs of one size goes into a network call so that memory suffices.

    As many pictures as batch_size says, or as there is room for; one run's are never split. Where even those are too
    many, guidance's texts, and a run's pictures, go into calls of their own.
    """

    def fits(rows: int | None, at_once: int | None = None) -> bool:
        takes = working(description, runs, rows, dtype, at_once)["unet"]
        return PROCESS + weights.beside(weights.unet) + takes <= room()

    if fits(batch_size):
        return Fit(batch_size, None)
    rows = batch_size or sum(run.settings.n_images for run in runs)
    while batch_size is None and rows > 1 and not fits(rows):
        rows //= 2
    if fits(rows):
        return Fit(rows, None)
    at_once = max(rows, *(run.settings.n_images for run in runs)) * max(run.told for run in runs)
    while at_once > 1 and not fits(rows, at_once):
        at_once //= 2
    return Fit(rows, at_once)
