import math

import mlx.core as mx
import numpy as np
import pytest

from stable_diffusion import SAMPLERS, SPACINGS
from stable_diffusion.diffusion.noise import start_noise
from stable_diffusion.diffusion.noising import chain, invert, ray
from stable_diffusion.diffusion.schedule import NoiseSchedule
from stable_diffusion.diffusion.walk import walk
from tests.oracles import gaussian, largest_difference, no_noise

SCHEDULE = NoiseSchedule()
SIGMAS = SPACINGS["karras"](SCHEDULE, 8, 3.3)
X0 = mx.array(np.linspace(-1, 1, 4).reshape(1, 4))
N = start_noise([5, 6], (4,))


def test_all_ways_go_from_the_image_to_the_start() -> None:
    for latents in (ray(X0, N, SIGMAS), chain(X0, N, SIGMAS, [5, 6])):
        assert len(latents) == len(SIGMAS)
        assert largest_difference(mx.broadcast_to(latents[0], (2, 4)), mx.broadcast_to(X0, (2, 4))) == 0
        assert mx.array_equal(latents[-1], X0 + SIGMAS[0] * N)  # bit for bit


def test_the_ray_is_a_straight_line() -> None:
    for sigma, x in zip(reversed(SIGMAS), ray(X0, N, SIGMAS), strict=True):
        assert largest_difference(mx.broadcast_to(x, (2, 4)), X0 + sigma * N) < 1e-6


def test_every_place_of_the_chain_has_the_levels_variance_and_remembers_as_a_brownian_motion() -> None:
    seeds = [5]
    n = start_noise(seeds, (40_000,))
    ws = [np.array(x)[0] for x in chain(mx.zeros((1, 40_000)), n, SIGMAS, seeds)]
    levels = list(reversed(SIGMAS))
    for w, sigma in zip(ws[1:], levels[1:], strict=True):
        assert w.std() == pytest.approx(sigma, rel=0.02)
    for i in range(1, len(ws) - 1):  # corr(n_s, n_t) = sigma_s / sigma_t
        assert np.corrcoef(ws[i], ws[i + 1])[0, 1] == pytest.approx(levels[i] / levels[i + 1], abs=0.02)


def test_the_chain_of_a_seed_does_not_depend_on_the_batch() -> None:
    both, alone = chain(X0, N, SIGMAS, [5, 6]), chain(X0, N[1:], SIGMAS, [6])
    for a, b in zip(both, alone, strict=True):
        assert largest_difference(a[-1:], b[-1:]) < 1e-6


@pytest.mark.parametrize("steps", [10, 50])
def test_inversion_is_undone_by_euler(steps: int) -> None:
    denoise, sigmas = gaussian(0.3, 0.5), SPACINGS["trailing"](SCHEDULE, steps)
    inversion = invert(denoise, X0, sigmas, iterations=60)
    assert inversion.fell_back == 0
    assert max(inversion.residuals) < 1e-5
    *_, step = walk(denoise, SAMPLERS["euler"](inversion.latents[-1], sigmas, no_noise))
    assert largest_difference(step.x, X0) < 1e-3


def test_without_refinement_inversion_is_undone_less_well() -> None:
    denoise, sigmas = gaussian(0.3, 0.5), SPACINGS["trailing"](SCHEDULE, 10)
    errors = []
    for iterations in (0, 3, 30):
        start = invert(denoise, X0, sigmas, iterations=iterations).latents[-1]
        *_, step = walk(denoise, SAMPLERS["euler"](start, sigmas, no_noise))
        errors.append(largest_difference(step.x, X0))
    assert errors[0] > 100 * errors[1] >= 100 * errors[2]


def test_inverting_with_one_description_and_denoising_with_another_is_an_edit() -> None:
    """Shared reference, section 6: from N(.3, .5^2) to N(-.4, .5^2), x0 = .7, whose ideal end is 0."""
    sigmas = (*(SCHEDULE.sigma(t) for t in np.linspace(999, 0, 1500)), 0.0)
    start = invert(gaussian(0.3, 0.5), mx.array([[0.7]]), sigmas, iterations=5).latents[-1]
    ends = [list(walk(gaussian(m, 0.5), SAMPLERS["euler"](start, sigmas, no_noise)))[-1].x.item() for m in (0.3, -0.4)]
    assert ends[0] == pytest.approx(0.7, abs=2e-3)
    assert ends[1] == pytest.approx(0.02393458, abs=2e-3)


def test_where_the_iteration_grows_apart_the_plain_step_is_taken() -> None:
    def stiff(x: mx.array, sigma: float | mx.array) -> mx.array:
        return x - sigma * 40 * mx.sin(7 * x)

    inversion = invert(stiff, X0, (3.0, 1.0, 0.0))
    assert inversion.fell_back > 0
    assert all(mx.isfinite(x).all() for x in inversion.latents)
    assert all(math.isfinite(r) for r in inversion.residuals)
