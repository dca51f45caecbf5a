"""What runs are told to take, and what is done so that it suffices."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten

from stable_diffusion import Settings, StableDiffusion
from stable_diffusion.bench.families import FAMILIES
from stable_diffusion.config import VAEConfig
from stable_diffusion.models.unet import UpBlock
from stable_diffusion.pipeline import Planner, memory
from stable_diffusion.pipeline.memory import (
    Fit,
    Weights,
    check_memory,
    fitting,
    give_back,
    keep_in_bounds,
    kept,
    needed,
    working,
)
from stable_diffusion.pipeline.run import Run
from stable_diffusion.weights.nets import sized_nets


@pytest.fixture(scope="module")
def sd() -> StableDiffusion:
    return StableDiffusion("demo", float16=False)


def runs(sd: StableDiffusion, count: int = 1, **settings: object) -> list[Run]:
    asked = Settings(prompt="a", steps=2, **settings)  # type: ignore[arg-type]
    return [sd.planner.run(replace(asked, seed=k)) for k in range(count)]


def test_what_the_way_down_keeps_is_counted_right(sd: StableDiffusion, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    whole = UpBlock.__call__

    def seeing(block: UpBlock, x: mx.array, time: mx.array, context: mx.array, skips: list[mx.array]) -> mx.array:
        found.append(sum(skip.size for skip in skips))
        return whole(block, x, time, context, skips)

    monkeypatch.setattr(UpBlock, "__call__", seeing)
    sd.unet(mx.zeros((1, 19, 14, 4)), mx.array([1.0]), mx.zeros((1, 77, sd.description.unet.cross_attention_dim)))
    first = 19 * 14 * sd.description.unet.block_out_channels[0]  # of the first convolution, for the last layer
    assert found[0] + first == kept(sd.description.unet, 19, 14)


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
    """A machine on which so many rows of the UNet fit."""

    def make(rows: int) -> None:
        asked = runs(sd, rows, width=1024, height=1024)
        takes = working(sd.description, asked, rows, mx.float32, at_once=rows)["unet"] + memory.PROCESS
        monkeypatch.setattr(memory, "available", lambda: 4 * takes // 3 + 4)

    return make


@pytest.mark.parametrize(
    ("count", "room_for", "fit"),
    [
        (1, 2, (None, None)),
        (8, 16, (None, None)),
        (8, 10, (4, None)),
        (9, 8, (4, None)),
        (9, 2, (1, None)),
        (9, 1, (1, 1)),
        (1, 1, (1, 1)),
    ],
)
def test_so_many_rows_go_together_as_fit(
    sd: StableDiffusion, room: Callable[[int], None], count: int, room_for: int, fit: Fit
) -> None:
    room(room_for)
    assert fitting(sd.description, runs(sd, count, width=1024, height=1024), mx.float32) == fit


def test_a_batch_that_was_asked_for_is_cut_only_where_it_does_not_fit(
    sd: StableDiffusion, room: Callable[[int], None]
) -> None:
    asked = runs(sd, 9, width=1024, height=1024)
    for rows, fit in ((16, (8, None)), (15, (8, 8)), (3, (8, 2)), (1, (8, 1))):
        room(rows)
        assert fitting(sd.description, asked, mx.float32, batch_size=8) == fit


def test_what_does_not_fit_by_itself_is_refused(sd: StableDiffusion, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda: 2**20)
    with pytest.raises(MemoryError, match="make them smaller"):
        check_memory(sd.description, runs(sd))


def test_weights_are_counted_once_each_or_in_turn(sd: StableDiffusion) -> None:
    weights = sd.weights
    sizes = {}
    for name, net in sd.nets.items():
        arrays: dict[str, mx.array] = dict(tree_flatten(net.parameters()))
        sizes[name] = sum(array.nbytes for array in arrays.values())
    assert weights == Weights(sizes["unet"], sizes["text_encoder"], sizes["autoencoder"])
    assert min(sizes.values()) > 10**6
    asked = runs(sd)
    work = working(sd.description, asked, None, mx.float32)
    empty = needed(sd.description, asked)
    assert needed(sd.description, asked, weights=weights) == empty + sum(sizes.values())
    in_turn = needed(sd.description, asked, weights=replace(weights, in_turn=True))
    own = [sizes["text_encoder"], sizes["unet"] + work["unet"], sizes["autoencoder"] + work["autoencoder"]]
    assert in_turn == max(own) + empty - max(work.values())


@pytest.mark.parametrize("kind", [None, 4, "mxfp8"])
@pytest.mark.parametrize("model", ["demo", "sd1", "xl"])
@pytest.mark.parametrize("dtype", [mx.float32, mx.float16])
def test_the_size_of_weights_is_known_without_them(model: str, kind: int | str | None, dtype: mx.Dtype) -> None:
    name = model if model == "demo" else str(Path(__file__).parent / "data" / model)
    sd = StableDiffusion(name, float16=dtype == mx.float16, quantize=kind)
    assert Weights.of(sized_nets(sd.description, dtype, kind)) == sd.weights
    described = Planner.of(name).description
    assert Weights.of(sized_nets(described, dtype, kind)) == sd.weights


@pytest.mark.parametrize(
    ("fit", "most", "settings"),
    [
        (Fit(1, None), 2, {}),
        (Fit(None, 4), 4, {}),
        (Fit(1, 1), 1, {}),
        (Fit(2, 3), 3, {"deep_cache": 2}),
        (Fit(3, 1), 1, {"prompt": "a AND b", "prompt_syntax": "a1111"}),
    ],
)
def test_a_machine_with_little_memory_makes_the_same_pictures(
    sd: StableDiffusion, monkeypatch: pytest.MonkeyPatch, net_calls: list[int], fit: Fit, most: int, settings: Any
) -> None:
    asked = runs(sd, 3)
    asked = [sd.planner.run(replace(run.settings, **{**settings, "width": 64, "height": 64})) for run in asked]

    def latents() -> dict[tuple[int, int], mx.array]:
        net_calls.clear()
        return {(which, step.index): step.x for which, step in sd.walk(sd.begin(asked))}

    together = latents()
    assert max(net_calls) == 3 * asked[0].told
    monkeypatch.setattr("stable_diffusion.pipeline.stable_diffusion.fitting", lambda *_: fit)
    apart = latents()
    assert max(net_calls) == most
    assert apart.keys() == together.keys() and len(apart) == 6
    for place, x in together.items():
        # A BLAS adds up single rows in another order, and guidance multiplies what differs.
        assert mx.allclose(apart[place], x, atol=5e-4), float(mx.abs(apart[place] - x).max())


def test_guidance_s_halves_are_two_calls_where_memory_is_short(
    sd: StableDiffusion, room: Callable[[int], None], net_calls: list[int]
) -> None:
    """From the estimate to the calls; and the pictures of several seeds that are one run too."""
    settings = Settings(prompt="a house", steps=1, width=64, height=64, n_images=2)
    wanted = list(sd.sample(settings))[-1].x
    assert net_calls == [4]
    net_calls.clear()
    run = sd.planner.run(settings)
    takes = working(sd.description, [run], None, sd.dtype, at_once=1)["unet"]
    takes += memory.PROCESS + sum((sd.weights.unet, sd.weights.texts, sd.weights.autoencoder))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "room", lambda: takes)
        apart = list(sd.sample(settings))[-1].x
    assert net_calls == [1] * 4
    assert mx.allclose(apart, wanted, atol=1e-4), float(mx.abs(apart - wanted).max())


def test_gpus_give_back_what_was_freed_and_apple_s_keep_a_quarter(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(mx, "set_cache_limit", asked.append)
    monkeypatch.setattr(mx, "set_wired_limit", asked.append)
    monkeypatch.setattr(mx, "clear_cache", lambda: asked.append("clear"))
    monkeypatch.setattr(memory, "available", lambda: 8 * 2**30)
    keep_in_bounds()
    give_back()
    assert asked == [] or mx.default_device() == mx.gpu
    asked.clear()
    monkeypatch.setattr(memory, "on_cpu", lambda: False)
    keep_in_bounds()
    give_back()
    assert asked == [*([2 * 2**30, 8 * 2**30] if mx.metal.is_available() else []), "clear"]
    asked.clear()
    monkeypatch.setattr(mx.metal, "is_available", lambda: True)
    keep_in_bounds()
    assert asked == [2 * 2**30, 8 * 2**30]


@pytest.mark.parametrize(("cuda", "side", "dtype", "whole"), [
    (True, 1024, mx.float32, False),
    (True, 960, mx.float32, True),
    (True, 1024, mx.float16, True),
    (False, 1024, mx.float32, True),
])  # fmt: skip
def test_convolutions_that_cuda_cannot_hold_are_cut(
    cuda: bool, side: int, dtype: mx.Dtype, whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLX counts the bytes that cuDNN works with in 32 bits: XL's decoder asked for all of an H100 and more."""
    monkeypatch.setattr(memory, "on_cpu", lambda: False)
    monkeypatch.setattr(memory, "available", lambda: 2**40)
    monkeypatch.setattr(mx.cuda, "is_available", lambda: cuda)
    vae = VAEConfig.from_diffusers(FAMILIES["sdxl"].vae)
    assert memory.fits_whole(vae, side**2, dtype) == whole
    assert (memory.tiling_for(vae, side**2, dtype, None) is None) == whole


@pytest.mark.parametrize(
    ("gigabytes", "named", "not_named"),
    [
        (9, ["--low-memory"], ["--width", "--quantize"]),
        (3, ["--width", "--quantize"], ["--low-memory"]),
        (0, ["--width"], ["--low-memory", "--quantize"]),
    ],
)
def test_the_remedy_is_one_that_helps(
    sd: StableDiffusion, monkeypatch: pytest.MonkeyPatch, gigabytes: int, named: list[str], not_named: list[str]
) -> None:
    asked, weights = runs(sd), Weights(unet=8 * 2**30, texts=2**30, autoencoder=2**30)
    monkeypatch.setattr(memory, "limit", lambda: needed(sd.description, asked, 1) + gigabytes * 2**30)
    with pytest.raises(MemoryError) as error:
        check_memory(sd.description, asked, mx.float32, weights)
    assert all(option in str(error.value) for option in named)
    assert not any(option in str(error.value) for option in not_named)
