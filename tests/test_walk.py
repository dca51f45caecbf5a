from collections.abc import Iterator

import mlx.core as mx
import pytest

from stable_diffusion import SAMPLERS, SPACINGS, Step
from stable_diffusion.diffusion.noise import StepNoise
from stable_diffusion.diffusion.schedule import NoiseSchedule
from stable_diffusion.diffusion.steps import Sampler
from stable_diffusion.diffusion.walk import lockstep, walk
from tests.oracles import gaussian, largest_difference

SCHEDULE = NoiseSchedule()


class Counting:
    """An exact denoiser over rows that notes the size of each call."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []

    def __call__(self, x: mx.array, sigma: mx.array, which: mx.array) -> mx.array:
        assert x.shape[:1] == sigma.shape == which.shape
        self.calls.append(which.tolist())  # type: ignore[arg-type]
        return 0.3 + 0.25 / (0.25 + sigma[:, None] ** 2) * (x - 0.3)


def triangle(names: list[str], rows: int = 1) -> list[Sampler]:
    """Samplers of 1, 2, 3, ... steps."""
    x = mx.arange(1.0, 1 + rows)[:, None]
    noise = StepNoise(range(rows), (1,))
    return [SAMPLERS[name](x, SPACINGS["karras"](SCHEDULE, i + 1), noise) for i, name in enumerate(names)]


def by_sampler(steps: Iterator[tuple[int, Step]]) -> dict[int, list[Step]]:
    rows: dict[int, list[Step]] = {}
    for which, step in steps:
        rows.setdefault(which, []).append(step)
    return rows


NAMES = ["euler", "heun", "dpmpp_2m", "euler_a", "lms", "heun"]


@pytest.mark.parametrize("batch_size", [None, 1, 2, 4])
@pytest.mark.parametrize("rows", [1, 2])
def test_in_step_or_alone_samplers_take_the_same_steps(batch_size: int | None, rows: int) -> None:
    together = by_sampler(lockstep(Counting(), triangle(NAMES, rows), batch_size))
    assert together.keys() == set(range(len(NAMES)))
    for which, sampler in enumerate(triangle(NAMES, rows)):
        alone = list(walk(gaussian(0.3, 0.5), sampler))
        assert len(alone) == len(together[which]) == which + 1
        for one, other in zip(alone, together[which], strict=True):
            assert (one.index, one.sigma) == (other.index, other.sigma)
            assert largest_difference(one.x, other.x) < 1e-6
            assert largest_difference(one.clean, other.clean) < 1e-6


def test_a_triangle_takes_as_many_calls_as_its_longest_row() -> None:
    denoise = Counting()
    list(lockstep(denoise, triangle(["euler"] * 5)))
    assert denoise.calls == [[0, 1, 2, 3, 4], [1, 2, 3, 4], [2, 3, 4], [3, 4], [4]]


def test_the_place_of_a_row_that_ends_goes_to_the_next() -> None:
    denoise = Counting()
    list(lockstep(denoise, triangle(["euler"] * 4), batch_size=2))
    assert denoise.calls == [[0, 1], [1, 2], [2, 3], [2, 3], [3], [3]]


def test_rows_of_one_sampler_are_never_split() -> None:
    denoise = Counting()
    list(lockstep(denoise, triangle(["euler"] * 3, rows=2), batch_size=3))
    assert all(call in ([0, 0], [1, 1], [2, 2]) for call in denoise.calls)


def test_samplers_that_ask_nothing_end_quietly() -> None:
    silent = SAMPLERS["euler"](mx.ones((1, 1)), (0.0,), StepNoise([0], (1,)))
    assert list(walk(gaussian(0, 1), silent)) == []
    denoise = Counting()
    samplers = [SAMPLERS["euler"](mx.ones((1, 1)), (0.0,), StepNoise([0], (1,))), *triangle(["euler"] * 2)]
    assert by_sampler(lockstep(denoise, samplers)).keys() == {1, 2}
    assert list(lockstep(denoise, [])) == []
