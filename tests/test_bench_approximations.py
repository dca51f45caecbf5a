import pytest

from stable_diffusion import bench, bench_approximations
from stable_diffusion.config import UNetConfig


def test_the_page_is_a_table_whose_errors_grow_with_the_steps_between(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = UNetConfig(block_out_channels=(32, 32, 64, 64))
    monkeypatch.setattr(bench_approximations, "UNetConfig", lambda: small)
    monkeypatch.setattr(bench_approximations, "PROMPTS", bench_approximations.PROMPTS[:1])
    monkeypatch.setattr(bench_approximations, "KINDS", ((2, 0.0), (5, 0.0), (2, 0.5)))
    assert bench.main(["approximations", "--steps", "6", "--rounds", "1", "--side", "16"]) == 0
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in capsys.readouterr().out.splitlines()]
    assert [row[:2] for row in rows[2:]] == [["2", "0"], ["5", "0"], ["2", "0.5"]]
    errors = [float(row[2]) for row in rows[2:]]
    assert 0 < errors[0] < errors[1] and errors[0] < errors[2]
    assert all(float(cell.removesuffix(" x")) > 0 for row in rows[2:] for cell in row[4:])
