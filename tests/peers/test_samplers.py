"""Samplers against k-diffusion, and against diffusers where k-diffusion has none: same denoiser, same noise."""

from collections.abc import Iterator
from typing import Any

import k_diffusion_source
import mlx.core as mx
import numpy as np
import pytest
import torch
from diffusers import (
    DDPMScheduler,
    DEISMultistepScheduler,
    LCMScheduler,
    TCDScheduler,
    UniPCMultistepScheduler,
)

from stable_diffusion import SAMPLERS, SPACINGS
from stable_diffusion.diffusion.schedule import NoiseSchedule
from stable_diffusion.diffusion.walk import walk
from tests.nets import relative_error

sampling = k_diffusion_source.load()
SCHEDULE = NoiseSchedule()
SHAPE = (2, 6, 5, 4)

K_DIFFUSION: dict[str, tuple[str, dict[str, Any]]] = {
    "ddim": ("sample_euler", {}),
    "dpm2": ("sample_dpm_2", {}),
    "dpm2_a": ("sample_dpm_2_ancestral", {}),
    "dpmpp_2m": ("sample_dpmpp_2m", {}),
    "dpmpp_2m_sde": ("sample_dpmpp_2m_sde", {"solver_type": "midpoint"}),
    "dpmpp_2m_sde_heun": ("sample_dpmpp_2m_sde", {"solver_type": "heun"}),
    "dpmpp_2s_a": ("sample_dpmpp_2s_ancestral", {}),
    "dpmpp_3m_sde": ("sample_dpmpp_3m_sde", {}),
    "dpmpp_sde": ("sample_dpmpp_sde", {}),
    "euler": ("sample_euler", {}),
    "euler_a": ("sample_euler_ancestral", {}),
    "heun": ("sample_heun", {}),
    "lms": ("sample_lms", {}),
}


def estimate(x: Any, sigma: float, sin: Any) -> Any:
    """A denoiser that is smooth, not linear, and not the same for every pixel."""
    return 0.6 * sin(x / (1 + sigma**2) ** 0.5) + x * 0.3 / (1 + sigma**2)


class Draws:
    """The noises of a run: the other side takes them one after the other, we by step and draw."""

    def __init__(self, sampler: str) -> None:
        self.per_step = 2 if sampler == "dpmpp_sde" else 1
        self.all = np.random.default_rng(4).normal(size=(64, *SHAPE))
        self.taken = 0

    def theirs(self, *_: object, **__: object) -> torch.Tensor:
        self.taken += 1
        return torch.from_numpy(self.all[self.taken - 1])

    def ours(self, i: int, k: int) -> mx.array:
        assert k < self.per_step
        return mx.array(self.all[self.per_step * i + k].astype(np.float32))


def both(
    sampler: str, sigmas: tuple[float, ...], monkeypatch: pytest.MonkeyPatch, **options: float
) -> tuple[np.ndarray, np.ndarray]:
    name, more = K_DIFFUSION[sampler]
    start = np.random.default_rng(3).normal(size=SHAPE) * sigmas[0]
    draws = Draws(sampler)
    monkeypatch.setattr(torch, "randn_like", draws.theirs)
    if "sde" in sampler or sampler.endswith("_a"):
        more = {**more, "noise_sampler": draws.theirs}
    theirs = getattr(sampling, name)(
        lambda x, sigma: estimate(x, float(sigma[0]), torch.sin),
        torch.from_numpy(start),
        torch.tensor(sigmas, dtype=torch.float64),
        disable=True,
        **more,
        **options,
    )
    walker = SAMPLERS[sampler](
        mx.array(start.astype(np.float32)),
        sigmas,
        draws.ours,
        **options,
    )
    *_, step = walk(lambda x, sigma: estimate(x, sigma, mx.sin), walker)
    return np.array(step.x), theirs.numpy()


@pytest.mark.parametrize("spacing", ["karras", "trailing"])
@pytest.mark.parametrize("n", [1, 2, 7, 20])
@pytest.mark.parametrize("sampler", K_DIFFUSION)
def test_samplers_end_where_k_diffusions_end(
    sampler: str, n: int, spacing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if n == 1 and sampler in ("dpmpp_2m_sde", "dpmpp_2m_sde_heun", "dpmpp_3m_sde"):
        with pytest.raises(UnboundLocalError):  # k-diffusion's crash at one step; ours is tested in tests/
            both(sampler, SPACINGS[spacing](SCHEDULE, n), monkeypatch)
        return
    ours, theirs = both(sampler, SPACINGS[spacing](SCHEDULE, n), monkeypatch)
    assert relative_error(ours, theirs) < 1e-5


@pytest.mark.parametrize(
    ("sampler", "options"),
    [
        ("euler", {"s_churn": 3.0}),
        ("heun", {"s_churn": 3.0, "s_tmin": 0.3, "s_tmax": 6.0, "s_noise": 1.01}),
        ("dpm2", {"s_churn": 100.0}),
        ("euler_a", {"eta": 0.6, "s_noise": 0.9}),
        ("dpm2_a", {"eta": 0.6, "s_noise": 0.9}),
        ("dpmpp_2s_a", {"eta": 0.6, "s_noise": 0.9}),
        ("dpmpp_sde", {"eta": 0.6, "s_noise": 0.9}),
        ("dpmpp_2m_sde", {"eta": 0.6, "s_noise": 0.9}),
        ("dpmpp_2m_sde_heun", {"eta": 0.6, "s_noise": 0.9}),
        ("dpmpp_3m_sde", {"eta": 0.6, "s_noise": 0.9}),
        ("lms", {"order": 3}),
    ],
)
def test_their_options_are_k_diffusions(
    sampler: str, options: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = both(sampler, SPACINGS["karras"](SCHEDULE, 9), monkeypatch, **options)
    assert relative_error(ours, theirs) < 1e-5


@pytest.mark.parametrize("n", [5, 7, 10, 20])
def test_spacings_are_k_diffusions(n: int) -> None:
    low, high = SCHEDULE.sigma_min, SCHEDULE.sigma_max
    assert SPACINGS["karras"](SCHEDULE, n) == pytest.approx(sampling.get_sigmas_karras(n, low, high).tolist(), rel=1e-5)
    theirs = sampling.get_sigmas_exponential(n, low, high).tolist()
    assert SPACINGS["exponential"](SCHEDULE, n) == pytest.approx(theirs, rel=1e-5)


# diffusers: schedulers in variance-preserving form, told the noise that the estimate implies

BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
DIFFUSERS: dict[str, tuple[str, Any, dict[str, Any], dict[str, Any]]] = {
    "unipc": ("unipc", UniPCMultistepScheduler, {"solver_type": "bh2"}, {}),
    "unipc bh1": ("unipc", UniPCMultistepScheduler, {"solver_type": "bh1"}, {"variant": "bh1"}),
    "unipc 3": ("unipc", UniPCMultistepScheduler, {"solver_order": 3}, {"order": 3}),
    "unipc 3 bh1": (
        "unipc",
        UniPCMultistepScheduler,
        {"solver_order": 3, "solver_type": "bh1"},
        {"order": 3, "variant": "bh1"},
    ),
    "deis 2": ("deis", DEISMultistepScheduler, {"solver_order": 2}, {"order": 2}),
    "deis 3": ("deis", DEISMultistepScheduler, {"solver_order": 3}, {"order": 3}),
    "ddpm": ("ddpm", DDPMScheduler, {"clip_sample": False}, {}),
    "tcd": ("tcd", TCDScheduler, {}, {"eta": 0.3}),
    "lcm": ("lcm", LCMScheduler, {}, {}),
}


def diffusers_steps(
    scheduler: Any, n: int, start: np.ndarray, draws: Draws, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[float, np.ndarray]]:
    """The level and the latents, in variance-exploding form, before the first and after each step."""

    def sigma(t: int) -> float:
        return SCHEDULE.sigmas[t] if t >= 0 else 0.0

    for module in ("ddpm", "lcm", "tcd"):
        monkeypatch.setattr(f"diffusers.schedulers.scheduling_{module}.randn_tensor", draws.theirs)
    if isinstance(scheduler, TCDScheduler | LCMScheduler):
        scheduler.set_timesteps(n, original_inference_steps=50)
    else:
        scheduler.set_timesteps(n)
    times = [int(t) for t in scheduler.timesteps]
    x = torch.from_numpy(start) / (1 + sigma(times[0]) ** 2) ** 0.5
    yield sigma(times[0]), start
    for t, after in zip(scheduler.timesteps, [*times[1:], -1], strict=True):
        s = sigma(int(t))
        y = x * (1 + s**2) ** 0.5
        eps = (y - estimate(y, s, torch.sin)) / s
        more = {"eta": 0.3} if isinstance(scheduler, TCDScheduler) else {}
        x = scheduler.step(eps, t, x, **more).prev_sample
        yield sigma(after), x.numpy() * (1 + sigma(after) ** 2) ** 0.5


@pytest.mark.parametrize("n", [1, 2, 4, 10, 20])
@pytest.mark.parametrize("case", DIFFUSERS)
def test_samplers_walk_where_diffusers_walk(case: str, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sampler, kind, theirs, options = DIFFUSERS[case]
    spaced = {} if sampler in ("tcd", "lcm") else {"timestep_spacing": "trailing"}
    ends = {"final_sigmas_type": "zero"} if sampler == "unipc" else {}
    scheduler = kind(**BETAS, **spaced, **ends, **theirs)
    draws = Draws(sampler)
    start = np.random.default_rng(3).normal(size=SHAPE) * 14.6
    path = list(diffusers_steps(scheduler, n, start, draws, monkeypatch))
    walker = SAMPLERS[sampler](
        mx.array(start.astype(np.float32)),
        tuple(sigma for sigma, _ in path),
        draws.ours,
        **options,
    )
    steps = list(walk(lambda x, sigma: estimate(x, sigma, mx.sin), walker))
    # In diffusers deis, lcm and tcd end above noise level 0, where their last step is another one; bh1 ends in NaN.
    compared = n - 1 if sampler in ("deis", "lcm", "tcd") or "bh1" in case else n
    for step, (_, wanted) in zip(steps[:compared], path[1:], strict=False):
        # diffusers' own levels are float32, which the differences of logarithms in DEIS enlarge.
        assert relative_error(np.array(step.x), wanted) < (2e-5 if sampler == "deis" else 1e-5), step.index
