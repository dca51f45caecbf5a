"""A seed of another tool: torch's own numbers, and whole pipelines of diffusers that begin with them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    LCMScheduler,
    StableDiffusionImg2ImgPipeline,
    UniPCMultistepScheduler,
)
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from families import FAMILIES
from PIL import Image

from stable_diffusion import Settings, StableDiffusion
from stable_diffusion.diffusion.generators import CPUGenerator
from stable_diffusion.diffusion.noise import start_noise, step_noise
from tests.nets import relative_error

DEMO = Path(__file__).parents[2] / "stable_diffusion" / "demo"
SEED = 2**32 + 5
SETTINGS = Settings(
    prompt="the house at sea", negative_prompt="fog", seed=SEED, noise_source="torch", cfg=4.0, width=64, height=48
)


def their_generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("seed", [0, 1, 7, 42, 2**31, 2**32 - 1, 2**32, 2**32 + 5, 12345678901, 2**63 - 1, 2**64 - 1])
def test_numbers_are_torchs_one_draw_after_the_other(seed: int) -> None:
    ours, theirs = CPUGenerator(seed), their_generator(seed)
    # Multiples of 16 and others, whole latents, and fewer than 16, which torch makes in another way.
    for count in (16, 100, 3, 64, 1, 15, 17, 5, 4 * 9 * 7, 2, 16384, 4 * 61 * 47):
        wanted = torch.randn(count, generator=theirs).numpy()
        assert np.abs(ours.randn(count) - wanted).max() < 1e-6, count


@pytest.mark.parametrize("shape", [(8, 8, 4), (9, 7, 4), (64, 96, 4), (1, 1, 4)])
def test_a_latent_is_torchs_turned_round(shape: tuple[int, int, int]) -> None:
    h, w, channels = shape
    theirs = [their_generator(seed) for seed in (SEED, SEED + 1)]
    noise = step_noise([SEED, SEED + 1], shape, "torch")
    ours = [start_noise([SEED, SEED + 1], shape, "torch"), noise(0, 0), noise(1, 0)]
    for drawn in ours:
        wanted = torch.cat([torch.randn(1, channels, h, w, generator=g) for g in theirs]).permute(0, 2, 3, 1)
        assert np.abs(np.array(drawn) - wanted.numpy()).max() < 1e-6


TRAILING = {"timestep_spacing": "trailing"}
# The sampler, what of its name depends on the steps, diffusers' own with its options, and how that scales the start.
SOLVERS: dict[str, tuple[Callable[[int], str], str, Callable[..., Any], dict[str, Any], str]] = {
    "euler": (lambda n: "euler", "trailing", EulerDiscreteScheduler, TRAILING, "sigma"),
    "euler, leading": (lambda n: "euler", "leading", EulerDiscreteScheduler, {"timestep_spacing": "leading"}, "unit"),
    "euler_a": (lambda n: "euler_a", "trailing", EulerAncestralDiscreteScheduler, TRAILING, "sigma"),
    "dpmpp_2m": (
        lambda n: "dpmpp_2m",
        "trailing",
        DPMSolverMultistepScheduler,
        {**TRAILING, "final_sigmas_type": "zero", "lower_order_final": False},
        "unit",
    ),
    # Where the steps do not divide 1000, diffusers goes to another time than the next one.
    "ddim": (
        lambda n: f"ddim:stride={1000 // n}",
        "trailing",
        DDIMScheduler,
        {**TRAILING, "set_alpha_to_one": True, "clip_sample": False},
        "unit",
    ),
    "unipc": (
        lambda n: "unipc",
        "trailing",
        UniPCMultistepScheduler,
        {**TRAILING, "final_sigmas_type": "zero"},
        "unit",
    ),
    "lcm": (lambda n: "lcm", "lcm", LCMScheduler, {"clip_sample": False}, "unit"),
}


def prepared(pipeline: Any, solver: str) -> Any:
    _, _, scheduler, options, _ = SOLVERS[solver]
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config, **options)
    return pipeline


def chosen(settings: Settings, solver: str, steps: int) -> Settings:
    sampler, spacing, _, _, scale = SOLVERS[solver]
    return replace(settings, sampler=sampler(steps), spacing=spacing, start_scale=scale, steps=steps)


def theirs(pipeline: Any, settings: Settings, generator: Any, count: int = 1, **more: Any) -> np.ndarray:
    """diffusers' final latents, channel-last."""
    output = pipeline(
        prompt=[settings.prompt] * count,
        negative_prompt=[settings.negative_prompt] * count,
        num_inference_steps=settings.steps,
        guidance_scale=settings.cfg,
        generator=generator,
        output_type="latent",
        **more,
    )
    return output.images.permute(0, 2, 3, 1).numpy()


def ours(folder: Path, settings: Settings, **more: Any) -> np.ndarray:
    return np.array(list(StableDiffusion(str(folder), float16=False).sample(settings, **more))[-1].x)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("seeds")
    return {family: FAMILIES[family](root / family, 31) for family in ("sd1", "sd2", "xl")} | {"demo": DEMO}


# The times of steps hang on the solver and on what the net predicts, and not on its size.
@pytest.mark.parametrize(("family", "steps"), [("sd1", 5), ("sd1", 7), ("sd2", 5), ("sd2", 7), ("xl", 5), ("demo", 7)])
@pytest.mark.parametrize("solver", SOLVERS)
def test_the_same_seed_gives_diffusers_picture(solver: str, family: str, steps: int, folders: dict[str, Path]) -> None:
    settings = chosen(replace(SETTINGS, n_images=2), solver, steps)
    pipeline = prepared(DiffusionPipeline.from_pretrained(folders[family], torch_dtype=torch.float32), solver)
    generators = [their_generator(SEED), their_generator(SEED + 1)]
    wanted = theirs(pipeline, settings, generators, 2, width=settings.width, height=settings.height)
    error = relative_error(ours(folders[family], settings), wanted)
    assert error < 1e-4, error


@pytest.mark.parametrize("steps", [10, 7])
@pytest.mark.parametrize("solver", SOLVERS)
def test_the_same_seed_and_image_give_diffusers_picture(
    solver: str, steps: int, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The mean of the encoder's distribution, as here; diffusers' own sample of it would be the generator's first draw.
    monkeypatch.setattr(DiagonalGaussianDistribution, "sample", lambda self, generator=None: self.mode())
    picture = np.random.default_rng(6).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    settings = replace(chosen(SETTINGS, solver, steps), strength=0.6, strength_mode="skip")
    pipeline = prepared(StableDiffusionImg2ImgPipeline.from_pretrained(folders["sd1"], safety_checker=None), solver)
    wanted = theirs(pipeline, settings, their_generator(SEED), image=Image.fromarray(picture), strength=0.6)
    found = ours(folders["sd1"], settings, image=mx.array(picture.astype(np.float32) / 127.5 - 1))
    assert relative_error(found, wanted) < 1e-4


@pytest.mark.parametrize("k", [1, 2, 3])
def test_a_picture_of_a_batch_of_one_draw_is_made_alone(k: int, folders: dict[str, Path]) -> None:
    settings = chosen(SETTINGS, "euler_a", 5)
    pipeline = prepared(DiffusionPipeline.from_pretrained(folders["sd1"], torch_dtype=torch.float32), "euler_a")
    wanted = theirs(pipeline, settings, their_generator(SEED), 3, width=settings.width, height=settings.height)
    found = ours(folders["sd1"], replace(settings, of_batch=f"{k}/3"))
    assert relative_error(found, wanted[k - 1 : k]) < 1e-4
