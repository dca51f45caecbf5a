import math

import mlx.core as mx
import pytest

from stable_diffusion.diffusion.denoiser import Denoiser, masked
from stable_diffusion.diffusion.schedule import NoiseSchedule
from tests.oracles import largest_difference

X0, N = mx.array([[0.7, -0.2], [1.1, 0.3]]), mx.array([[-1.3, 0.4], [0.2, 2.0]])


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("t", [0.0, 37.25, 500.0, 999.0])
def test_a_perfect_net_gives_the_clean_picture_whatever_it_predicts(prediction_type: str, t: float) -> None:
    schedule = NoiseSchedule(prediction_type=prediction_type)  # type: ignore[arg-type]
    sigma = schedule.sigma(t)
    abar = 1 / (1 + sigma**2)

    def net(x: mx.array, time: mx.array) -> mx.array:
        assert largest_difference(x, math.sqrt(abar) * X0 + math.sqrt(1 - abar) * N) < 2e-6
        assert largest_difference(time, [t, t]) < 1e-4
        v = math.sqrt(abar) * N - math.sqrt(1 - abar) * X0
        return {"epsilon": N, "v_prediction": v, "sample": X0}[prediction_type]

    clean = Denoiser(net, schedule)(X0 + sigma * N, sigma)
    assert largest_difference(clean, X0) < 5e-6 * max(1, sigma)


def test_every_row_can_have_a_level_of_its_own() -> None:
    schedule = NoiseSchedule(prediction_type="v_prediction")
    denoise = Denoiser(lambda x, t: mx.sin(x) * t[:, None] / 1000, schedule)
    x, sigmas = mx.array([[1.0, 2.0], [3.0, 4.0], [-1.0, 5.0]]), [0.05, 2.0, 14.0]
    together = denoise(x, mx.array(sigmas))
    for i, sigma in enumerate(sigmas):
        assert mx.array_equal(together[i : i + 1], denoise(x[i : i + 1], sigma))


def test_where_the_mask_is_zero_the_estimate_is_the_original() -> None:
    original, mask = mx.zeros((1, 2, 2, 1)), mx.array([[0.0, 0.25], [0.5, 1.0]])[..., None]
    estimate = masked(lambda x, sigma: mx.ones_like(x) * 8, original, mask)(mx.ones((3, 2, 2, 1)), 1.0)
    assert largest_difference(estimate, mx.broadcast_to(mask * 8, (3, 2, 2, 1))) == 0
