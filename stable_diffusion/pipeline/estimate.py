"""The estimate of many runs at once: the UNet, its guidance, and the mask, as the samplers ask for it."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import mlx.core as mx

from ..compute.streams import joined
from ..diffusion.denoiser import Denoiser, Estimate, masked
from ..diffusion.guidance import ChangingGuide, Guide, guided
from ..diffusion.schedule import NoiseSchedule
from ..diffusion.walk import DenoiseRows
from .run import Run


def estimate_of(
    runs: Sequence[Run],
    unet: Callable[..., mx.array],
    guides: Sequence[Guide | ChangingGuide],
    schedule: NoiseSchedule,
    channels: mx.array | None = None,
) -> DenoiseRows:
    """`denoise(x, sigma, which)` for runs of one size, image and mask, each with its guide. It counts each run's calls.

    channels (1, h, w, C): what a UNet that was trained to repaint sees besides the latents.
    """
    first = runs[0]

    def net(x: mx.array, t: mx.array, **conditioning: mx.array) -> mx.array:
        if channels is not None:
            x = mx.concatenate([x, mx.broadcast_to(channels, (*x.shape[:3], channels.shape[3]))], axis=-1)
        return unet(x, t, **conditioning)

    calls: Counter[int] = Counter()  # that each run has made
    whole_times = [run.settings.discretize == "timestep" for run in runs]
    x0, mask = first.x0, first.latent_mask

    def estimate(x: mx.array, sigma: mx.array, which: mx.array) -> mx.array:
        rows = [int(w) for w in which]
        predict = guided(net, [guide.at(calls[i]) for i, guide in enumerate(guides)])
        calls.update(set(rows))
        denoise: Estimate = Denoiser(lambda x, t: predict(x, t, rows), schedule, [whole_times[row] for row in rows])
        if mask is not None and x0 is not None and channels is None:
            denoise = masked(denoise, x0, mask)
        return denoise(x, sigma)

    return estimate


Made = TypeVar("Made", mx.array, tuple[mx.array, mx.array])


def in_parts(unet: Callable[..., Made], at_once: int | None) -> Callable[..., Made]:
    """A UNet of (x, t, and what it is told, a row of each) that is given so many rows at once, at the most.

    The parts follow each other strictly, so that one alone takes memory.
    """
    if at_once is None:
        return unet

    def parts(x: mx.array, t: mx.array, **told: mx.array) -> Any:
        made: list[Any] = []
        for k in range(0, x.shape[0], at_once):
            rows = slice(k, k + at_once)
            part = x[rows] if not made else mx.depends(x[rows], made[-1])
            made.append(unet(part, t[rows], **{name: value[rows] for name, value in told.items()}))
        return joined(made) if isinstance(made[0], mx.array) else tuple(map(joined, zip(*made, strict=True)))

    return parts


def repaint_channels(run: Run, encode: Callable[[mx.array], mx.array]) -> mx.array:
    """What a 9-channel UNet sees besides the latents: the mask, and the latents of the image less the masked part.

    (1, h, w, 5). The mask is hard; what it hides is mid grey. Without a mask everything is to be painted.
    """
    H, W = run.settings.height, run.settings.width
    mask, image = run.inputs.mask, run.inputs.image
    if mask is None or image is None:
        mask, image = mx.ones((H, W)), mx.zeros((H, W, 3))
    hole = (mask >= 0.5).astype(mx.float32)
    f = H // run.shape[0]
    return mx.concatenate([hole[None, ::f, ::f, None], encode(image * (1 - hole[..., None]))], axis=-1)
