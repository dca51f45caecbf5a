"""How far each sampler is from the truth, for how many network calls.

The problem is one whose optimum is known: the data are a mixture of two Gaussians in two dimensions, so that the best
estimate at every noise level has a closed form, and where the ODE leads is found by Heun's method in 4000 steps.
"""

import math

import mlx.core as mx

from ...diffusion.samplers import SAMPLERS
from ...diffusion.schedule import NoiseSchedule
from ...diffusion.spacing import SPACINGS
from ...diffusion.walk import walk

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


def errors_table(errors: dict[str, list[tuple[int, float]]]) -> str:
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
