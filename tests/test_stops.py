"""A stop before the first step, whatever is being made, and files whose tensors have no shape that is known."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import mlx.core as mx
import pytest
from PIL import Image

from stable_diffusion.cli import terminal
from stable_diffusion.cli.terminal import Terminated
from stable_diffusion.jobs.events import Event, Progress
from stable_diffusion.models.unet import UNet2DConditionModel
from stable_diffusion.weights.autoencoders import autoencoder_part
from stable_diffusion.weights.checkpoint import CheckpointError
from stable_diffusion.weights.embeddings import read_embedding
from stable_diffusion.weights.nets import open_autoencoder
from stable_diffusion.weights.single import single_checkpoint
from tests.commands import img, txt

ROOT = Path(__file__).parents[1]
FILM = ["--animate", "film.gif"]
PYRAMID = ["-gt", "0.5,1", "--triangle-shape", "pyramid"]
KINDS = [
    [],
    FILM,
    ["--animate", "film.webp"],
    ["--animate", "film.apng"],
    ["--html", "page.html"],
    ["-sd", "1"],
    ["--save-latents"],
    ["--grid", "cfg=1,2", *FILM],
    ["--perturb", "0.3", "--n_images", "2", *FILM],
    ["--low-memory", *FILM],
    ["-gt", "2"],
    ["-gt", "2", *FILM],
    ["-gt", "2", "--n_images", "2", *FILM],
    ["-gt", "0.5,1", "--highlight", "1", *FILM],
    PYRAMID,
    [*PYRAMID, "--highlight", "1", "--html", "page.html", *FILM],
    ["--show-noising", "chain", *FILM],
    ["--loopback", "2", *FILM],
]
ONLY_IMAGES = {"-gt", "--show-noising", "--loopback"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (32, 32), (90, 10, 200)).save("in.png")
    Path("prompts.txt").write_text("a\nb\n")


def stopping(monkeypatch: pytest.MonkeyPatch, stop: BaseException, calls: int = 0) -> None:
    """Let the UNet be stopped after so many calls."""
    work, count = UNet2DConditionModel.__call__, iter(range(calls))

    def call(*args: object, **named: object) -> mx.array:
        if next(count, None) is None:
            raise stop
        return work(*args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(UNet2DConditionModel, "__call__", call)


@pytest.mark.parametrize(("stop", "status"), [(KeyboardInterrupt(), 130), (Terminated(), 143)])
@pytest.mark.parametrize("words", KINDS, ids=" ".join)
def test_a_stop_before_the_first_step_is_a_stop(
    words: list[str],
    stop: BaseException,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stopping(monkeypatch, stop)
    runs = [lambda: img("in.png", "a", *words)]
    if ONLY_IMAGES.isdisjoint(words):
        runs.append(lambda: txt("a", *words))
    for run in runs:
        assert run() == status
        err = capsys.readouterr().err
        assert err.rstrip().endswith("stopped") and "error" not in err


@pytest.mark.parametrize("words", [["-gt", "0.5,1"], PYRAMID], ids=["triangle", "pyramid"])
def test_a_stop_in_the_second_row_keeps_the_first(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stopping(monkeypatch, KeyboardInterrupt(), 3)
    assert img("in.png", "a", *words, "--batch-size", "1", "--highlight", "1", *FILM) == 130
    assert {"out-strength0.5.png", "out-triangle.png", "out-path.png"} <= set(capsys.readouterr().out.split())


def test_a_file_of_prompts_stops_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    stopping(monkeypatch, KeyboardInterrupt())
    assert txt("--prompts", "prompts.txt", *FILM) == 130
    assert "error" not in capsys.readouterr().err


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_during_the_imports_is_a_stop(number: signal.Signals, status: int) -> None:
    program = f"""
import os, signal, sys, txt2image
class Importing:
    def find_spec(self, name, *_):
        if name == "stable_diffusion.cli.command": os.kill(os.getpid(), {int(number)})
sys.meta_path.insert(0, Importing())
txt2image.main(["a"])
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (status, "stopped\n")


def test_options_that_would_be_ignored_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in (
        (["--lora-partial"], "--lora-partial does nothing without --lora"),
        ([*FILM, "--animate", "other.gif"], "--animate: named twice"),
        (["--html", "a.html", "--html", "b.html"], "--html: named twice"),
    ):
        with pytest.raises(SystemExit):
            txt("a", *words)
        assert said in capsys.readouterr().err


def test_alpha_for_a_picture_without_transparency_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert img("in.png", "a", "--alpha", "--plan") == 0
    assert "nothing in the picture is transparent" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--embedding", "--lora", "--vae", "--mask", "--from"])
def test_a_plan_misses_a_file_that_is_not_there(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert img("in.png", "a", option, "nowhere.safetensors", "--plan") == 1
    assert "nowhere.safetensors" in capsys.readouterr().err


AUTOENCODERS = [
    "decoder.layers.0.weight",
    "encoder.layers.0.weight",
    "encoder.down.0.block.0.conv1.weight",
    "encoder.down_blocks.0.resnets.0.conv1.weight",
]
CHECKPOINTS = [
    "model.diffusion_model.input_blocks.0.0.weight",
    "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight",
    "cond_stage_model.transformer.embeddings.token_embedding.weight",
    "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight",
]


def opened(file: Path) -> object:
    """The autoencoder in a file, as --vae takes it."""
    part = autoencoder_part(file, {"scaling_factor": 0.18215, "force_upcast": False})
    return open_autoencoder(part, mx.float32, False)


@pytest.mark.parametrize(
    "sides", [(), (1,), (0,), (2, 4), (0, 4), (2, 2, 2), (2, 4, 3, 3), (0, 4, 3, 3), (2,) * 5], ids=str
)
def test_tensors_of_any_rank_are_a_sentence(sides: tuple[int, ...]) -> None:
    file = Path("odd.safetensors")
    for name in AUTOENCODERS:
        mx.save_safetensors(str(file), {name: mx.zeros(sides)})
        with pytest.raises(CheckpointError, match=r"odd\.safetensors"):
            opened(file)
    for name in CHECKPOINTS:
        names = {name, "input_blocks.0.0.weight"}
        mx.save_safetensors(str(file), {one: mx.zeros(sides) for one in names})
        with pytest.raises(CheckpointError, match=r"odd\.safetensors"):
            single_checkpoint(file)
    mx.save_safetensors(str(file), {"emb_params": mx.zeros(sides)})
    with pytest.raises(CheckpointError, match=r"odd\.safetensors"):
        read_embedding(file, None, [768], "SD 1.x")


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stop_that_native_code_swallows_is_taken_at_the_next_step(
    sent: int, status: int, capfd: pytest.CaptureFixture[str]
) -> None:
    seen: list[str] = []

    def job() -> Generator[Event, None, None]:
        try:
            for done in range(5):
                yield Progress(done, 5)
                seen.append(f"step {done}")
                if done == 1:
                    with contextlib.suppress(KeyboardInterrupt):
                        signal.raise_signal(sent)
        except KeyboardInterrupt:
            seen.append("kept")
            raise

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert terminal.run(job) == status
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == ["step 0", "step 1", "kept"]
    assert capfd.readouterr().err.rstrip().endswith("stopped")
