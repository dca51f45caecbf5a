"""How far from exact pictures approximations lead, and what they save.

Error: of the demo's pictures, beside the exact ones. Time: of their steps, and of those of a UNet of SD 1.5's size with
random weights; in seconds of all cores of a CPU, or else of the clock. What is compared takes turns.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from statistics import median
from typing import Any

import mlx.core as mx

from ...compute.streams import done, on_cpu
from ...config import UNetConfig
from ...models.unet import UNet2DConditionModel
from ...pipeline import StableDiffusion
from ...pipeline.approximations import shallow
from ...settings import Settings

PROMPTS = (
    "a photo of a house by a river at sunset, mountains",
    "an impressionist painting of the sea at night, a boat",
    "a pencil sketch of a meadow in the fog, trees",
    "a poster of mountains in the snow by day",
)
EVERY = (2, 3, 5)  # steps, one of which is of the whole net


def approximations_table(steps: int, rounds: int, side: int) -> Iterator[str]:
    """The lines of a table in markdown. rounds, side: of the large UNet, and of the latents that it is given."""
    sd = StableDiffusion("demo", float16=False)
    sd.ensure_models_are_loaded()
    clock = _clock()
    taken: dict[int, list[float]] = {every: [] for every in (1, *EVERY)}
    wrong: dict[int, list[float]] = {every: [] for every in EVERY}
    for prompt in PROMPTS:
        exact = None
        for every in taken:
            start = clock()
            *_, last = sd.sample(Settings(prompt=prompt, seed=1, steps=steps, deep_cache=every))
            taken[every].append(clock() - start)
            picture = sd.decode(last.x)
            if exact is None:
                exact = picture
            else:
                wrong[every].append(float(mx.square(picture - exact).mean()))
    large = _seconds(_calls(side), rounds)
    yield "| `deep_cache` | error, of 255 | PSNR | the demo | SD 1.5 |"
    yield "|---" * 5 + "|"
    for every in EVERY:
        error = math.sqrt(sum(wrong[every]) / len(PROMPTS))
        demo = median(whole / near for whole, near in zip(taken[1], taken[every], strict=True))
        step = (large["whole"] + (every - 1) * large["outermost"]) / every
        faster = f"{demo:.2f} x | {large['whole'] / step:.2f} x"
        yield f"| {every} | {255 * error:.1f} | {-20 * math.log10(error):.1f} dB | {faster} |"


def _calls(side: int) -> dict[str, Callable[[], Any]]:
    """The calls of a guided step of one picture: of the whole net, and of its outermost layer."""
    unet = UNet2DConditionModel(UNetConfig())
    x, context, t = mx.random.normal((2, side, side, 4)), mx.random.normal((2, 77, 768)), mx.array([500.0, 500.0])
    _, deep = done(partial(shallow, unet, x, t, context))

    def call(**more: mx.array) -> None:
        mx.eval(done(partial(shallow, unet, x, t, context, **more)))

    return {"whole": call, "outermost": partial(call, deep=deep)}


def _seconds(works: Mapping[Any, Callable[[], Any]], rounds: int) -> dict[Any, float]:
    """The median time of each, after a first time that does not count."""
    clock = _clock()
    taken: dict[Any, list[float]] = {name: [] for name in works}
    for k in range(rounds + 1):
        for name, work in works.items():
            start = clock()
            work()
            if k:
                taken[name].append(clock() - start)
    return {name: median(times) for name, times in taken.items()}


def _clock() -> Callable[[], float]:
    return time.process_time if on_cpu() else time.perf_counter
