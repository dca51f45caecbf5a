from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from stable_diffusion import SAMPLERS, Settings, StableDiffusion
from tests.oracles import largest_difference

DATA = Path(__file__).parent / "data"
SETTINGS = Settings(prompt="a house by the sea", seed=3, steps=5, cfg=3.0, sampler="euler", width=64, height=48)
STRENGTHS = (0.2, 0.4, 0.6, 0.8, 1.0)


@pytest.fixture(scope="module")
def sd() -> StableDiffusion:
    return StableDiffusion(str(DATA / "sd1"), float16=False)


@pytest.fixture(scope="module")
def image() -> mx.array:
    return mx.array(np.random.default_rng(0).uniform(-1, 1, (48, 64, 3)).astype(np.float32))


def test_rows_begin_with_the_image_noised_once_to_their_level(sd: StableDiffusion, image: mx.array) -> None:
    rows = sd.triangle(SETTINGS, image, STRENGTHS)
    assert [len(row) for row in rows] == [2, 3, 4, 5, 6]
    noised = sd.noising(replace(SETTINGS, strength=1.0), image, "ray")
    n = (noised[-1].x - noised[0].x) / noised[-1].sigma
    for row, strength in zip(rows, STRENGTHS, strict=True):
        assert row[0].index == -1
        assert row[0].sigma == sd.plan(replace(SETTINGS, strength=strength), image).start_sigma
        assert largest_difference(row[0].x, noised[0].x + row[0].sigma * n) < 2e-5


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("batch_size", [None, 2])
def test_every_row_is_the_single_run_at_its_strength(
    sd: StableDiffusion, image: mx.array, sampler: str, batch_size: int | None
) -> None:
    settings = replace(SETTINGS, sampler=sampler, steps=3)
    rows = sd.triangle(settings, image, (0.0, 0.4, 1.0), batch_size=batch_size)
    assert [step.sigma for step in rows[0]] == [0.0]
    assert mx.array_equal(rows[0][0].x, sd.encode(image))
    for row, strength in zip(rows[1:], (0.4, 1.0), strict=True):
        alone = list(sd.sample(replace(settings, strength=strength), image))
        assert len(row) == 1 + len(alone)
        for a, b in zip(row[1:], alone, strict=True):
            assert (a.index, a.sigma) == (b.index, b.sigma)
            assert largest_difference(a.x, b.x) < 1e-4 * float(mx.abs(b.x).max())


def test_a_triangle_calls_the_net_as_often_as_its_longest_row(
    sd: StableDiffusion, image: mx.array, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    kind = type(sd.unet)
    original = kind.__call__

    def counted(self: Any, x: mx.array, *args: Any, **kwargs: Any) -> mx.array:
        calls.append(x.shape[0] // 2)  # the prompt and the negative prompt
        return original(self, x, *args, **kwargs)

    monkeypatch.setattr(kind, "__call__", counted)
    sd.triangle(SETTINGS, image, STRENGTHS)
    assert calls == [5, 4, 3, 2, 1]
    calls.clear()
    sd.triangle(SETTINGS, image, STRENGTHS, batch_size=2)
    assert max(calls) == 2
    assert sum(calls) == 15


def test_triangles_that_cannot_be_are_errors(sd: StableDiffusion, image: mx.array) -> None:
    for settings, strengths, word in (
        (replace(SETTINGS, n_images=2), (0.5,), "of 1 picture"),
        (SETTINGS, (), "at least one strength"),
        (SETTINGS, (0.5, 1.5), "1.5"),
    ):
        with pytest.raises(ValueError, match=word):
            sd.triangle(settings, image, strengths)


@pytest.mark.parametrize("kind", ["ray", "chain"])
def test_noising_ends_at_the_start_of_the_denoising(sd: StableDiffusion, image: mx.array, kind: Any) -> None:
    settings = replace(SETTINGS, strength=0.8, n_images=2, perturb=((9, 0.3),))
    steps = sd.noising(settings, image, kind)
    plan = sd.plan(settings, image)
    assert [step.sigma for step in steps] == list(reversed(plan.sigmas))
    assert largest_difference(steps[0].x, mx.repeat(sd.encode(image), 2, axis=0)) == 0
    first = next(iter(sd.sample(settings, image)))
    start = steps[-1].x
    # One Euler step by hand from there, with the estimate that the sampler had.
    moved = first.clean + (first.sigma / plan.start_sigma) * (start - first.clean)
    assert mx.array_equal(moved, first.x)


def test_inversion_leads_back_to_the_image(sd: StableDiffusion, image: mx.array) -> None:
    # Small steps: a random net is anything but smooth.
    settings = replace(SETTINGS, strength=0.1, steps=200, cfg=1.0, source_prompt=SETTINGS.prompt, start="inversion")
    up = sd.noising(settings, image, "inversion")
    assert [step.sigma for step in up] == list(reversed(sd.plan(settings, image).sigmas))
    x0 = sd.encode(image)
    assert largest_difference(up[-1].x, sd.runs([settings], image)[0].start) < 1e-5
    *_, down = sd.sample(settings, image)
    assert largest_difference(down.x, x0) < 0.05 * float(mx.abs(x0).max())


def test_the_image_of_a_triangle_is_encoded_once(
    sd: StableDiffusion, image: mx.array, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[mx.array] = []
    original = sd.encode

    def counted(picture: mx.array) -> mx.array:
        encoded.append(picture)
        return original(picture)

    monkeypatch.setattr(sd, "encode", counted)
    sd.triangle(SETTINGS, image, STRENGTHS)
    assert len(encoded) == 1


def test_no_way_leads_from_the_image_to_a_start_without_it(sd: StableDiffusion, image: mx.array) -> None:
    with pytest.raises(ValueError, match="image_weight is 0"):
        sd.noising(replace(SETTINGS, image_weight=0.0), image, "ray")


def test_an_unknown_kind_of_noising_is_an_error(sd: StableDiffusion, image: mx.array) -> None:
    with pytest.raises(ValueError, match="ray, chain or inversion"):
        sd.noising(SETTINGS, image, "line")  # type: ignore[arg-type]
