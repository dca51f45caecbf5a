"""What runs are told to take, and what is done so that it suffices."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import mlx.core as mx
import pytest

from stable_diffusion import Settings, StableDiffusion
from stable_diffusion.models.unet import UpBlock
from stable_diffusion.pipeline import memory
from stable_diffusion.pipeline.memory import check_memory, fitting, give_back, keep_in_bounds, kept, needed
from stable_diffusion.pipeline.run import Run


@pytest.fixture(scope="module")
def sd() -> StableDiffusion:
    return StableDiffusion("demo", float16=False)


def runs(sd: StableDiffusion, count: int = 1, **settings: object) -> list[Run]:
    asked = Settings(prompt="a", steps=2, **settings)  # type: ignore[arg-type]
    return [sd.planner.run(replace(asked, seed=k)) for k in range(count)]


def test_what_the_way_down_keeps_is_counted_right(sd: StableDiffusion, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    whole = UpBlock.__call__

    def seeing(
        block: UpBlock, x: mx.array, time: mx.array, context: mx.array, skips: list[mx.array], *rest: Any
    ) -> mx.array:
        found.append(sum(skip.size for skip in skips))
        return whole(block, x, time, context, skips, *rest)

    monkeypatch.setattr(UpBlock, "__call__", seeing)
    sd.unet(mx.zeros((1, 19, 14, 4)), mx.array([1.0]), mx.zeros((1, 77, sd.description.unet.cross_attention_dim)))
    assert found[0] == kept(sd.description.unet, 19, 14)


@pytest.mark.parametrize("more", [{"width": 256}, {"height": 512}, {"n_images": 8}])
def test_more_takes_more(sd: StableDiffusion, more: dict[str, int]) -> None:
    less = needed(sd.description, runs(sd))
    assert needed(sd.description, runs(sd, **more)) > less
    assert needed(sd.description, runs(sd, cfg=1.0)) <= less


def test_half_precision_takes_less(sd: StableDiffusion) -> None:
    large = runs(sd, width=2048, height=2048)
    assert needed(sd.description, large, dtype=mx.float16) < needed(sd.description, large)


@pytest.fixture
def room(sd: StableDiffusion, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """A machine on which so many rows fit."""

    def make(rows: int) -> None:
        takes = needed(sd.description, runs(sd, rows, width=1024, height=1024), rows)
        monkeypatch.setattr(memory, "available", lambda: 2 * takes)

    return make


@pytest.mark.parametrize(("count", "room_for", "rows"), [(1, 1, None), (8, 8, None), (8, 5, 4), (9, 4, 4), (9, 1, 1)])
def test_so_many_rows_go_together_as_fit(
    sd: StableDiffusion, room: Callable[[int], None], count: int, room_for: int, rows: int | None
) -> None:
    room(room_for)
    assert fitting(sd.description, runs(sd, count, width=1024, height=1024), mx.float32) == rows


def test_what_does_not_fit_by_itself_is_refused(sd: StableDiffusion, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda: 2**20)
    with pytest.raises(MemoryError, match="make them smaller"):
        check_memory(sd.description, runs(sd))


def test_a_machine_with_little_memory_makes_the_same_pictures(
    sd: StableDiffusion, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    estimate = StableDiffusion._estimate

    def counting(self: StableDiffusion, group: list[Run], *rest: Any) -> Callable[..., mx.array]:
        inner = estimate(self, group, *rest)
        return lambda x, sigma, which: (calls.append(x.shape[0]), inner(x, sigma, which))[1]  # type: ignore[func-returns-value]

    monkeypatch.setattr(StableDiffusion, "_estimate", counting)
    together = [step.x for _, step in sd.walk(sd.begin(runs(sd, 3)))]
    assert max(calls) == 3
    monkeypatch.setattr("stable_diffusion.pipeline.stable_diffusion.fitting", lambda *_: 1)
    calls.clear()
    apart = {(which, step.index): step.x for which, step in sd.walk(sd.begin(runs(sd, 3)))}
    assert max(calls) == 1 and len(apart) == len(together) == 6
    assert mx.allclose(apart[2, 1], together[-1], atol=1e-4)


def test_gpus_give_back_what_was_freed_and_apple_s_keep_a_quarter(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(mx, "set_cache_limit", asked.append)
    monkeypatch.setattr(mx, "clear_cache", lambda: asked.append("clear"))
    monkeypatch.setattr(memory, "available", lambda: 8 * 2**30)
    keep_in_bounds()
    give_back()
    assert asked == [] or mx.default_device() == mx.gpu
    asked.clear()
    monkeypatch.setattr(memory, "on_cpu", lambda: False)
    keep_in_bounds()
    give_back()
    assert asked == [*([2 * 2**30] if mx.metal.is_available() else []), "clear"]
    asked.clear()
    monkeypatch.setattr(mx.metal, "is_available", lambda: True)
    keep_in_bounds()
    assert asked == [2 * 2**30]
