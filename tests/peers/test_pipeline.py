"""Whole runs against diffusers' pipelines: the same weights, the same noise, the same latents at the end."""

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
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
)
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from families import FAMILIES, sd1
from PIL import Image

from stable_diffusion import Settings, StableDiffusion
from stable_diffusion.diffusion.denoiser import Denoiser
from stable_diffusion.diffusion.schedule import NoiseSchedule
from tests.nets import relative_error

DEMO = Path(__file__).parents[2] / "stable_diffusion" / "demo"
# 5 divides 1000: diffusers' DDIM takes 1000 // steps for the way to the next time, whatever the next time is.
SETTINGS = Settings(prompt="the house at sea", negative_prompt="fog", steps=5, cfg=4.0, width=64, height=48)


def quiet(pipeline: Any) -> Any:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def noise_for(n: int = 2) -> np.ndarray:
    return np.random.default_rng(5).normal(size=(n, 6, 8, 4)).astype(np.float32)


def theirs(pipeline: Any, settings: Settings, noise: np.ndarray, **more: Any) -> np.ndarray:
    """diffusers' final latents, channel-last; `latents` go in at variance 1."""
    output = pipeline(
        prompt=[settings.prompt] * len(noise),
        negative_prompt=[settings.negative_prompt] * len(noise) if settings.negative_prompt else None,
        num_inference_steps=settings.steps,
        guidance_scale=settings.cfg,
        guidance_rescale=settings.cfg_rescale or 0.0,
        width=settings.width,
        height=settings.height,
        latents=torch.from_numpy(noise).permute(0, 3, 1, 2),
        output_type="latent",
        **more,
    )
    return output.images.permute(0, 2, 3, 1).numpy()


def ours(folder: Path, settings: Settings, noise: np.ndarray, predicts: str | None = None, **more: Any) -> np.ndarray:
    sd = StableDiffusion(str(folder), float16=False, prediction=predicts)
    return np.array(list(sd.sample(replace(settings, n_images=len(noise)), noise=mx.array(noise), **more))[-1].x)


SOLVERS: dict[str, tuple[dict[str, str], Callable[..., Any], dict[str, Any]]] = {
    "euler": ({"sampler": "euler", "spacing": "trailing"}, EulerDiscreteScheduler, {"timestep_spacing": "trailing"}),
    "ddim": (
        {"sampler": "ddim", "spacing": "trailing"},
        DDIMScheduler,
        {"timestep_spacing": "trailing", "set_alpha_to_one": True},
    ),
    "heun": ({"sampler": "heun", "spacing": "trailing"}, HeunDiscreteScheduler, {"timestep_spacing": "trailing"}),
    "dpmpp_2m": (
        {"sampler": "dpmpp_2m", "spacing": "trailing"},
        DPMSolverMultistepScheduler,
        {"timestep_spacing": "trailing", "final_sigmas_type": "zero", "lower_order_final": False},
    ),
}


@pytest.mark.parametrize("family", ["sd1", "sd2"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_text_to_image_ends_where_diffusers_ends(solver: str, family: str, tmp_path: Path) -> None:
    choice, scheduler, options = SOLVERS[solver]
    folder, noise = FAMILIES[family](tmp_path / family, 21), noise_for()
    pipeline = quiet(StableDiffusionPipeline.from_pretrained(folder, safety_checker=None))
    pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config, **options)
    settings = replace(SETTINGS, **choice)
    # Schedulers in variance-preserving form take noise of variance 1 for the start, and not of 1 - abar.
    sigma = StableDiffusion(str(folder), float16=False).schedule.sigma_max
    start = noise * (sigma / (1 + sigma**2) ** 0.5 if pipeline.scheduler.init_noise_sigma == 1 else 1)
    error = relative_error(ours(folder, settings, noise), theirs(pipeline, settings, start.astype(np.float32)))
    assert error < 1e-4, error


@pytest.mark.parametrize(("family", "steps"), [("sd1", 5), ("sd1", 1), ("xl", 5), ("xl", 1)])
@pytest.mark.parametrize("solver", ["euler", "ddim"])
def test_a_net_that_predicts_the_clean_picture_ends_where_diffusers_ends(
    solver: str, family: str, steps: int, tmp_path: Path
) -> None:
    """As the one-step SDXL-Lightning does, with the level of the last step as its start."""
    choice, scheduler, options = SOLVERS[solver]
    folder, noise = FAMILIES[family](tmp_path / family, 27), noise_for()
    kind = StableDiffusionXLPipeline if family == "xl" else StableDiffusionPipeline
    more: dict[str, Any] = {} if family == "xl" else {"safety_checker": None}
    pipeline = quiet(kind.from_pretrained(folder, **more))
    options = {**options, "prediction_type": "sample"} | ({"clip_sample": False} if solver == "ddim" else {})
    pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config, **options)
    settings = replace(SETTINGS, **choice, steps=steps)
    sigma = StableDiffusion(str(folder), float16=False).schedule.sigma_max
    start = noise * (sigma / (1 + sigma**2) ** 0.5 if solver == "ddim" else 1)
    wanted = theirs(pipeline, settings, start.astype(np.float32))
    assert relative_error(ours(folder, settings, noise, predicts="sample"), wanted) < 1e-5


@pytest.mark.parametrize("t", [999, 749, 500, 21, 0])
def test_the_clean_picture_that_is_predicted_is_diffusers_number_by_number(t: int) -> None:
    """pred_original_sample of both schedulers, elementwise, at the net's own input."""
    rng = np.random.default_rng(t)
    x, said = (rng.normal(size=(2, 4, 6, 8)).astype(np.float32) for _ in range(2))
    schedule = NoiseSchedule(prediction_type="sample")
    ours_ = Denoiser(lambda scaled, time: mx.array(said), schedule)(mx.array(x), schedule.sigmas[t])
    betas = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "prediction_type": "sample"}
    for scheduler in (EulerDiscreteScheduler(**betas), DDIMScheduler(**betas, clip_sample=False)):
        scheduler.set_timesteps(1000)
        if isinstance(scheduler, EulerDiscreteScheduler):
            scheduler.scale_model_input(torch.from_numpy(x), torch.tensor(float(t)))
        found = scheduler.step(torch.from_numpy(said), scheduler.timesteps[999 - t], torch.from_numpy(x))
        assert np.array_equal(np.array(ours_), found.pred_original_sample.numpy())


def test_guidance_rescale_is_diffusers(tmp_path: Path) -> None:
    folder, noise = FAMILIES["sd2"](tmp_path / "sd2", 22), noise_for()
    pipeline = quiet(StableDiffusionPipeline.from_pretrained(folder, safety_checker=None))
    pipeline.scheduler = EulerDiscreteScheduler.from_config(pipeline.scheduler.config, timestep_spacing="trailing")
    settings = replace(SETTINGS, sampler="euler", cfg=9.0, cfg_rescale=0.7)
    assert relative_error(ours(folder, settings, noise), theirs(pipeline, settings, noise)) < 1e-4


def test_a_net_that_is_told_the_guidance_ends_where_diffusers_ends(tmp_path: Path) -> None:
    """A latent consistency model's UNet: guidance is one of its inputs, and it runs once a step."""
    folder, noise = sd1(tmp_path / "lcm", 26, time_cond_proj_dim=16), noise_for()
    pipeline = quiet(StableDiffusionPipeline.from_pretrained(folder, safety_checker=None))
    pipeline.scheduler = EulerDiscreteScheduler.from_config(pipeline.scheduler.config, timestep_spacing="trailing")
    settings = replace(SETTINGS, sampler="euler", cfg=8.5)
    assert relative_error(ours(folder, settings, noise), theirs(pipeline, settings, noise)) < 1e-4


# diffusers leaves no layers out for a negative prompt, whatever clip_skip is: there we differ, as A1111 and ComfyUI do.
@pytest.mark.parametrize(("negative", "clip_skip"), [("", 0), ("", 1), ("fog", 0)])
def test_xl_ends_where_diffusers_ends(negative: str, clip_skip: int, tmp_path: Path) -> None:
    folder, noise = FAMILIES["xl"](tmp_path / "xl", 23), noise_for()
    pipeline = quiet(StableDiffusionXLPipeline.from_pretrained(folder))
    pipeline.scheduler = EulerDiscreteScheduler.from_config(pipeline.scheduler.config, timestep_spacing="trailing")
    settings = replace(SETTINGS, sampler="euler", spacing="trailing", negative_prompt=negative, clip_skip=clip_skip)
    wanted = theirs(pipeline, settings, noise, clip_skip=clip_skip or None)
    assert relative_error(ours(folder, settings, noise), wanted) < 1e-4


@pytest.fixture
def given_noise(monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """The one noise of diffusers' image pipelines, and the mean instead of a sample of the encoder's distribution."""
    noise = noise_for(1)
    tensor = torch.from_numpy(noise).permute(0, 3, 1, 2)
    monkeypatch.setattr(DiagonalGaussianDistribution, "sample", lambda self, generator=None: self.mode())
    for family in ("stable_diffusion", "stable_diffusion_xl"):
        for way in ("img2img", "inpaint"):
            module = f"diffusers.pipelines.{family}.pipeline_{family}_{way}"
            monkeypatch.setattr(f"{module}.randn_tensor", lambda shape, **_: tensor.expand(shape))
    return noise


def picture() -> np.ndarray:
    return np.random.default_rng(6).integers(0, 256, (48, 64, 3)).astype(np.uint8)


@pytest.mark.parametrize("strength", [0.35, 0.7, 1.0])
def test_image_to_image_ends_where_diffusers_ends(strength: float, tmp_path: Path, given_noise: np.ndarray) -> None:
    folder = FAMILIES["sd1"](tmp_path / "sd1", 24)
    pipeline = quiet(StableDiffusionImg2ImgPipeline.from_pretrained(folder, safety_checker=None))
    pipeline.scheduler = EulerDiscreteScheduler.from_config(pipeline.scheduler.config, timestep_spacing="trailing")
    wanted = pipeline(
        prompt=SETTINGS.prompt,
        negative_prompt=SETTINGS.negative_prompt,
        image=Image.fromarray(picture()),
        strength=strength,
        num_inference_steps=10,
        guidance_scale=SETTINGS.cfg,
        output_type="latent",
    ).images.permute(0, 2, 3, 1)
    settings = replace(SETTINGS, sampler="euler", steps=10, strength=strength, strength_mode="skip")
    image = mx.array(picture().astype(np.float32) / 127.5 - 1)
    assert relative_error(ours(folder, settings, given_noise, image=image), wanted.numpy()) < 1e-4


def test_repainting_with_nine_channels_ends_where_diffusers_ends(tmp_path: Path, given_noise: np.ndarray) -> None:
    folder = FAMILIES["inpainting"](tmp_path / "inpainting", 25)
    pipeline = quiet(StableDiffusionInpaintPipeline.from_pretrained(folder, safety_checker=None))
    pipeline.scheduler = EulerDiscreteScheduler.from_config(pipeline.scheduler.config, timestep_spacing="trailing")
    mask = np.zeros((48, 64), dtype=np.uint8)
    mask[8:40, 24:] = 255
    wanted = pipeline(
        prompt=SETTINGS.prompt,
        negative_prompt=SETTINGS.negative_prompt,
        image=Image.fromarray(picture()),
        mask_image=Image.fromarray(mask),
        width=64,
        height=48,
        strength=1.0,
        num_inference_steps=5,
        guidance_scale=SETTINGS.cfg,
        output_type="latent",
    ).images.permute(0, 2, 3, 1)
    # diffusers' inpainting at strength 1, and only there, starts from noise alone, ours inside the mask alone: the
    # noise that makes up for it.
    settings = replace(SETTINGS, sampler="euler", strength=1.0, image_weight=0.0)
    image = mx.array(picture().astype(np.float32) / 127.5 - 1)
    x0 = np.array(StableDiffusion(str(folder), float16=False).encode(image))
    kept = 1 - mask[::8, ::8, None] / 255
    noise = (given_noise - kept * x0 / NoiseSchedule().sigma_max).astype(np.float32)
    latents = ours(folder, settings, noise, image=image, mask=mx.array(mask / 255).astype(mx.float32))
    assert relative_error(latents, wanted.numpy()) < 1e-4


def test_diffusers_loads_the_demo_and_paints_the_same_picture() -> None:
    pipeline = quiet(DiffusionPipeline.from_pretrained(DEMO, torch_dtype=torch.float32))
    assert type(pipeline) is StableDiffusionPipeline
    pipeline.scheduler = EulerDiscreteScheduler.from_config(pipeline.scheduler.config, timestep_spacing="trailing")
    noise = np.random.default_rng(8).normal(size=(2, 16, 16, 4)).astype(np.float32)
    settings = Settings(
        prompt="a house by a river at sunset", steps=10, cfg=4.0, sampler="euler", width=128, height=128
    )
    latents = ours(DEMO, settings, noise)
    assert relative_error(latents, theirs(pipeline, settings, noise)) < 1e-3
    with torch.no_grad():
        scaled = torch.from_numpy(latents).permute(0, 3, 1, 2) / pipeline.vae.config.scaling_factor
        decoded = pipeline.vae.decode(scaled).sample.permute(0, 2, 3, 1).numpy() / 2 + 0.5
    pictures = np.array(StableDiffusion(str(DEMO), float16=False).decode(mx.array(latents)))
    assert np.abs(pictures - decoded.clip(0, 1)).max() < 1e-3
