"""From a strength to the levels that are run: readable before anything runs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import mlx.core as mx

from ..settings import CompleteSettings
from .aliases import sampler_name
from .samplers import sampler_named
from .schedule import NoiseSchedule, deviation
from .spacing import Lay, Levels, by_hand, spacing_named
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
        return (self.image_weight or 0.0) / deviation(self.start_sigma)

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

    def table(self, hats: Sequence[float] = ()) -> str:
        """The steps, one a line: its number among all steps, the levels it goes between, and the time of the first.

        hats: the levels that churn raises each step's to, whose time is the one that the net is told.
        """
        numbers = range(self.left_out + 1, self.left_out + 1 + self.steps_run)
        raised = [f"{hat:11.4f}" for hat in hats] or [""] * self.steps_run
        rows = zip(numbers, pairwise(self.sigmas), self.times, raised, strict=True)
        lines = [f"{i:5}{s:11.4f} to {t:9.4f}{time:9.1f}{hat}" for i, (s, t), time, hat in rows]
        return "\n".join([" step      sigma   to sigma      time" + ("  sigma hat" if hats else ""), *lines])

    def _repr_html_(self) -> str:
        """What a notebook shows: the line, and the steps as a table."""
        numbers = range(self.left_out + 1, self.left_out + 1 + self.steps_run)
        cells = "".join(
            f"<tr><td>{i}</td><td>{s:.4f}</td><td>{t:.4f}</td><td>{time:.1f}</td></tr>"
            for i, (s, t), time in zip(numbers, pairwise(self.sigmas), self.times, strict=True)
        )
        head = "<tr><th>step</th><th>sigma</th><th>to sigma</th><th>time</th></tr>"
        return f"<p>{self}</p><table>{head}{cells}</table>"

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


def make_plan(schedule: NoiseSchedule, s: CompleteSettings, image: bool = False) -> Plan:
    """Lay the levels of a run; image: is there one that it starts from?

    strength in [0, 1] starts part of the way up; `strength_mode` says how it becomes steps:
    - `level`: start at the level of train time `strength * 1000 - 1`, and lay floor(steps * strength) steps from there;
    - `skip`: lay all steps, and run the last floor(steps * strength);
    - `full`: start as `level` does, and run all steps from there.
    Levels that are given by hand (sigmas) take the place of a spacing's, with `skip` or a start_step. discretize
    `schedule` rounds every level but the last to the nearest trained one, and merges those that become the same,
    because a multistep method divides by their distance (Karras et al. 2022, C.3.4); what a method evaluates between
    two levels of its own accord, as dpm2 does, stays between. `timestep` rounds only the times that the net is told.
    Or `start_step=k` drops the first k levels of all steps. Neither: all steps, from the top. Strength 0 runs nothing.
    Raises ValueError for a start_step beyond the steps, and for a strength whose mode the levels by hand do not allow.
    """
    lay: Lay = spacing_named(s.spacing)
    steps = s.steps
    if s.sigmas is not None:
        chosen = by_hand(s.sigmas)
        steps = len(chosen) - 1
        if s.strength not in (None, 0) and s.strength_mode != "skip":
            raise ValueError("levels chosen by hand start where they start: use strength mode skip, or a start step")
        lay = partial(_chosen, chosen)
    left_out, same = 0, None
    if s.strength is not None:
        # 50 * 0.58 is 28.999999999999996 in floating point, and means 29.
        run = max(1, math.floor(steps * s.strength + 1e-9)) if s.strength > 0 else 0
        if run == 0:
            levels: Levels = (0.0,)
        elif s.strength_mode == "skip":
            left_out, same = steps - run, (run / steps if run > 1 else 0.0, min(1.0, (run + 1) / steps))
            levels = lay(schedule, steps)[left_out:]
        else:
            start = schedule.sigma(max(0.0, s.strength * schedule.num_train_steps - 1))
            levels = lay(schedule, run if s.strength_mode == "level" else steps, start)
    elif s.start_step is not None:
        if s.start_step > steps:
            raise ValueError(f"start step {s.start_step} is outside [0, {steps}]")
        levels, left_out = lay(schedule, steps)[s.start_step :], s.start_step
    else:
        levels = lay(schedule, steps)
    if s.discretize == "schedule":
        levels = (*dict.fromkeys(schedule.nearest(level) for level in levels[:-1]), 0.0)
    told = [schedule.nearest(level) if s.discretize == "timestep" else level for level in levels[:-1]]
    return Plan(
        sigmas=levels,
        times=tuple(map(schedule.t, told)),
        steps=steps,
        num_train_steps=schedule.num_train_steps,
        image_weight=s.image_weight if image or s.strength is not None or s.start_step is not None else None,
        left_out=left_out,
        strengths=same if same and same[0] < same[1] else None,
    )
