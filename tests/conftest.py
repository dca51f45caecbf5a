"""The package goes first, because it decides what MLX runs on before MLX is imported.

Tests run in as many processes as there are cores; `pytest -n0` runs them in one, for a debugger or a profile.
"""

import os
from collections.abc import Iterator
from typing import Any

import pytest

# For matrices as small as these, threads only wait for each other; what is spread is tested where it is spread.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import stable_diffusion  # noqa: F401


@pytest.fixture(autouse=True, scope="session")
def _a_cache_of_our_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What tests remember is not what the person who runs them remembers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True, scope="session")
def _loops_of_our_own(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """MLX keeps the loops that it compiles among the temporary files, and a process that finds one there while another
    still writes it loads half of it: each of several that run tests has its own, which the next run finds."""
    worker, cache = os.environ.get("PYTEST_XDIST_WORKER"), getattr(pytestconfig, "cache", None)
    with pytest.MonkeyPatch.context() as patch:
        if worker and cache is not None:
            place = tmp_path_factory.mktemp("temporary")
            (place / "mlx").symlink_to(cache.mkdir(f"mlx-{worker}"))
            patch.setenv("TMPDIR", str(place))
        yield


@pytest.fixture
def opened_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands find the checkpoint of `commands.SD1` open, where nothing is put on it: other tests open it."""
    from stable_diffusion.cli import job
    from tests import commands

    monkeypatch.setattr(job, "_loaded", commands.opened_once)


@pytest.fixture
def net_calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows the UNet is given in each call."""
    from stable_diffusion.models.unet import UNet2DConditionModel

    calls: list[int] = []
    embed = UNet2DConditionModel.embed

    def counting(self: UNet2DConditionModel, x: Any, *args: Any, **more: Any) -> Any:
        calls.append(x.shape[0])
        return embed(self, x, *args, **more)

    monkeypatch.setattr(UNet2DConditionModel, "embed", counting)
    return calls
