import mlx.core as mx
import pytest

from stable_diffusion.diffusion.guidance import Guide, guided
from tests.oracles import largest_difference


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
