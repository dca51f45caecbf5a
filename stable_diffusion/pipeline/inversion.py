"""Runs that start where the model itself, followed backwards from the image, leads."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace

import mlx.core as mx

from ..diffusion.noising import Inversion, invert
from ..diffusion.walk import DenoiseRows
from .inputs import Inputs
from .run import Run


def invert_all(runs: Sequence[Run], estimate: Callable[[Sequence[Run]], DenoiseRows]) -> list[Inversion]:
    """The way up from the image of each run, told its source_prompt and not guided.

    Runs of one image with the same levels and source prompt, which is all that it takes, share one. Warns of steps
    that did not settle.
    """
    known: dict[tuple[object, ...], Inversion] = {}
    found = []
    for run in runs:
        s = run.settings
        how = (s.clip_skip, s.prompt_syntax, s.cut_prompt)
        what = (s.source_prompt, *how, s.discretize, run.plan.sigmas)
        if what not in known:
            known[what] = _inverted(run, estimate)
        found.append(known[what])
    return found


def _inverted(run: Run, estimate: Callable[[Sequence[Run]], DenoiseRows]) -> Inversion:
    # Guidance makes the way up unstable; and the prompt is another one, so that the way down differs.
    settings = replace(run.settings, prompt=run.settings.source_prompt, cfg=1.0, n_images=1)
    alone = replace(run, settings=settings, inputs=Inputs(run.inputs.image))
    rows = estimate([alone])

    def denoise(x: mx.array, sigma: float | mx.array) -> mx.array:
        return rows(x, mx.array([sigma]), mx.array([0]))

    found = invert(denoise, alone.original, run.plan.sigmas)
    if found.fell_back:
        warnings.warn(
            f"{found.fell_back} of {run.plan.steps_run} steps of the inversion did not settle and were taken "
            f"plainly (off by up to {max(found.residuals):.1g}): more steps make it more exact",
            stacklevel=6,
        )
    return found
