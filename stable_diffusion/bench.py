"""python -m stable_diffusion.bench: what samplers and fewer bits cost, measured.

samplers: how far each sampler is from the truth, for how many network calls. The problem is one whose optimum is known:
the data are a mixture of two Gaussians in two dimensions, so that the best estimate at every noise level has a closed
form, and where the ODE leads is found by Heun's method in 4000 steps.
quantized: how far nets of fewer bits are from whole ones.
approximations: how far pictures are from exact ones, and how much sooner they are there.
"""

import argparse
import math
import re
import sys
from collections.abc import Generator, Sequence
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten

from .bench_approximations import approximations_table
from .cli.options import reading
from .cli.terminal import run
from .config import UNetConfig
from .diffusion.samplers import SAMPLERS
from .diffusion.schedule import NoiseSchedule
from .diffusion.spacing import SPACINGS
from .diffusion.walk import walk
from .jobs.events import Answer, Event
from .jobs.model import QUANTIZE
from .models.unet import UNet2DConditionModel
from .pipeline import StableDiffusion
from .settings import Settings
from .values import whole
from .weights.quantize import WHOLE, in_bits, quantisable, quantize

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

MEANS, STDS, WEIGHTS = ((-1.0, 0.3), (0.8, -0.5)), (0.25, 0.4), (0.4, 0.6)
STEPS = (4, 6, 8, 12, 16, 24, 32, 48, 64)
TRUTH = 4000  # steps of the walk that counts as exact


def mixture_estimate(x: mx.array, sigma: float) -> mx.array:
    """The mean of x0 given x = x0 + sigma n, (B, 2), for x0 from the mixture."""
    logs, means = [], []
    for mean, std, weight in zip(MEANS, STDS, WEIGHTS, strict=True):
        m, variance = mx.array(mean), std**2 + sigma**2
        logs.append(math.log(weight) - math.log(variance) - mx.square(x - m).sum(axis=1) / (2 * variance))
        means.append(m + std**2 / variance * (x - m))
    posterior = mx.softmax(mx.stack(logs), axis=0)  # (2, B)
    return (posterior[..., None] * mx.stack(means)).sum(axis=0)


def samplers_error(spacing: str, points: int) -> dict[str, list[tuple[int, float]]]:
    """For each deterministic sampler: (network calls, root mean square distance to where the ODE leads)."""
    schedule = NoiseSchedule()
    n = mx.random.normal((points, 2), key=mx.random.key(0))
    truth = _end("heun", SPACINGS[spacing](schedule, TRUTH), n)
    errors: dict[str, list[tuple[int, float]]] = {}
    for name, method in SAMPLERS.items():
        if method.noise:
            continue
        for steps in STEPS:
            sigmas, calls = SPACINGS[spacing](schedule, steps), [0]
            apart = mx.sqrt(mx.square(_end(name, sigmas, n, calls) - truth).sum(axis=1).mean())
            errors.setdefault(name, []).append((calls[0], float(apart)))
    return errors


def _end(sampler: str, sigmas: tuple[float, ...], n: mx.array, calls: list[int] | None = None) -> mx.array:
    def denoise(x: mx.array, sigma: float) -> mx.array:
        if calls is not None:
            calls[0] += 1
        return mixture_estimate(x, sigma)

    def no_noise(i: int, k: int) -> mx.array:
        raise AssertionError(sampler)

    x = sigmas[0] * n
    for step in walk(denoise, SAMPLERS[sampler](x, sigmas, no_noise)):
        x = step.x
        mx.eval(x)
    return x


def table(errors: dict[str, list[tuple[int, float]]]) -> str:
    """The errors as a markdown table; what a sampler of two calls a step has done stands at its true count of calls."""
    counts = sorted({calls for points in errors.values() for calls, _ in points if calls in STEPS})
    rows = [f"| sampler | {' | '.join(f'{c} calls' for c in counts)} |", "|---" * (len(counts) + 1) + "|"]
    for name, points in sorted(errors.items(), key=lambda item: item[1][-1][1]):
        # Between two counts, on a straight line in logarithms.
        cells = []
        for count in counts:
            before = [p for p in points if p[0] <= count]
            after = [p for p in points if p[0] >= count]
            if not before or not after:
                cells.append("")
                continue
            (a, e), (b, f) = before[-1], after[0]
            u = 0.0 if a == b else math.log(count / a) / math.log(b / a)
            cells.append(f"{e ** (1 - u) * f**u:.2g}")
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(rows)


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


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m stable_diffusion.bench", description=__doc__.splitlines()[0])
    pages = parser.add_subparsers(dest="page", required=True)
    page = pages.add_parser("samplers", help="error against network calls, of all samplers that add no noise")
    page.add_argument("--spacing", choices=sorted(SPACINGS), default="karras", help="(default: %(default)s)")
    points = reading(whole(1).strictly().read)
    page.add_argument("--points", type=points, default=1000, metavar="N", help="walks to average (default: 1000)")
    page = pages.add_parser("quantized", help="what fewer bits do to a net's output, and to latents")
    kind = reading(QUANTIZE.read)
    page.add_argument("kinds", nargs="*", type=kind, metavar="BITS", help="(default: all but 2 and 3)")
    about = "what each kind of layer costs, in the first of BITS (default: 4)"
    page.add_argument("--layers", action="store_true", help=about)
    page = pages.add_parser("approximations", help="what --deep-cache and --merge-tokens do to pictures, and save")
    counts = {"steps": (20, "of the demo's pictures"), "rounds": (5, "to measure"), "side": (32, "of SD 1.5's latents")}
    for name, (count, about) in counts.items():
        page.add_argument(f"--{name}", type=points, default=count, metavar="N", help=f"{about} (default: {count})")
    args = parser.parse_args(argv)

    def answer() -> Generator[Event, None, None]:
        if args.page == "samplers":
            yield Answer(table(samplers_error(args.spacing, args.points)))
        elif args.page == "approximations":
            yield from map(Answer, approximations_table(args.steps, args.rounds, args.side))
        else:
            yield Answer(layers_table((*args.kinds, 4)[0]) if args.layers else quantized_table(args.kinds or KINDS))

    return run(answer)


if __name__ == "__main__":
    sys.exit(main())
