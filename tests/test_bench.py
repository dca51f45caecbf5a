import math

import mlx.core as mx
import numpy as np
import pytest

from stable_diffusion import bench
from stable_diffusion.bench import MEANS, STDS, WEIGHTS, mixture_estimate, samplers_error, table
from stable_diffusion.config import UNetConfig


def test_the_estimate_is_the_mean_of_the_posterior() -> None:
    """Against the integral over x0, on a grid."""
    side = np.linspace(-3, 3, 400)
    x0 = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    prior = sum(
        w / s**2 * np.exp(-((x0 - np.array(m)) ** 2).sum(axis=1) / (2 * s**2))
        for m, s, w in zip(MEANS, STDS, WEIGHTS, strict=True)
    )
    for x, sigma in (((0.3, -0.2), 0.5), ((-1.5, 1.0), 1.3)):
        weights = prior * np.exp(-((x0 - np.array(x)) ** 2).sum(axis=1) / (2 * sigma**2))
        wanted = (weights[:, None] * x0).sum(axis=0) / weights.sum()
        assert np.abs(np.array(mixture_estimate(mx.array([x]), sigma))[0] - wanted).max() < 1e-4


@pytest.fixture(scope="module")
def errors() -> dict[str, list[tuple[int, float]]]:
    return samplers_error("karras", 50)


def test_calls_are_counted_and_errors_fall(errors: dict[str, list[tuple[int, float]]]) -> None:
    assert [calls for calls, _ in errors["euler"]] == list(bench.STEPS)
    assert [calls for calls, _ in errors["heun"]] == [2 * n - 1 for n in bench.STEPS]
    for name, points in errors.items():
        assert points[-1][1] < points[0][1] / 5, name
    assert errors["dpmpp_2m"][-1][1] < errors["euler"][-1][1] / 5


def test_the_table_has_a_row_for_each_sampler_and_is_in_order(errors: dict[str, list[tuple[int, float]]]) -> None:
    rows = table(errors).splitlines()
    assert len(rows) == 2 + len(errors)
    last = [float(row.split("|")[-2]) for row in rows[2:]]
    assert all(math.isfinite(value) for value in last)
    cell = next(row for row in rows if row.startswith("| euler |")).split("|")[2]
    assert float(cell) == pytest.approx(errors["euler"][0][1], rel=0.05)


def test_the_page_is_a_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(bench, "TRUTH", 200)
    assert bench.main(["samplers", "--points", "10"]) == 0
    assert "| dpmpp_2m |" in capsys.readouterr().out


def test_fewer_bits_do_more_harm_and_some_layers_most(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a net of SD 1.5's kind that is quick to run; its rows are those of the real one."""
    small = UNetConfig(block_out_channels=(32, 64), down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
                       up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), layers_per_block=(1, 1),
                       num_attention_heads=(4, 4), transformer_layers_per_block=(1, 1))  # fmt: skip
    monkeypatch.setattr(bench, "UNetConfig", lambda: small)
    monkeypatch.setattr(bench, "STEPS_OF_LATENTS", 2)

    def rows(*words: str) -> dict[str, list[float]]:
        assert bench.main(["quantized", *words]) == 0
        lines = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines()[2:]]
        return {name.strip(): [float(cell.split()[0]) for cell in cells] for name, *cells in lines}

    kinds = rows("8", "4", "2")
    assert list(kinds) == ["8", "4", "2"]
    for column in range(1, 4):
        assert 0 < kinds["8"][column] < kinds["4"][column] < kinds["2"][column]
    layers = rows("--layers", "4")
    assert layers["all"][0] == 100 and layers["all that `-q` takes"][2] < layers["all"][2]
