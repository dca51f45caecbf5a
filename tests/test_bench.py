import json
import math
import re
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from stable_diffusion import StableDiffusion, bench
from stable_diffusion.bench import command, resident, workers
from stable_diffusion.bench.families import FAMILIES, Family
from stable_diffusion.bench.figures import Figure, table
from stable_diffusion.bench.nets import WHAT, Bench, random_checkpoint
from stable_diffusion.bench.tables import PAGES, approximations, quantized, samplers
from stable_diffusion.bench.tables.samplers import (
    MEANS,
    STDS,
    STEPS,
    WEIGHTS,
    errors_table,
    mixture_estimate,
    samplers_error,
)
from stable_diffusion.bench.workers import Measured
from stable_diffusion.config import UNetConfig
from stable_diffusion.models.unet import UNet2DConditionModel
from stable_diffusion.weights.quantize import quantisable


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
    assert [calls for calls, _ in errors["euler"]] == list(STEPS)
    assert [calls for calls, _ in errors["heun"]] == [2 * n - 1 for n in STEPS]
    for name, points in errors.items():
        assert points[-1][1] < points[0][1] / 5, name
    assert errors["dpmpp_2m"][-1][1] < errors["euler"][-1][1] / 5


def test_the_table_has_a_row_for_each_sampler_and_is_in_order(errors: dict[str, list[tuple[int, float]]]) -> None:
    rows = errors_table(errors).splitlines()
    assert len(rows) == 2 + len(errors)
    last = [float(row.split("|")[-2]) for row in rows[2:]]
    assert all(math.isfinite(value) for value in last)
    cell = next(row for row in rows if row.startswith("| euler |")).split("|")[2]
    assert float(cell) == pytest.approx(errors["euler"][0][1], rel=0.05)


def test_the_page_is_a_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(samplers, "TRUTH", 200)
    assert bench.main(["samplers", "--points", "10"]) == 0
    assert "| dpmpp_2m |" in capsys.readouterr().out


def test_fewer_bits_do_more_harm_and_some_layers_most(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a net of SD 1.5's kind that is quick to run; its rows are those of the real one."""
    small = UNetConfig(block_out_channels=(32, 64), down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
                       up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), layers_per_block=(1, 1),
                       num_attention_heads=(4, 4), transformer_layers_per_block=(1, 1))  # fmt: skip
    monkeypatch.setattr(quantized, "UNetConfig", lambda: small)
    monkeypatch.setattr(quantized, "STEPS_OF_LATENTS", 1)
    paths = [path for path, layer in UNet2DConditionModel(small).named_modules() if quantisable(layer)]
    assert all(any(re.fullmatch(pattern, path) for path in paths) for pattern in quantized.LAYERS.values())
    few = ("time_embedding", "all", "all that `-q` takes")  # each row opens the demo anew
    monkeypatch.setattr(quantized, "LAYERS", {name: quantized.LAYERS[name] for name in few})

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


# Full-size nets

SIZES = {  # of the published checkpoints: UNet, autoencoder, text encoders
    "sd1.5": (859_520_964, 83_653_863, 123_060_480),
    "sd2.1": (865_910_724, 83_653_863, 340_387_840),
    "sdxl": (2_567_463_684, 83_653_863, 123_060_480, 694_659_840),
}


def count(net: Any) -> int:
    parameters: dict[str, mx.array] = dict(tree_flatten(net.parameters()))
    return sum(array.size for array in parameters.values())


@pytest.mark.parametrize("family", SIZES)
def test_the_nets_have_the_published_numbers_of_weights(family: str) -> None:
    sd = StableDiffusion(random_checkpoint(FAMILIES[family]), float16=False)
    assert tuple(map(count, (sd.unet, sd.autoencoder, *sd.texts.encoders))) == SIZES[family]


def test_a_family_goes_through_json() -> None:
    for family in FAMILIES.values():
        assert Family.from_json(json.loads(json.dumps(family.as_json()))) == family


@pytest.mark.parametrize("what", WHAT)
def test_all_work_is_done_and_its_numbers_stay_small(what: str) -> None:
    made = getattr(Bench(FAMILIES["demo"], float16=False, steps=1), what)(64)
    for array in made if isinstance(made, list) else [made]:
        assert 1e-3 < float(mx.abs(array).max()) < 1e3, what


def test_each_run_counts_but_the_small_one_and_a_quick_first(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def once(side: int) -> float:
        sizes.append(side)
        return float(len(sizes))

    assert resident.measured(once, 512, 2, (lambda: None, lambda: 7)) == {"seconds": [3.0, 4.0], "peak": 7}
    assert sizes == [64, 512, 512, 512]
    sizes.clear()
    monkeypatch.setattr(resident, "WARMED", 1.0)
    assert resident.measured(once, 512, 2, (lambda: None, lambda: 7))["seconds"] == [2.0, 3.0]


def test_the_peak_of_a_process_is_what_it_held() -> None:
    def once(side: int) -> float:
        return float(len(b"x" * (side * 2**20)))

    assert resident.measured(once, 512, 1)["peak"] > 512 * 2**20


@pytest.fixture
def order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two programs in the place of the sides: each says its name in this file, and takes 2 s and 1 s, or 4 s."""
    said = tmp_path / "order"
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)  # the suite's own
    for side, seconds in (("mlx", 2.0), ("torch", 4.0)):
        code = f"""
import json, os, sys
asked = json.load(sys.stdin)
open({str(said)!r}, "a").write("{side} " + asked["what"] + " " + os.environ.get("OMP_NUM_THREADS", "-") + chr(10))
print(json.dumps({{"seconds": [{seconds}] * asked["runs"], "peak": {int(seconds)} * 2**30}}))
"""
        programs = {**workers.PROGRAMS, side: ("-c", code)}
        monkeypatch.setattr(workers, "PROGRAMS", programs)
    monkeypatch.setattr(workers, "NEEDED", {})
    return said


def printed(words: Sequence[str], capsys: pytest.CaptureFixture[str], status: int = 0) -> str:
    assert bench.main(list(words)) == status
    said = capsys.readouterr()
    return said.err if status else said.out


def test_sides_take_turns_and_their_ratios_are_printed(order: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--only", "unet", "triangle", "--against", "torch", "--runs", "2", "--threads", "1"]
    lines = printed(words, capsys).splitlines()
    assert order.read_text().splitlines() == ["mlx unet 1", "torch unet 1"] * 2 + ["mlx triangle 1"] * 2
    assert lines[2] == "| unet | 2 (2 to 2) | 2.00 | 4 (4 to 4) | 4.00 | 0.5 (0.5 to 0.5) | 0.50 |"
    assert lines[3].startswith("| triangle | 2 (2 to 2) | 2.00 |  |")


def test_alone_all_runs_are_in_one_process(order: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(printed(["nets", "--only", "text", "--runs", "3", "--json"], capsys))
    assert order.read_text().splitlines() == ["mlx text -"]
    assert found["asked"].startswith("sd1.5, 512 x 512, ") and found["machine"]["MLX"].startswith(
        metadata.version("mlx")
    )
    (figure,) = found["figures"]
    assert figure == {"what": "text", "seconds": [2.0] * 3, "median": 2.0, "peak_bytes": 2 * 2**30}


def test_a_report_says_what_the_machine_is(order: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(["--report", "--only", "text", "--family", "sdxl", "--float16"], capsys).splitlines()
    assert lines[0] == "```" and {line.partition(":")[0] for line in lines} >= {"MLX", "BLAS", "Python", "processor"}
    assert "asked: sdxl, 1024 x 1024, float16, 4 steps, 3 runs" in lines


def test_ratios_are_of_runs_side_by_side() -> None:
    """A machine that becomes ten times slower in the middle changes no ratio."""
    ours = tuple(Measured((s,), 1) for s in (1.0, 10.0, 30.0))
    theirs = tuple(Measured((s,), 2) for s in (2.0, 20.0, 20.0))
    figure = Figure("unet", ours, theirs)
    assert figure.time_ratios == (0.5, 0.5, 1.5) and figure.memory_ratio == 0.5
    assert figure.as_json()["time_ratio"] == 0.5
    assert "| 0.5 (0.5 to 1.5) | 0.50 |" in table([figure])


def test_without_torch_there_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    said = printed(["--against", "torch", "--only", "text"], capsys, status=1)
    assert "without torch, diffusers, transformers: pip install torch diffusers transformers" in said
    assert len(said.strip().splitlines()) == 1


def test_a_process_that_fails_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(workers, "PROGRAMS", {"mlx": ("-c", "raise MemoryError('no room')")})
    said = printed(["--only", "decode"], capsys, status=1).strip().splitlines()[-1]
    assert said == "error: decode of mlx could not be measured: MemoryError: no room"


def test_a_size_that_levels_cannot_have_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "size is 100: it must be a multiple of 64" in printed(["--size", "100"], capsys, status=1)


def test_the_page_of_nets_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--family", "demo", "--only", "text", "--runs", "2", "--json"]
    (figure,) = json.loads(printed(words, capsys))["figures"]
    assert len(figure["seconds"]) == 2 and 0 < figure["median"] < 60 and figure["peak_bytes"] > 2**20


def test_a_page_that_is_not_installed_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "TABLES", False)
    for page in command.ON_TABLES:
        with pytest.raises(SystemExit):
            bench.main([page, "--size", "64"])
        assert f"the page {page} is not installed: run it in a checkout" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        bench.main(["--help"])
    assert "nets" in (said := capsys.readouterr().out) and "samplers" not in said


def test_all_pages_of_tables_are_known_without_them() -> None:
    assert tuple(PAGES) == command.ON_TABLES


def test_a_page_can_be_left_out() -> None:
    assert command._with_page([]) == ["nets"] and command._with_page(["--runs", "1"]) == ["nets", "--runs", "1"]
    assert command._with_page(["samplers"]) == ["samplers"] and command._with_page(["--help"]) == ["--help"]


def test_the_page_of_approximations_is_a_table_whose_errors_grow_with_the_steps_between(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = UNetConfig(block_out_channels=(32, 32, 64, 64))
    monkeypatch.setattr(approximations, "UNetConfig", lambda: small)
    monkeypatch.setattr(approximations, "PROMPTS", approximations.PROMPTS[:1])
    monkeypatch.setattr(approximations, "EVERY", (2, 5))
    assert bench.main(["approximations", "--steps", "5", "--rounds", "1", "--side", "16"]) == 0
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows[2:]] == ["2", "5"]
    errors = [float(row[1]) for row in rows[2:]]
    assert 0 < errors[0] < errors[1]
    assert all(float(cell.removesuffix(" x")) > 0 for row in rows[2:] for cell in row[3:])


def test_what_is_said_of_memory_stands_beside_what_was_measured(
    order: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["memory", "--family", "sd1.5", "sdxl", "--size", "512", "1024", "--only", "unet", "txt2img", "--float16"]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in printed(words, capsys).splitlines()]
    places = [[family, side] for family in ("sd1.5", "sdxl") for side in ("512", "1024")]
    assert [row[:3] for row in rows[2:]] == [[*place, what] for place in places for what in ("unet", "txt2img")]
    assert order.read_text().splitlines() == ["mlx unet -", "mlx txt2img -"] * 4
    for unet, whole in zip(rows[2::2], rows[3::2], strict=True):
        parameters = SIZES[unet[0]]  # of two bytes each; the others besides in a whole run
        assert float(unet[3]) > 2 * parameters[0] / 2**30
        assert float(whole[3]) > float(unet[3]) + 2 * sum(parameters[2:]) / 2**30
        for row in (unet, whole):
            assert row[4] == "2.00" and float(row[5]) == pytest.approx(float(row[3]) / 2, abs=0.01)


def test_what_is_said_of_memory_is_about_right(capsys: pytest.CaptureFixture[str]) -> None:
    """Of the demo, of which a process takes more than its nets."""
    out = printed(["memory", "--family", "demo", "--size", "256", "--only", "unet", "txt2img"], capsys)
    for row in out.splitlines()[2:]:
        assert 0.5 < float(row.split("|")[-2]) < 2, row
    assert "size is 100" in printed(["memory", "--size", "100"], capsys, status=1)
