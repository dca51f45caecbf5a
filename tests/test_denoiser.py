import math

import mlx.core as mx
import pytest

from stable_diffusion.diffusion.denoiser import Denoiser, masked
from stable_diffusion.diffusion.guidance import Guide, guided
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


class Net:
    """Predicts its conditioning, and counts rows."""

    def __init__(self) -> None:
        self.rows: list[int] = []

    def __call__(self, x: mx.array, t: mx.array, context: mx.array) -> mx.array:
        assert x.shape[0] == t.shape[0] == context.shape[0]
        self.rows.append(x.shape[0])
        return x * 0 + context


POSITIVE, NEGATIVE = {"context": mx.array([[3.0, -5.0]])}, {"context": mx.array([[1.0, 1.0]])}


@pytest.mark.parametrize("cfg", [0.0, 1.0])
def test_without_guidance_the_net_runs_once_on_the_prompt(cfg: float) -> None:
    net = Net()
    prediction = guided(net, [Guide(POSITIVE, NEGATIVE, cfg)])(mx.zeros((3, 2)), mx.zeros((3,)), [0, 0, 0])
    assert net.rows == [3]
    assert largest_difference(prediction, [[3.0, -5.0]] * 3) == 0


@pytest.mark.parametrize("cfg", [0.5, 2.0, 7.5])
def test_guidance_goes_from_the_negative_through_the_prompt(cfg: float) -> None:
    net = Net()
    prediction = guided(net, [Guide(POSITIVE, NEGATIVE, cfg)])(mx.zeros((3, 2)), mx.zeros((3,)), [0, 0, 0])
    assert net.rows == [6]
    assert largest_difference(prediction, [[1 + cfg * 2, 1 - cfg * 6]] * 3) < 1e-5


def test_rescale_takes_the_spread_back_to_the_prompts() -> None:
    x, t = mx.zeros((1, 2)), mx.zeros((1,))
    free, half, full = (
        guided(Net(), [Guide(POSITIVE, NEGATIVE, 5.0, rescale)])(x, t, [0]) for rescale in (0.0, 0.5, 1.0)
    )
    assert mx.std(full).item() == pytest.approx(mx.std(POSITIVE["context"]).item(), rel=1e-5)
    assert largest_difference(half, (free + full) / 2) < 1e-5


def test_every_row_can_have_a_guide_of_its_own() -> None:
    other = {"context": mx.array([[-2.0, 0.5]])}
    guides = [Guide(POSITIVE, NEGATIVE, 5.0), Guide(other, {}, 1.0), Guide(other, POSITIVE, 2.0, 0.5)]
    net, which = Net(), [2, 0, 1, 0]
    together = guided(net, guides)(mx.zeros((4, 2)), mx.zeros((4,)), which)
    assert net.rows == [7]  # the row that is not steered goes in once
    for row, w in enumerate(which):
        alone = guided(Net(), [guides[w]])(mx.zeros((1, 2)), mx.zeros((1,)), [0])
        assert largest_difference(together[row : row + 1], alone) < 1e-6
