"""The package goes first, because it decides what MLX runs on before MLX is imported."""

import os
from collections.abc import Iterator

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
