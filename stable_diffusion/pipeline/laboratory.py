"""Image-to-image laid open: what a triangle and a grid are made of, and the ways from an image up to its start."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import mlx.core as mx

from ..diffusion.noising import NoisingKind, chain, ray
from ..diffusion.samplers import Step
from ..settings import ROWS, Settings
from .planner import changed
from .run import Run

Axis = tuple[str, Sequence[Any]]  # a setting's name, and the values that it takes


def triangle_settings(settings: Settings, strengths: Sequence[float]) -> list[Settings]:
    """The settings of each row of a triangle. Raises ValueError for more than one picture, and for no strengths."""
    if settings.n_images != 1:
        raise ValueError(f"n_images is {settings.n_images}: a triangle is of 1 picture")
    if not strengths:
        raise ValueError("a triangle needs at least one strength")
    return [changed(settings, {"strength": strength}) for strength in strengths]


def grid_settings(settings: Settings, axes: Sequence[Axis]) -> list[Settings]:
    """The settings of each place of a grid over one or two settings, the last axis changing fastest.

    Raises ValueError for more than one picture, an axis that is no setting or has no values, and one that is there
    twice.
    """
    if settings.n_images != 1:
        raise ValueError(f"n_images is {settings.n_images}: each place of a grid has 1 picture")
    names = [name for name, _ in axes]
    for name, values in axes:
        if name not in ROWS or name == "n_images":
            raise ValueError(f"{name!r} is not a setting that can differ from picture to picture")
        if not values:
            raise ValueError(f"the grid's {name} has no values")
        if names.count(name) > 1:
            raise ValueError(f"the grid has {name} twice")
    places = []
    for values in product(*(values for _, values in axes)):
        place = settings
        for name, value in zip(names, values, strict=True):
            place = changed(place, {name: value})
        places.append(place)
    return places


def way_up(run: Run, kind: NoisingKind) -> list[Step]:
    """The way from the image of a run that has begun up to a start: see `StableDiffusion.noising`.

    inversion needs run.inversion.
    """
    if run.settings.image_weight != 1:
        raise ValueError(f"image_weight is {run.settings.image_weight:g}: the way up from the image is for 1")
    sigmas, x0 = run.plan.sigmas, run.original
    ways: Mapping[str, Any] = {
        "ray": lambda: ray(x0, run.n, sigmas),
        "chain": lambda: chain(x0, run.n, sigmas, run.seeds),
        "inversion": lambda: run.inversion.latents,  # type: ignore[union-attr]
    }
    if kind not in ways:
        raise ValueError(f"unknown kind of noising {kind!r}: ray, chain or inversion")
    latents = ways[kind]()
    mx.eval(latents)
    return [Step(i, s, x, x0) for i, (s, x) in enumerate(zip(reversed(sigmas), latents, strict=True))]
