"""Nets against diffusers and transformers, on identical random weights."""

from pathlib import Path

import pytest
from families import FAMILIES
from outputs import torch_outputs

from stable_diffusion import StableDiffusion
from tests.nets import our_outputs, relative_error


@pytest.mark.parametrize("seed", [11, 12])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_net_of_every_family_agrees(family: str, seed: int, tmp_path: Path) -> None:
    folder = FAMILIES[family](tmp_path / family, seed)
    theirs = torch_outputs(folder)
    ours = our_outputs(StableDiffusion(str(folder)), theirs)
    errors = {name: relative_error(value, theirs[name]) for name, value in ours.items()}
    print(family, seed, errors)
    for name, error in errors.items():
        assert error < (1e-4 if name in ("unet", "encoded", "decoded") else 1e-5), (name, error)
