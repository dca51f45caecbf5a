"""From a strength to the levels that are run: readable before anything runs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, Literal, get_args

import mlx.core as mx

from ..settings import StrengthMode
from .aliases import sampler_name
from .samplers import sampler_named
from .schedule import NoiseSchedule
from .spacing import Levels, Spacing, by_hand, spacing_named
from .walk import walk


@dataclass(frozen=True)
class Plan:
    """What a run will do."""

    sigmas: Levels  # the levels that are visited, the start first, 0 last; (0.0,) when nothing is run
    times: tuple[float, ...]  # the train time of each level but the last: what the net is told
    steps: int  # that were asked for
    num_train_steps: int = 1000
    image_weight: float | None = None  # of the image in the start; None: there is no image
    left_out: int = 0  # steps at the beginning of all `steps` that are not run
    strengths: tuple[float, float] | None = None  # from and just below: all of these strengths give this same plan

    @property
    def steps_run(self) -> int:
        return len(self.sigmas) - 1

    @property
    def start_sigma(self) -> float:
        return self.sigmas[0]

    @property
    def strength(self) -> float:
        """The strength whose level this run starts at, in [0, 1]."""
        return (self.times[0] + 1) / self.num_train_steps if self.times else 0.0

    @property
    def image_left(self) -> float:
        """The fraction of the image's amplitude that survives in the start: weight / sqrt(1 + sigma^2)."""
        return (self.image_weight or 0.0) / math.sqrt(1 + self.start_sigma**2)

    def calls(self, sampler: str, **options: Any) -> int:
        """How many network calls the sampler makes, found by walking it over these levels without a network."""
        count = 0

        def denoise(x: mx.array, sigma: float) -> mx.array:
            nonlocal count
            count += 1
            return x

        nothing = mx.zeros((1,))
        for _ in walk(
            denoise, sampler_named(sampler_name(sampler)[0])(nothing, self.sigmas, lambda i, k: nothing, **options)
        ):
            pass
        return count

    def table(self) -> str:
        """The steps, one a line: its number among all steps, the levels it goes between, and the time it is told."""
        numbers = range(self.left_out + 1, self.left_out + 1 + self.steps_run)
        rows = zip(numbers, pairwise(self.sigmas), self.times, strict=True)
        lines = [f"{i:5}{s:11.4f} to {t:9.4f}{time:9.1f}" for i, (s, t), time in rows]
        return "\n".join([" step      sigma   to sigma      time", *lines])

    def __str__(self) -> str:
        if self.steps_run == 0:
            return f"no steps of {self.steps}: the image comes back as it is"
        text = f"{self.steps_run} of {self.steps} steps from sigma {self.start_sigma:.4f} (time {self.times[0]:.1f})"
        if self.left_out:
            text += f", the first {self.left_out} left out" if self.left_out > 1 else ", the first left out"
        if self.image_weight is None:
            return text
        if self.image_weight == 0:
            return f"{text}, from noise alone"
        return f"{text}, {self.image_left:.1%} of the image left, as strength {self.strength:.4g}"


def _chosen(levels: Levels, schedule: NoiseSchedule, n: int, sigma_max: float | None = None, **_: float) -> Levels:
    """A spacing whose levels somebody chose."""
    return levels


def make_plan(
    schedule: NoiseSchedule,
    spacing: str,
    steps: int,
    strength: float | None = None,
    strength_mode: StrengthMode = "level",
    start_step: int | None = None,
    image_weight: float | None = None,
    sigmas: Sequence[float] | None = None,
    discretize: Literal["none", "timestep", "schedule"] = "none",
) -> Plan:
    """Lay the levels of a run.

    strength in [0, 1] starts part of the way up; `strength_mode` says how it becomes steps:
    - `level`: start at the level of train time `strength * 1000 - 1`, and lay floor(steps * strength) steps from there;
    - `skip`: lay all steps, and run the last floor(steps * strength);
    - `full`: start as `level` does, and run all steps from there.
    Levels that are given by hand (sigmas) take the place of a spacing's, with `skip` or a start_step. discretize
    `schedule` rounds every level but the last to the nearest trained one, and merges those that become the same,
    because a multistep method divides by their distance (Karras et al. 2022, C.3.4); what a method evaluates between
    two levels of its own accord, as dpm2 does, stays between. `timestep` rounds only the times that the net is told.
    Or `start_step=k` drops the first k levels of all steps. Neither: all steps, from the top. Strength 0 runs nothing.
    Raises ValueError for a strength outside [0, 1], a start_step outside [0, steps], or both at once.
    """
    if strength_mode not in get_args(StrengthMode):
        raise ValueError(f"unknown strength mode {strength_mode!r}: one of {', '.join(get_args(StrengthMode))}")
    if strength is not None and start_step is not None:
        raise ValueError(f"strength {strength} and start step {start_step}: give one of them")
    lay: Spacing = spacing_named(spacing)
    if sigmas is not None:
        chosen = by_hand(sigmas)
        steps = len(chosen) - 1
        if strength not in (None, 0) and strength_mode != "skip":
            raise ValueError("levels chosen by hand start where they start: use strength mode skip, or a start step")
        lay = partial(_chosen, chosen)
    left_out, same = 0, None
    if strength is not None:
        if not 0 <= strength <= 1:
            raise ValueError(f"strength {strength} is outside [0, 1]")
        # 50 * 0.58 is 28.999999999999996 in floating point, and means 29.
        run = max(1, math.floor(steps * strength + 1e-9)) if strength > 0 else 0
        if run == 0:
            levels: Levels = (0.0,)
        elif strength_mode == "skip":
            left_out, same = steps - run, (run / steps if run > 1 else 0.0, min(1.0, (run + 1) / steps))
            levels = lay(schedule, steps)[left_out:]
        else:
            start = schedule.sigma(max(0.0, strength * schedule.num_train_steps - 1))
            levels = lay(schedule, run if strength_mode == "level" else steps, start)
    elif start_step is not None:
        if not 0 <= start_step <= steps:
            raise ValueError(f"start step {start_step} is outside [0, {steps}]")
        levels, left_out = lay(schedule, steps)[start_step:], start_step
    else:
        levels = lay(schedule, steps)
    if discretize == "schedule":
        levels = (*dict.fromkeys(schedule.nearest(s) for s in levels[:-1]), 0.0)
    return Plan(
        sigmas=levels,
        times=tuple(schedule.t(schedule.nearest(s) if discretize == "timestep" else s) for s in levels[:-1]),
        steps=steps,
        num_train_steps=schedule.num_train_steps,
        image_weight=image_weight,
        left_out=left_out,
        strengths=same if same and same[0] < same[1] else None,
    )
