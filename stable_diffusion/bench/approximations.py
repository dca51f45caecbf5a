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

from ..config import UNetConfig
from ..models.unet import UNet2DConditionModel
from ..parallel import on_cpu, spread
from ..pipeline import StableDiffusion
from ..settings import Settings

PROMPTS = (
    "a photo of a house by a river at sunset, mountains",
    "an impressionist painting of the sea at night, a boat",
    "a pencil sketch of a meadow in the fog, trees",
    "a poster of mountains in the snow by day",
)
KINDS: tuple[tuple[int, float], ...] = ((2, 0.0), (3, 0.0), (5, 0.0), (1, 0.25), (1, 0.5), (1, 0.75), (3, 0.5))
Way = tuple[bool, float]  # of a call: is it of the whole net, and what share does it merge?


def approximations_table(steps: int, rounds: int, side: int) -> Iterator[str]:
    """The lines of a table in markdown. rounds, side: of the large UNet, and of the latents that it is given."""
    sd = StableDiffusion("demo", float16=False)
    sd.ensure_models_are_loaded()
    kinds, clock = ((1, 0.0), *KINDS), _clock()
    taken: dict[tuple[int, float], list[float]] = {kind: [] for kind in kinds}
    wrong: dict[tuple[int, float], list[float]] = {kind: [] for kind in kinds}
    for prompt in PROMPTS:
        exact = None
        for every, merge in kinds:
            asked = Settings(prompt=prompt, seed=1, steps=steps, deep_cache=every, merge_tokens=merge)
            start = clock()
            *_, last = sd.sample(asked)
            taken[every, merge].append(clock() - start)
            picture = sd.decode(last.x)
            exact = picture if exact is None else exact
            wrong[every, merge].append(float(mx.square(picture - exact).mean()))
    large = _seconds(_calls(side), rounds)
    yield "| `deep_cache` | `merge_tokens` | error, of 255 | PSNR | the demo | SD 1.5 |"
    yield "|---" * 6 + "|"
    for every, merge in KINDS:
        error = math.sqrt(sum(wrong[every, merge]) / len(PROMPTS))
        demo = median(whole / near for whole, near in zip(taken[1, 0.0], taken[every, merge], strict=True))
        step = (large[True, merge] + (every - 1) * large.get((False, merge), 0.0)) / every
        faster = f"{demo:.2f} x | {large[True, 0.0] / step:.2f} x"
        yield f"| {every} | {merge:g} | {255 * error:.1f} | {-20 * math.log10(error):.1f} dB | {faster} |"


def _calls(side: int) -> dict[Way, Callable[[], Any]]:
    """The calls of a guided step of one picture that the kinds are made of."""
    unet = UNet2DConditionModel(UNetConfig())
    x, context, t = mx.random.normal((2, side, side, 4)), mx.random.normal((2, 77, 768)), mx.array([500.0, 500.0])
    deep = spread(partial(unet.nearly, keep=True))(x, t, context=context)[..., 4:]
    mx.eval(deep)

    def call(is_whole: bool, merge: float) -> None:
        more = {"context": context} if is_whole else {"context": context, "deep": deep}
        mx.eval(spread(partial(unet.nearly, merge=merge))(x, t, **more))

    ways = {(True, 0.0), *((True, merge) for _, merge in KINDS), *((False, merge) for n, merge in KINDS if n > 1)}
    return {way: partial(call, *way) for way in sorted(ways)}


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
