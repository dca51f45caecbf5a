"""Deep features used again: each run by itself, whoever shares its calls."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from stable_diffusion import Settings, StableDiffusion
from stable_diffusion.compute.streams import _Here
from stable_diffusion.diffusion.schedule import deviation
from stable_diffusion.models.unet import UNet2DConditionModel
from stable_diffusion.pipeline import Run
from stable_diffusion.pipeline.approximations import shallow
from tests.commands import SD1, made, pixels, same, txt
from tests.oracles import largest_difference

SETTINGS = Settings(prompt="a cat", seed=3, steps=5, sampler="euler", spacing="trailing", cfg=1, width=64, height=64)


@pytest.fixture(scope="module")
def sd() -> StableDiffusion:
    return StableDiffusion(SD1, float16=False)


def ends(sd: StableDiffusion, all_settings: Sequence[Settings], batch_size: int | None = None) -> list[mx.array]:
    """The last latents of runs that are walked together."""
    runs = sd.begin([sd.planner.run(s) for s in all_settings])
    return [last for _, last in sorted({which: step.x for which, step in sd.walk(runs, batch_size)}.items())]


def by_hand(sd: StableDiffusion, run: Run, every: int) -> mx.array:
    """Euler's steps, the whole UNet in each every-th of them."""
    text, _ = sd.texts.encode(run.settings.prompt, 0, "plain", False)
    x, deep = run.start, None
    for i, (s, t) in enumerate(pairwise(run.plan.sigmas)):
        given = None if i % every == 0 else deep
        time = mx.array([sd.schedule.t(float(mx.array(s)))])
        y, deep = shallow(sd.unet, x / deviation(s), time, text.context, given)
        clean = x - s * y
        x = clean + (t / s) * (x - clean)
    return x


@pytest.mark.parametrize("every", [2, 3, 100])
def test_a_run_is_the_same_as_by_hand(sd: StableDiffusion, every: int) -> None:
    settings = replace(SETTINGS, deep_cache=every)
    (found,) = ends(sd, [settings])
    assert largest_difference(found, by_hand(sd, sd.planner.run(settings), every)) < 1e-4
    assert largest_difference(found, ends(sd, [SETTINGS])[0]) > 1e-3


def test_a_feature_of_the_same_moment_is_exact(sd: StableDiffusion) -> None:
    x, t, context = mx.random.normal((2, 8, 8, 4)), mx.array([500.0, 20.0]), mx.random.normal((2, 77, 16))
    exact, (y, deep) = sd.unet(x, t, context), shallow(sd.unet, x, t, context)
    assert mx.array_equal(y, exact)
    assert mx.array_equal(shallow(sd.unet, x, t, context, deep)[0], exact)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bool]]:
    """(rows, whole) of every call of the UNet, on one stream."""
    found: list[tuple[int, bool]] = []
    embed, deep = UNet2DConditionModel.embed, UNet2DConditionModel.deep

    def counted(self: UNet2DConditionModel, x: mx.array, *arrays: Any, **more: Any) -> tuple[mx.array, mx.array]:
        found.append((x.shape[0], False))
        return embed(self, x, *arrays, **more)

    def whole(self: UNet2DConditionModel, x: mx.array, *arrays: mx.array) -> mx.array:
        found[-1] = (x.shape[0], True)
        return deep(self, x, *arrays)

    monkeypatch.setattr(UNet2DConditionModel, "embed", counted)
    monkeypatch.setattr(UNet2DConditionModel, "deep", whole)
    monkeypatch.setattr("stable_diffusion.compute.streams.lanes", lambda: (mx.default_stream(mx.default_device()),))
    return found


def test_with_neither_the_unet_is_called_as_ever(sd: StableDiffusion, monkeypatch: pytest.MonkeyPatch) -> None:
    unet = sd.unet
    monkeypatch.setitem(sd.__dict__, "unet", lambda x, t, context: unet(x, t, context))  # takes nothing else
    ends(sd, [replace(SETTINGS, cfg=5)])


def test_a_step_is_whole_in_all_of_its_calls_or_in_none(sd: StableDiffusion, calls: list[tuple[int, bool]]) -> None:
    ends(sd, [replace(SETTINGS, sampler="heun", deep_cache=2)])
    assert [whole for _, whole in calls] == [True, True, False, False, True, True, False, False, True]


@pytest.mark.filterwarnings("ignore:the prompt is long")
def test_runs_that_share_calls_do_not_share_features(sd: StableDiffusion) -> None:
    """Of other lengths, samplers, and rates; some guided, one exact; with places for all, or for a few."""
    all_settings = [
        replace(SETTINGS, deep_cache=2, cfg=5),
        replace(SETTINGS, seed=4, steps=3, deep_cache=3),
        replace(SETTINGS, seed=5),
        replace(SETTINGS, seed=6, sampler="heun", deep_cache=2, n_images=2, cfg=3),
        replace(SETTINGS, seed=8, steps=2, deep_cache=2, prompt="a dog, " * 40),
    ]
    alone = [ends(sd, [s])[0] for s in all_settings]
    for batch_size in (None, 2, 3):
        for one, other in zip(ends(sd, all_settings, batch_size), alone, strict=True):
            assert largest_difference(one, other) < 1e-4


def test_pictures_of_one_run_keep_a_feature_each(sd: StableDiffusion) -> None:
    settings = replace(SETTINGS, deep_cache=3, cfg=4)
    (both,) = ends(sd, [replace(settings, n_images=2)])
    for k in range(2):
        assert largest_difference(both[k : k + 1], ends(sd, [replace(settings, seed=3 + k)])[0]) < 1e-4


def test_rows_that_wait_begin_with_a_whole_step(sd: StableDiffusion, calls: list[tuple[int, bool]]) -> None:
    ends(sd, [replace(SETTINGS, steps=3, deep_cache=3, seed=k) for k in range(2)], batch_size=1)
    assert calls == [(1, True), (1, False), (1, False)] * 2


@pytest.mark.filterwarnings("ignore:.*did not settle")
def test_an_inversion_is_exact(sd: StableDiffusion) -> None:
    image = mx.random.uniform(-1, 1, (64, 64, 3))
    exact = sd.inversion(replace(SETTINGS, strength=0.5), image)
    found = sd.inversion(replace(SETTINGS, strength=0.5, deep_cache=4), image)
    assert mx.array_equal(found.latents[-1], exact.latents[-1])


@pytest.mark.parametrize(
    ("name", "value", "wrong"),
    [("deep_cache", 0, "from 1 to 1000"), ("deep_cache", 1.5, "a whole number")],
)
def test_what_cannot_be_is_said(name: str, value: object, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        Settings(**{name: value})  # type: ignore[arg-type]


def test_commands_take_them_and_files_remember_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("a cat", "--seed", "1", "--width", "64", "--height", "64")
    assert txt(*words, "-o", "exact.png") == 0
    assert "approximation" not in capsys.readouterr().err
    assert txt(*words, "--deep-cache", "2", "-o", "near.png") == 0
    assert "deep_cache 2 is an approximation" in capsys.readouterr().err
    assert not same("exact.png", "near.png")
    assert txt("--from", "near.png", "--width", "64", "--height", "64", "-o", "again.png") == 0
    assert same("near.png", "again.png")
    assert txt(*words, "--grid", "deep_cache=1,2", "cfg=2,3", "-o", "grid.png") == 0
    assert len([name for name in made() if name.startswith("grid-row")]) == 4
    assert pixels("grid-row1-column1.png").shape == (64, 64, 3)
    assert txt(*words, "--deep-cache", "2", "--steps", "1") == 0
    assert "deep_cache does nothing in a run of one step" in capsys.readouterr().err


def test_prompts_that_change_and_several_at_once_keep_their_own(sd: StableDiffusion) -> None:
    """The rows of a call differ from one to the next in number and in length; each finds what it kept."""
    words = ("a [cat:dog:2] AND a barn :0.5", "a house", "[a boat:" + "a long way off, " * 30 + ":0.5]")
    all_settings = [
        replace(SETTINGS, prompt=text, prompt_syntax="a1111", cfg=4, deep_cache=2, seed=k)
        for k, text in enumerate(words)
    ]
    alone = [ends(sd, [s])[0] for s in all_settings]
    for one, other in zip(ends(sd, all_settings), alone, strict=True):
        assert largest_difference(one, other) < 1e-4
    exact = ends(sd, [replace(s, deep_cache=1) for s in all_settings])
    assert all(largest_difference(one, other) > 1e-3 for one, other in zip(exact, alone, strict=True))


def test_rows_on_streams_of_their_own_find_theirs(sd: StableDiffusion, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = [replace(SETTINGS, seed=k, deep_cache=2, cfg=4) for k in range(2)]
    alone = ends(sd, settings)
    monkeypatch.setattr("stable_diffusion.compute.streams.cores", lambda: 3)
    monkeypatch.setattr("stable_diffusion.compute.streams._here", _Here())
    for one, other in zip(ends(sd, settings), alone, strict=True):
        assert largest_difference(one, other) < 1e-4
