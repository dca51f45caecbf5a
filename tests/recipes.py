"""Settings with a value of their own everywhere, and JSON as strict readers take it."""

import json
import math
from dataclasses import replace
from typing import Any

import mlx.core as mx
import numpy as np

from stable_diffusion.pipeline.masks import packed
from stable_diffusion.settings import CompleteSettings

MASK = packed(mx.array(np.random.default_rng(0).uniform(size=(6, 8)).astype(np.float32)))


ONE = CompleteSettings(
    prompt='a "house"\nby the sea, 海 🏠', negative_prompt="fog\\rain", seed=2**62, n_images=3, width=64, height=48,
    steps=4, cfg=0.1 + 0.2, cfg_rescale=0.7, sampler="unipc:order=3,variant=bh1", spacing="karras:rho=5",
    sigmas=(14.6, 1 / 3, 0.0), discretize="timestep", eta=0.5, s_churn=0.25, s_tmin=1e-300, s_tmax=1e300, s_noise=1.1,
    strength=0.6, strength_mode="skip", image_weight=0.5, start="inversion", source_prompt="a pencil sketch",
    perturb=((1, 0.5), (2**62, 1 / 3, MASK), (3, 0.0)), clip_skip=1, noise_source="torch", start_scale="unit",
    of_batch="2/4", step_noise_source="nvidia", step_seed_delta=31337,
    cut_prompt=True, variation_seed=2**62, variation_strength=0.25, deep_cache=3,
)  # fmt: skip


OTHER = replace(
    ONE, prompt_syntax="a1111", cut_prompt=False, sigmas=None, times=(999.0, 0.5), strength=None, start_step=2,
    s_tmax=math.inf,
)  # fmt: skip


PLAIN = CompleteSettings(
    prompt="a house", width=64, height=48, steps=4, cfg=3.0, cfg_rescale=0.0, sampler="euler", spacing="karras"
)


def strict(text: str) -> Any:
    """JSON as other readers take it, without NaN and Infinity."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)
