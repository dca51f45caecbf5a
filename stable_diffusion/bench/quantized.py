"""How far nets of fewer bits are from whole ones."""

import math
from collections.abc import Sequence
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten

from ..config import UNetConfig
from ..models.unet import UNet2DConditionModel
from ..pipeline import StableDiffusion
from ..settings import Settings
from ..weights.quantize import quantize

KINDS: tuple[int | str, ...] = (8, "mxfp8", 6, 4, "nvfp4", "mxfp4")


def quantized_table(kinds: Sequence[int | str]) -> str:
    """What fewer bits do, as a markdown table: to SD 1.5's UNet with random weights, and to the demo's pictures."""
    rows = ["| bits | UNet of SD 1.5 | its output, random weights | the demo's UNet | its latents after 10 steps |"]
    rows.append("|---" * 5 + "|")
    x, context = (
        mx.random.normal(shape, key=mx.random.key(k)) for k, shape in enumerate(((1, 16, 16, 4), (1, 77, 768)))
    )
    asked = Settings(prompt="a house by a river at sunset, photo", seed=1, steps=10)
    whole_net, exact = UNet2DConditionModel(UNetConfig()), StableDiffusion("demo", float16=False)
    calls, latents = _recorded(exact, asked)
    output = whole_net(x, mx.array([500.0]), context)
    mx.eval(output)
    for kind in kinds:
        net, sd = UNet2DConditionModel(UNetConfig()), StableDiffusion("demo", float16=False, quantize=kind)
        net.update(whole_net.parameters())
        quantize(net, kind)
        outputs = [(sd.unet(*inputs, **more), wanted) for inputs, more, wanted in calls]
        errors = [
            _apart([(net(x, mx.array([500.0]), context), output)]),
            _apart(outputs),
            _apart([(_recorded(sd, asked)[1], latents)]),
        ]
        arrays: dict[str, mx.array] = dict(tree_flatten(net.parameters()))
        size = sum(array.nbytes for array in arrays.values())
        rows.append(f"| {kind} | {size / 1e9:.2f} GB | {' | '.join(f'{100 * error:.2g} %' for error in errors)} |")
    return "\n".join(rows)


def _recorded(sd: StableDiffusion, settings: Settings) -> tuple[list[tuple[Any, Any, mx.array]], mx.array]:
    """What the UNet was given and gave on the way, and the last latents."""
    calls, unet = [], sd.unet

    def recording(*inputs: mx.array, **more: mx.array) -> mx.array:
        calls.append((inputs, more, unet(*inputs, **more)))
        return calls[-1][2]

    sd.__dict__["unet"] = recording
    *_, last = sd.sample(settings)
    sd.__dict__["unet"] = unet
    return calls, last.x


def _apart(pairs: Sequence[tuple[mx.array, mx.array]]) -> float:
    """The root mean square difference over the root mean square of what is right."""
    wrong = sum(float(mx.square(a - b).mean()) for a, b in pairs)
    return math.sqrt(wrong / sum(float(mx.square(b).mean()) for _, b in pairs))
