import math
from itertools import pairwise

import mlx.core as mx
import numpy as np
import pytest

from stable_diffusion.diffusion.generators import GENERATORS, CPUGenerator, CUDAGenerator
from stable_diffusion.diffusion.noise import (
    BrownianPath,
    StepNoise,
    child_seed,
    key,
    perturbed,
    perturbed_by,
    slerped,
    slider,
    start_noise,
    step_noise,
)
from stable_diffusion.settings import NoiseSource
from tests.oracles import largest_difference

SHAPE = (16, 16, 4)


def test_a_row_depends_on_its_own_seed_alone() -> None:
    batch = start_noise([5, 6, 7], SHAPE)
    assert mx.array_equal(batch[1], start_noise([6], SHAPE)[0])
    steps, alone = StepNoise([5, 6, 7], SHAPE), StepNoise([6], SHAPE)
    assert mx.array_equal(steps(3, 1)[1], alone(3, 1)[0])


def test_every_use_has_a_noise_of_its_own() -> None:
    noise = StepNoise([5], SHAPE)
    draws = [start_noise([5], SHAPE), start_noise([6], SHAPE), noise(0, 0), noise(0, 1), noise(1, 0), noise(10, 0)]
    for i, a in enumerate(draws):
        for b in draws[:i]:
            assert abs(np.corrcoef(np.array(a).ravel(), np.array(b).ravel())[0, 1]) < 0.15


def test_noise_is_the_same_in_every_version() -> None:
    """Pictures are to be made again from their seed: these numbers may never change."""
    assert key(7, "start").tolist() == [2966435647, 3657185236]
    pinned = [[0.5750026, -0.1118822], [0.3866559, -0.4577328]]
    assert largest_difference(start_noise([7], (2, 2))[0], pinned) < 1e-6


def test_big_seeds_are_seeds_of_their_own() -> None:
    a, b = start_noise([2**40], SHAPE), start_noise([2**40 + 2**32], SHAPE)
    assert largest_difference(a, b) > 1


def test_perturbed_noise_stays_standard_normal_however_often() -> None:
    n = perturbed_by(start_noise([0], (200, 200)), tuple((seed, 0.3, None) for seed in range(1, 40)))
    assert np.array(n).mean() == pytest.approx(0, abs=0.02)
    assert np.array(n).std() == pytest.approx(1, abs=0.02)


def test_many_perturbations_equal_their_closed_form() -> None:
    lineage = tuple((seed, amount) for seed, amount in zip(range(100, 110), np.linspace(0.05, 0.6, 10), strict=True))
    n = perturbed_by(start_noise([42], SHAPE), [(seed, amount, None) for seed, amount in lineage])
    wanted = np.array(start_noise([42], SHAPE)) * math.prod(math.sqrt(1 - a**2) for _, a in lineage)
    for j, (seed, a) in enumerate(lineage):
        weight = a * math.prod(math.sqrt(1 - later**2) for _, later in lineage[j + 1 :])
        wanted = wanted + weight * np.array(start_noise([seed], SHAPE))
    assert largest_difference(n, wanted) < 1e-5


def test_amounts_zero_and_one_are_the_ends() -> None:
    a, b = start_noise([1], SHAPE), start_noise([2], SHAPE)
    assert mx.array_equal(perturbed(a, b, 0.0), a)
    assert mx.array_equal(perturbed(a, b, 1.0), b)
    correlation = np.corrcoef(np.array(perturbed(a, b, 0.6)).ravel(), np.array(a).ravel())[0, 1]
    assert correlation == pytest.approx(0.8, abs=0.05)


def test_the_path_is_brownian() -> None:
    """W(b) - W(a) has variance b - a, and increments over separate stretches have nothing to do with each other."""
    levels = [0.0, 0.0292, 0.0413, 0.9, 3.3211, 14.6146, 4095.9]
    values = [np.array(path) for path in map(BrownianPath(3, (30_000,)), levels)]
    increments = [b - a for a, b in pairwise(values)]
    for increment, (low, high) in zip(increments, pairwise(levels), strict=True):
        assert increment.std() == pytest.approx(math.sqrt(high - low), rel=0.03)
    correlations = np.corrcoef(increments) - np.eye(len(increments))
    assert np.abs(correlations).max() < 0.03


def test_the_path_answers_the_same_whatever_was_asked_before() -> None:
    one, other = BrownianPath(3, (8,)), BrownianPath(3, (8,))
    for sigma in (14.0, 2.0, 7.0):
        one(sigma)
    assert mx.array_equal(one(3.3), other(3.3))
    noise = StepNoise([3, 4], (8,))
    assert mx.array_equal(noise.between(7.0, 3.3)[0], StepNoise([3], (8,)).between(7.0, 3.3)[0])
    assert largest_difference(noise.between(7.0, 3.3)[0] * 3.7**0.5, other(7.0) - other(3.3)) < 1e-5


def test_numpys_seeds_are_seeds() -> None:
    assert mx.array_equal(start_noise([np.int64(5)], SHAPE), start_noise([5], SHAPE))


def test_levels_beyond_the_path_are_refused() -> None:
    with pytest.raises(ValueError, match=r"above 1\.04858e\+06"):
        BrownianPath(3, (8,))(2e6)


def test_a_masked_perturbation_stays_standard_normal_and_keeps_what_is_masked_out() -> None:
    shape = (32, 32, 16)
    mask = mx.broadcast_to(mx.linspace(0, 1, 32), (32, 32))
    n = start_noise([1], shape)
    moved = perturbed_by(n, [(2, 0.8, mask), (3, 0.5, mask)])
    assert mx.array_equal(moved[:, :, 0], n[:, :, 0])
    spread = np.array(moved)[0].std(axis=(0, 2))
    assert np.abs(spread - 1).max() < 0.15  # 512 numbers in each column: 5 standard deviations
    likeness = np.corrcoef(np.array(moved)[0, :, 31].ravel(), np.array(n)[0, :, 31].ravel())[0, 1]
    assert likeness == pytest.approx(math.sqrt((1 - 0.8**2) * (1 - 0.5**2)), abs=0.15)


def test_the_slider_of_other_tools_is_an_angle() -> None:
    # The table of section 4 in the shared reference.
    for v, a in ((0.05, 0.07846), (0.1, 0.15643), (0.2, 0.30902), (0.5, 0.70711)):
        assert slider(v) == pytest.approx(a, abs=1e-5)


def test_children_have_seeds_of_their_own_family() -> None:
    seeds = [child_seed(seed, line, k) for seed in (1, 2) for line in ((), ((3, 0.1),), ((3, 0.2),)) for k in range(50)]
    assert len(set(seeds)) == 300
    assert all(0 <= seed < 2**31 for seed in seeds)


# Other tools' random numbers; against torch itself they are compared in tests/peers.


def test_the_numbers_of_nvidia_cards_are_those_that_are_published() -> None:
    """torch.manual_seed(0); torch.randn(10, device="cuda"), as the test of AUTOMATIC1111's rng_philox.py has it."""
    wanted = [-0.9247, -0.4253, -2.6438, 0.1452, -0.1209, -0.5797, -0.6229, -0.3284, -1.0745, -0.3631]
    assert np.abs(CUDAGenerator(0).randn(10) - wanted).max() < 5.1e-5
    assert np.abs(np.array(start_noise([0], (4, 4, 4), "nvidia"))[0, 0, :4, 0] - wanted[:4]).max() < 5.1e-5


def test_the_numbers_of_torch_stay_what_they_are() -> None:
    """torch.manual_seed(0); torch.randn(16): the first four."""
    wanted = [-1.1258398, -1.1523602, -0.2505786, -0.4338788]
    assert np.abs(CPUGenerator(0).randn(16)[:4] - wanted).max() < 1e-6


@pytest.mark.parametrize("source", GENERATORS)
def test_every_draw_of_a_stream_is_standard_normal_and_another(source: NoiseSource) -> None:
    noise = step_noise([2**40, 2**40 + 1], (64, 64, 4), source)
    draws = [start_noise([2**40, 2**40 + 1], (64, 64, 4), source), noise(0, 0), noise(1, 0)]
    rows = np.stack([np.array(draw) for draw in draws]).reshape(6, -1)
    assert np.abs(rows.mean(axis=1)).max() < 0.04 and np.abs(rows.std(axis=1) - 1).max() < 0.03
    assert np.abs(np.corrcoef(rows) - np.eye(6)).max() < 0.05


@pytest.mark.parametrize("source", GENERATORS)
def test_a_row_of_a_stream_is_that_of_its_seed_alone(source: NoiseSource) -> None:
    both, alone = step_noise([5, 6], SHAPE, source), step_noise([6], SHAPE, source)
    for i in range(2):
        assert mx.array_equal(both(i, 0)[1], alone(i, 0)[0])


@pytest.mark.parametrize("source", ["mlx", *GENERATORS])
def test_the_noise_of_steps_may_have_a_seed_or_a_source_of_its_own(source: NoiseSource) -> None:
    shifted = step_noise([5], SHAPE, source, delta=31337)
    assert mx.array_equal(shifted(0, 0), step_noise([31342], SHAPE, "mlx", source=source)(0, 0))
    if source != "mlx":  # from the beginning of that stream
        assert mx.array_equal(step_noise([5], SHAPE, "mlx", source=source)(0, 0), start_noise([5], SHAPE, source))


@pytest.mark.parametrize("source", GENERATORS)
def test_a_picture_of_a_batch_has_its_part_of_one_draw(source: NoiseSource) -> None:
    size = math.prod(SHAPE)
    whole = GENERATORS[source](5).randn(3 * size).reshape(3, 4, 16, 16).transpose(0, 2, 3, 1)
    for k in (1, 2, 3):
        assert largest_difference(start_noise([5], SHAPE, source, (k, 3))[0], whole[k - 1]) == 0


def test_a_variation_turns_each_column_by_a_share_of_its_angle() -> None:
    a, b = start_noise([1], SHAPE, "torch"), start_noise([2], SHAPE, "torch")
    assert largest_difference(slerped(a, b, 0.0), a) < 1e-6 and largest_difference(slerped(a, b, 1.0), b) < 1e-5
    assert largest_difference(slerped(a, a, 0.3), a) < 1e-6
    turned = [np.array(x)[0].transpose(1, 2, 0) for x in (a, b, slerped(a, b, 0.3))]  # columns last

    def angle(p: np.ndarray, q: np.ndarray) -> np.ndarray:
        return np.arccos((p * q).sum(-1) / np.sqrt((p * p).sum(-1) * (q * q).sum(-1)))

    p, q, r = turned
    unit = [x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (p, q)]
    between = np.sin(0.7 * angle(p, q))[..., None] * unit[0] + np.sin(0.3 * angle(p, q))[..., None] * unit[1]
    # Of vectors of one length the result lies at that share of the angle; of these, each brings its own length.
    one, other = (mx.array(x.transpose(2, 0, 1)[None].astype(np.float32)) for x in unit)
    equal = slerped(one, other, 0.3)
    assert np.abs(np.array(equal)[0].transpose(1, 2, 0) - between / np.sin(angle(p, q))[..., None]).max() < 1e-5
    assert np.abs(angle(np.array(equal)[0].transpose(1, 2, 0), p) - 0.3 * angle(p, q)).max() < 1e-3
    assert r.shape == p.shape
