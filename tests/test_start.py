"""What a start imports: nothing that takes long before it is needed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = {"huggingface_hub", "numpy", "PIL", "tqdm", "tokenizers", "httpx", "httpx2", "yaml", "asyncio"}


def imported(program: str) -> set[str]:
    """The libraries that a program has imported when it ends."""
    code = f"""
import contextlib, io, json, sys
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    {program}
print(json.dumps(sorted(sys.modules)))
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in json.loads(done.stdout)} | set(json.loads(done.stdout))


@pytest.mark.parametrize("command", ["txt2image", "image2image"])
@pytest.mark.parametrize("words", [["--help"], ["--help", "all"], ["--version"]])
def test_help_and_version_take_nothing_heavy(command: str, words: list[str]) -> None:
    there = imported(f"import {command}; {command}.main({words})")
    assert "stable_diffusion.cli.options" in there and not there & HEAVY


def test_nor_does_the_package_as_a_command() -> None:
    there = imported("from stable_diffusion.__main__ import main; main(['image2image', '--help'])")
    assert "stable_diffusion.cli.options" in there and not there & HEAVY


def test_a_bench_takes_no_torch() -> None:
    there = imported("from stable_diffusion import bench; bench.main(['--help'])")
    assert "stable_diffusion.bench.nets" in there and not there & {"torch", "diffusers", "transformers"}


def test_the_package_alone_takes_mlx_and_nothing_else() -> None:
    there = imported("import stable_diffusion")
    assert "mlx.core" in there and not there & {*HEAVY, "mlx.nn", "safetensors", "argparse"}
    assert not {name for name in there if name.startswith("stable_diffusion.")} - {
        "stable_diffusion.backend",
        "stable_diffusion.version",
    }


def test_a_model_that_lies_here_needs_nothing_of_the_hub() -> None:
    there = imported("import stable_diffusion as s; s.StableDiffusion('demo', float16=False)")
    assert "mlx.nn" in there and not there & {"huggingface_hub", "tqdm", "httpx", "httpx2"}


def test_public_names_are_there_when_they_are_asked_for() -> None:
    import stable_diffusion

    assert set(stable_diffusion.__all__) <= set(dir(stable_diffusion))
    assert {type(getattr(stable_diffusion, name)) for name in ("PRESETS", "SAMPLERS")} == {dict}
    with pytest.raises(AttributeError, match="no attribute 'Picture'"):
        stable_diffusion.Picture  # noqa: B018
