from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from stable_diffusion import SAMPLERS, Settings, StableDiffusion, Step
from stable_diffusion.pictures import read_picture, to_array
from stable_diffusion.pipeline import Inputs
from stable_diffusion.presets import DEMO
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


@pytest.mark.parametrize(
    ("sampler", "batch_size"), [*((sampler, None) for sampler in SAMPLERS), ("dpmpp_2m", 1), ("dpmpp_2s_a", 1)]
)
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
    own = replace(SETTINGS, width=24, height=16, source_prompt=SETTINGS.prompt)
    settings = replace(own, strength=0.1, steps=50, cfg=1.0, start="inversion")
    part = image[:16, :24]
    up = sd.noising(settings, part, "inversion")
    assert [step.sigma for step in up] == list(reversed(sd.plan(settings, part).sigmas))
    x0 = sd.encode(part)
    (run,) = sd.begin([sd.planner.run(settings, Inputs(part))])  # inverted again, and walked down
    assert largest_difference(up[-1].x, run.start) < 1e-5
    *_, (_, down) = sd.walk([run])
    assert largest_difference(down.x, x0) < 1e-4 * float(mx.abs(x0).max())


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


def test_a_grid_has_a_run_for_each_pair(sd: StableDiffusion, image: mx.array) -> None:
    rows = sd.grid(SETTINGS, ("sampler", ["euler", "heun"]), ("strength", [0.4, 1.0]), image, batch_size=3)
    for name, row in zip(("euler", "heun"), rows, strict=True):
        for strength, cell in zip((0.4, 1.0), row, strict=True):
            alone = list(sd.sample(replace(SETTINGS, sampler=name, strength=strength), image))
            assert [step.index for step in cell] == [-1, *(step.index for step in alone)]
            assert largest_difference(cell[-1].x, alone[-1].x) < 1e-4 * float(mx.abs(alone[-1].x).max())
    ((house,), (boat,)) = sd.grid(SETTINGS, ("prompt", ["a house", "a boat"]))
    assert largest_difference(house[-1].x, boat[-1].x) > 1e-3
    sizes = sd.grid(SETTINGS, ("width", [32, 64]), ("cfg", [1.0, 2.0]))
    assert [[cell[-1].x.shape for cell in row] for row in sizes] == [[(1, 6, 4, 4)] * 2, [(1, 6, 8, 4)] * 2]


def test_grids_that_cannot_be_are_errors(sd: StableDiffusion) -> None:
    for axis, word in (
        (("n_images", [1, 2]), "not a setting"),
        (("colour", [1]), "not a setting"),
        (("cfg", []), "no values"),
        (("sampler", ["eulr"]), "eulr"),
        (("strength", [0.5]), "need an image"),
    ):
        with pytest.raises(ValueError, match=word):
            sd.grid(SETTINGS, axis)
    with pytest.raises(ValueError, match="1 picture"):
        sd.grid(replace(SETTINGS, n_images=2), ("cfg", [1.0]))


def test_the_way_up_is_told_the_source_prompt_and_not_guided(sd: StableDiffusion, image: mx.array) -> None:
    settings = replace(SETTINGS, strength=0.02, steps=50)  # a small step, which settles soon
    plain, guided, described = (
        sd.inversion(replace(settings, **change), image)
        for change in ({}, {"cfg": 9.0, "prompt": "a boat"}, {"source_prompt": "noise"})
    )
    assert mx.array_equal(plain.latents[-1], guided.latents[-1])
    assert largest_difference(plain.latents[-1], described.latents[-1]) > 1e-4
    assert len(plain.residuals) == sd.plan(settings, image).steps_run


def test_what_cannot_be_inverted_is_an_error(sd: StableDiffusion, image: mx.array) -> None:
    with pytest.raises(ValueError, match="starts from an image"):
        sd.sample(replace(SETTINGS, start="inversion"))
    with pytest.raises(ValueError, match="image_weight is 0"):
        sd.sample(replace(SETTINGS, start="inversion", image_weight=0.0), image)
    with pytest.warns(UserWarning, match="did not settle"):  # guidance or few steps on a net of random numbers
        sd.inversion(replace(SETTINGS, strength=1.0, steps=2), image)


# On a net that has learned something: the demo, and the pixels that it gives.


DRAWN = Settings(prompt="a photo of a house by a river at sunset, mountains", seed=1, steps=4, sampler="euler")
QUARTERS = (0.25, 0.5, 0.75, 1.0)


@pytest.fixture(scope="module")
def demo() -> StableDiffusion:
    return StableDiffusion("demo", float16=False)


@pytest.fixture(scope="module")
def sketch() -> mx.array:
    return to_array(read_picture(DEMO / "sketch.png"))


@pytest.fixture(scope="module")
def rows(demo: StableDiffusion, sketch: mx.array) -> Sequence[list[Step]]:
    return demo.triangle(DRAWN, sketch, QUARTERS)


def difference(a: mx.array, b: mx.array) -> float:
    """The mean difference of two pictures, of 255."""
    return 255 * float(mx.abs(a - b).mean())


def test_the_first_column_of_the_triangle_is_the_ray(
    demo: StableDiffusion, sketch: mx.array, rows: Sequence[list[Step]]
) -> None:
    up = demo.noising(replace(DRAWN, strength=1.0), sketch, "ray")
    assert [step.sigma for step in up[1:]] == [row[0].sigma for row in rows]  # 4 steps, 4 strengths: the same levels
    for step, row in zip(up[1:], rows, strict=True):
        assert largest_difference(demo.frame(step), demo.frame(row[0])) < 1e-4


def test_the_last_cell_of_a_row_is_the_single_run(
    demo: StableDiffusion, sketch: mx.array, rows: Sequence[list[Step]]
) -> None:
    for row, strength in zip(rows, QUARTERS, strict=True):
        single = demo.img2img(replace(DRAWN, strength=strength), sketch)
        assert largest_difference(demo.frame(row[-1]), single) < 1e-3


def test_pictures_go_further_from_the_image_with_strength(
    demo: StableDiffusion, sketch: mx.array, rows: Sequence[list[Step]]
) -> None:
    apart = [difference(demo.frame(row[-1])[0], sketch / 2 + 0.5) for row in rows]
    assert apart == sorted(apart)


def test_a_mask_keeps_its_pixels_in_all_of_it(demo: StableDiffusion, sketch: mx.array) -> None:
    mask = mx.concatenate([mx.zeros((128, 64)), mx.ones((128, 64))], axis=1)
    plain = demo.inpaint(replace(DRAWN, strength=0.8), sketch, mask)
    moved = demo.inpaint(replace(DRAWN, strength=0.8, perturb=((5, 0.7),)), sketch, mask)
    for made in (plain, moved):
        assert largest_difference(made[0, :, :64], sketch[:, :64] / 2 + 0.5) < 1e-6
    assert difference(plain, moved) > 1
    for row in demo.triangle(DRAWN, sketch, (0.4, 1.0), mask):
        for step in row:  # every frame: the kept latents stay on the line to the image
            n = (step.x - row[0].clean)[:, :, :8] / max(step.sigma, 1e-9)
            start = (row[0].x - row[0].clean)[:, :, :8] / row[0].sigma
            assert not step.sigma or largest_difference(n, start) < 1e-3


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_noise_alone_is_inside_the_mask_alone(demo: StableDiffusion, sketch: mx.array, weight: float) -> None:
    mask = mx.concatenate([mx.zeros((128, 64)), mx.ones((128, 64))], axis=1)
    settings = replace(DRAWN, strength=0.6, image_weight=weight)
    (run,) = demo.begin([demo.planner.run(settings, Inputs(sketch, mask))])
    noise = run.plan.start_sigma * run.n
    assert run.x0 is not None
    assert largest_difference(run.start[:, :, :8], (run.x0 + noise)[:, :, :8]) < 1e-6
    assert largest_difference(run.start[:, :, 8:], (weight * run.x0 + noise)[:, :, 8:]) < 1e-6


def test_a_perturbation_of_a_twentieth_changes_less_than_one_of_a_half(demo: StableDiffusion) -> None:
    settings = replace(DRAWN, sampler="dpmpp_2m_sde")
    parent, near, far = (demo.txt2img(replace(settings, perturb=p)) for p in ((), ((9, 0.05),), ((9, 0.5),)))
    assert 0 < difference(parent, near) < 0.5 * difference(parent, far)


def test_an_inverted_picture_comes_back_with_its_own_prompt_and_changes_with_another(
    demo: StableDiffusion, sketch: mx.array
) -> None:
    source = "a pencil sketch of a house by a river, mountains, by day"
    sketch = sketch[32:96, 32:96]  # the house
    settings = replace(
        DRAWN,
        width=64,
        height=64,
        steps=10,
        strength=0.6,
        start="inversion",
        source_prompt=source,
        prompt=source,
        cfg=1.0,
    )
    asked = (settings, replace(settings, prompt="a photo at sunset", cfg=5.0), replace(settings, start="noise"))
    inputs = Inputs(sketch)
    runs = demo.begin([demo.planner.run(each, inputs) for each in asked])  # inverts the sketch once
    assert runs[0].inversion is runs[1].inversion is not None and runs[2].inversion is None
    ends = {which: step.x for which, step in demo.walk(runs)}
    back, edited, noised = (demo.decode(ends[which]) for which in range(3))
    seen = demo.decode(demo.encode(sketch))
    assert difference(back, seen) < 2
    assert difference(edited, seen) > 4 * difference(back, seen)
    assert difference(noised, seen) > 2 * difference(back, seen)
