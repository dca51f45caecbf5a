"""The bench's other side: diffusers' nets are the same, and all of its work is done."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from stable_diffusion.bench.families import FAMILIES
from stable_diffusion.bench.nets import WHAT
from stable_diffusion.bench.workers import PROGRAMS, Work, measure
from tests.test_bench import SIZES


def count(net: torch.nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("name", SIZES)
def test_diffusers_reads_the_same_nets_from_the_configs(name: str) -> None:
    family = FAMILIES[name]
    with torch.device("meta"):
        nets = [UNet2DConditionModel.from_config(family.unet), AutoencoderKL.from_config(family.vae)]
        for config in family.texts:
            projected = "Projection" in config["architectures"][0]
            kind = CLIPTextModelWithProjection if projected else CLIPTextModel
            nets.append(kind(CLIPTextConfig(**config)))
    assert tuple(map(count, nets)) == SIZES[name]


@pytest.fixture(scope="module")
def side() -> Any:
    """What the other side's program does, in this process: each of its own imports torch and diffusers anew."""
    program = Path(PROGRAMS["torch"][0])
    spec = importlib.util.spec_from_file_location("torch_side", program)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(program.parent))
        spec.loader.exec_module(module)
    return module.Bench(FAMILIES["demo"].as_json(), float16=False, steps=2)


@pytest.mark.parametrize("what", [what for what in WHAT if what != "triangle"])
@torch.no_grad()
def test_all_work_of_the_other_side_is_done(what: str, side: Any) -> None:
    made = getattr(side, what)(64)
    for array in made if isinstance(made, tuple) else [made]:
        assert np.isfinite(np.asarray(array)).all() and np.asarray(array).std() > 1e-3


def test_the_other_side_is_measured_in_a_process_of_its_own() -> None:
    work = Work.of(FAMILIES["demo"], what="unet", size=64, float16=False, steps=2, runs=1, threads=1)
    found = measure("torch", work)
    assert len(found.seconds) == 1 and found.peak > 2**27


def test_its_program_holds_no_mlx() -> None:
    code = "import sys, runpy; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0]); print('mlx' in sys.modules)"
    program = Path(PROGRAMS["torch"][0])
    environment = {**os.environ, "PYTHONPATH": str(program.parent)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(program)], env=environment, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout.strip().lower()) is False
