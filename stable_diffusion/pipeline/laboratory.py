"""Image-to-image laid open: all steps at many strengths, the way up to the start, grids over any settings."""

from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Literal

import mlx.core as mx

from ..diffusion.noising import Inversion, chain, ray
from ..diffusion.samplers import Step
from ..settings import Settings
from .planner import changed
from .run import Run

if TYPE_CHECKING:
    from .stable_diffusion import StableDiffusion

Axis = tuple[str, Sequence[Any]]  # a setting's name, and the values that it takes


def start_of(run: Run) -> Step:
    """What a run starts from, as a step with index -1; the image itself where nothing is run."""
    x = run.start if run.plan.steps_run else run.images_latents
    return Step(-1, run.plan.start_sigma, x, x if run.x0 is None else run.images_latents)


def varied(settings: Settings, name: str, value: Any) -> Settings:
    """The settings with one of them changed. Raises ValueError for one that no single picture has."""
    if name not in {field.name for field in fields(Settings)} - {"n_images"}:
        raise ValueError(f"{name!r} is not a setting that can differ from picture to picture")
    return changed(settings, {name: value})


def triangle(
    self: "StableDiffusion",
    settings: Settings,
    image: mx.array,
    strengths: Sequence[float],
    mask: mx.array | None = None,
    batch_size: int | None = None,
) -> list[list[Step]]:
    """Image-to-image at many strengths with one noise: a row of steps for each, all walked together.

    The first step of a row, with index -1, is the image noised once to that row's level; down these, the rows show
    the noising, and along a row the denoising. Strength 0 is a row of the image alone. settings.n_images must be 1.
    At most batch_size rows go into one network call (None: all), so that with None there are as many calls as the
    longest row makes. Raises what `sample` raises.
    """
    if settings.n_images != 1:
        raise ValueError(f"n_images is {settings.n_images}: a triangle is of 1 picture")
    if not strengths:
        raise ValueError("a triangle needs at least one strength")
    return _rows(self, self.runs([varied(settings, "strength", s) for s in strengths], image, mask), batch_size)


def grid(
    self: "StableDiffusion",
    settings: Settings,
    rows: Axis,
    columns: Axis | None = None,
    image: mx.array | None = None,
    mask: mx.array | None = None,
    batch_size: int | None = None,
) -> list[list[list[Step]]]:
    """One picture for each pair of values of two settings, `("sampler", ["euler", "heun"])` and `("cfg", [3, 7.5])`.

    Returns rows of columns of steps; the first step of each, with index -1, is its start. All of them are walked
    together as in `triangle`; those of different sizes, one size after the other. settings.n_images must be 1.
    Raises what `sample` raises, and ValueError for an axis that is no setting, or that has no values.
    """
    if settings.n_images != 1:
        raise ValueError(f"n_images is {settings.n_images}: each place of a grid has 1 picture")
    for name, values in filter(None, (rows, columns)):
        if not values:
            raise ValueError(f"the grid's {name} has no values")
    if columns and columns[0] == rows[0]:
        raise ValueError(f"the grid has {rows[0]} twice")
    across = [columns] if columns else []
    cells = [varied(settings, rows[0], value) for value in rows[1]]
    for name, values in across:
        cells = [varied(cell, name, value) for cell in cells for value in values]
    made = _rows(self, self.runs(cells, image, mask), batch_size)
    width = len(columns[1]) if columns else 1
    return [made[i : i + width] for i in range(0, len(made), width)]


def _rows(sd: "StableDiffusion", runs: Sequence[Run], batch_size: int | None) -> list[list[Step]]:
    rows = [[start_of(run)] for run in runs]
    for which, step in sd.walk(runs, batch_size):
        rows[which].append(step)
    return rows


def noising(
    self: "StableDiffusion", settings: Settings, image: mx.array, kind: Literal["ray", "chain", "inversion"] = "ray"
) -> list[Step]:
    """The way from the image up to a start: clean to noisy, a step per level of `sample` with the same arguments.

    ray: one noise at every level. chain: noise added little by little. Both end at that run's start, chain bit for
    bit. inversion: the ODE walked up with settings.source_prompt, so that Euler steps with the same prompt lead back;
    it has no noise in it, and ends where a run with start="inversion" begins. The first step, at level 0, is the
    image's own latents. Raises ValueError for an image_weight other than 1: no way leads to a start without the image.
    """
    (run,) = self.runs([settings], image)
    return way_up(run, kind)


def way_up(run: Run, kind: Literal["ray", "chain", "inversion"]) -> list[Step]:
    """The way from a run's image up to a start: see `noising`."""
    if run.settings.image_weight != 1:
        raise ValueError(f"image_weight is {run.settings.image_weight:g}: the way up from the image is for 1")
    sigmas, x0 = run.plan.sigmas, run.images_latents
    if kind == "ray":
        latents = ray(x0, run.n, sigmas)
    elif kind == "chain":
        latents = chain(x0, run.n, sigmas, run.seeds)
    elif kind == "inversion":
        latents = run.inversion.latents
    else:
        raise ValueError(f"unknown kind of noising {kind!r}: ray, chain or inversion")
    mx.eval(latents)
    return [Step(i, s, x, x0) for i, (s, x) in enumerate(zip(reversed(sigmas), latents, strict=True))]


def inversion(self: "StableDiffusion", settings: Settings, image: mx.array) -> Inversion:
    """The image walked up the model's own ODE, told settings.source_prompt and not guided, over the run's levels.

    What a run with start="inversion" begins with: describe the image in source_prompt, and in prompt what it shall
    become. The result says how exact every step is, and how many had to be taken explicitly.
    """
    (run,) = self.runs([settings], image)
    return run.inversion
