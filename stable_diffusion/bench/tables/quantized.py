"""How far nets of fewer bits are from whole ones."""

import math
import re
from collections.abc import Sequence
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten

from ...config import UNetConfig
from ...models.unet import UNet2DConditionModel
from ...pipeline import StableDiffusion
from ...settings import Settings
from ...weights.quantize import WHOLE, in_bits, quantisable, quantize

KINDS: tuple[int | str, ...] = (8, "mxfp8", 6, 4, "nvfp4", "mxfp4")
STEPS_OF_LATENTS = 10
LAYERS = {  # of a UNet, by their paths
    "time_embedding": r"time_embedding\..*",
    "time_emb_proj": r".*\.time_emb_proj",
    "proj_in, proj_out": r".*\.proj_(in|out)",
    "attn1": r".*\.attn1\..*",
    "attn2": r".*\.attn2\..*",
    "ff": r".*\.ff\..*",
    "all": r".*",
    "all that `-q` takes": rf"(?!{WHOLE.pattern}$).*",
}


def quantized_table(kinds: Sequence[int | str]) -> str:
    """What fewer bits do, as a markdown table: to SD 1.5's UNet with random weights, and to the demo's pictures."""
    judge = _Judge()
    rows = ["| bits | UNet of SD 1.5 | its output, random weights | the demo's UNet | its latents after 10 steps |"]
    rows.append("|---" * 5 + "|")
    for kind in kinds:
        net, sd = judge.fresh()
        for one in (net, sd.unet, *sd.texts.encoders):
            quantize(one, kind)
        arrays: dict[str, mx.array] = dict(tree_flatten(net.parameters()))
        size = sum(array.nbytes for array in arrays.values()) / 1e9
        rows.append(f"| {kind} | {size:.2f} GB | {' | '.join(map(_percent, judge.errors(net, sd)))} |")
    return "\n".join(rows)


def layers_table(kind: int | str) -> str:
    """What each kind of layer costs in so many bits, the others whole, as a markdown table."""
    judge = _Judge()
    rows = [f"| layers in {kind} bits | of the weights | SD 1.5's output | the demo's output | its latents |"]
    rows.append("|---" * 5 + "|")
    for name, pattern in LAYERS.items():
        net, sd = judge.fresh()
        sizes = {path: layer.weight.size for path, layer in net.named_modules() if quantisable(layer)}
        of = sum(size for path, size in sizes.items() if re.fullmatch(pattern, path)) / sum(sizes.values())
        for one in (net, sd.unet):
            in_bits(one, kind, {p for p, m in one.named_modules() if quantisable(m) and re.fullmatch(pattern, p)})
        rows.append(f"| {name} | {_percent(of)} | {' | '.join(map(_percent, judge.errors(net, sd)))} |")
    return "\n".join(rows)


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"


class _Judge:
    """What whole nets give, and how far others are from it."""

    def __init__(self) -> None:
        x = mx.random.normal((1, 16, 16, 4), key=mx.random.key(0))
        context = mx.random.normal((1, 77, 768), key=mx.random.key(1))
        self.given = x, mx.array([500.0]), context
        self.asked = Settings(prompt="a house by a river at sunset, photo", seed=1, steps=STEPS_OF_LATENTS)
        self.whole = UNet2DConditionModel(UNetConfig())
        self.calls, self.latents = _recorded(StableDiffusion("demo", float16=False), self.asked)
        self.output = self.whole(*self.given)
        mx.eval(self.output)

    def fresh(self) -> tuple[UNet2DConditionModel, StableDiffusion]:
        """SD 1.5's UNet, with the same random weights each time, and the demo."""
        net = UNet2DConditionModel(UNetConfig())
        net.update(self.whole.parameters())
        return net, StableDiffusion("demo", float16=False)

    def errors(self, net: UNet2DConditionModel, sd: StableDiffusion) -> tuple[float, float, float]:
        """Of the output, of the demo's output at the same inputs, and of its latents after all steps."""
        outputs = [(sd.unet(*inputs, **more), wanted) for inputs, more, wanted in self.calls]
        latents = _recorded(sd, self.asked)[1]
        return _apart([(net(*self.given), self.output)]), _apart(outputs), _apart([(latents, self.latents)])


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
