"""What another tool's picture is made like."""

from typing import Any

import pytest

from stable_diffusion.exchange.likeness import likeness
from stable_diffusion.settings import Settings

A1111, COMFY, SWARM, INVOKE = "AUTOMATIC1111's", "ComfyUI's", "SwarmUI's", "InvokeAI's"
FORGE, SDNEXT, CPP = "Forge's", "SD.Next's", "stable-diffusion.cpp's"
SYNTAX: dict[str, dict[str, str]] = {
    A1111: {"prompt_syntax": "a1111"},
    COMFY: {"prompt_syntax": "comfyui"},
    INVOKE: {},
    **{tool: {"prompt_syntax": "a1111"} for tool in (FORGE, SDNEXT, CPP)},
}


@pytest.mark.parametrize(
    ("tool", "said", "found", "unknown"),
    [
        (A1111, {"sampler": "Euler"},
         {"noise_source": "nvidia", "start_scale": "sigma", "spacing": "uniform"}, ["NVIDIA card"]),
        (A1111, {"sampler": "DPM++ 2M Karras", "noise_source": "torch"},
         {"noise_source": "torch", "start_scale": "sigma", "spacing": "karras"}, []),
        (A1111, {"sampler": "DDIM", "noise_source": "torch"},
         {"noise_source": "torch", "start_scale": "unit", "spacing": "leading"}, ["last step"]),
        (A1111, {"sampler": "DPM++ SDE", "noise_source": "nvidia", "start_scale": "unit"},
         {"noise_source": "nvidia", "start_scale": "unit", "spacing": "uniform"}, ["Brownian"]),
        (A1111, {"sampler": "Euler a", "noise_source": "torch", "strength": 0.5},
         {"noise_source": "torch", "start_scale": "sigma", "spacing": "uniform"}, ["encoder"]),
        (COMFY, {"sampler": "euler", "spacing": "uniform"},
         {"noise_source": "torch", "start_scale": "unit", "discretize": "timestep"}, []),
        (COMFY, {"sampler": "euler", "spacing": "ddim_uniform", "of_batch": "1/4"},
         {"noise_source": "torch", "start_scale": "sigma", "discretize": "timestep"}, ["taken for 1/4"]),
        (COMFY, {"sampler": "euler_ancestral", "spacing": "karras"},
         {"noise_source": "torch", "start_scale": "unit", "discretize": "timestep", "step_noise_source": "nvidia"},
         ["--step-seed-delta 1"]),
        (COMFY, {"sampler": "euler", "spacing": "trailing", "steps": 20},
         {"noise_source": "torch", "start_scale": "unit", "discretize": "timestep"}, []),
        (COMFY, {"sampler": "euler", "spacing": "trailing", "steps": 30},
         {"noise_source": "torch", "start_scale": "unit", "discretize": "timestep"}, ["Simple"]),
        (COMFY, {"sampler": "euler"},
         {"noise_source": "torch", "start_scale": "unit", "discretize": "timestep", "spacing": "uniform"}, ["normal"]),
        (A1111, {"sampler": "Euler", "spacing": "beta", "noise_source": "torch"},
         {"noise_source": "torch", "start_scale": "sigma", "spacing": "beta"}, ["Beta levels"]),
        (A1111, {"sampler": "Euler", "spacing": "kl_optimal", "noise_source": "torch"},
         {"noise_source": "torch", "start_scale": "sigma", "spacing": "kl_optimal"}, ["KL Optimal levels"]),
        (FORGE, {"sampler": "Euler", "noise_source": "torch"},
         {"noise_source": "torch", "start_scale": "sigma", "spacing": "uniform"}, []),
        (CPP, {"sampler": "euler_a", "noise_source": "nvidia"},
         {"noise_source": "nvidia", "start_scale": "sigma", "spacing": "uniform"}, []),
        (CPP, {"sampler": "euler_a"},
         {"noise_source": "nvidia", "start_scale": "sigma", "spacing": "uniform"}, ["--rng cuda"]),
        (SDNEXT, {"sampler": "Euler a", "noise_source": "torch"},
         {"noise_source": "torch", "start_scale": "sigma", "spacing": "linspace", "discretize": "none"},
         ["leading with XL", "own parser"]),
        (SDNEXT, {"sampler": "DPM++ 2M", "spacing": "karras"},
         {"noise_source": "nvidia", "start_scale": "unit", "spacing": "karras", "discretize": "timestep"},
         ["NVIDIA card", "own parser"]),
        (INVOKE, {"sampler": "dpmpp_2m", "spacing": "karras", "seed": 5},
         {"noise_source": "torch", "start_scale": "unit", "spacing": "karras", "discretize": "timestep"}, []),
        (INVOKE, {"sampler": "dpmpp_2m", "spacing": "karras", "seed": 5, "prompt": "a (red)1.3 house++"},
         {"noise_source": "torch", "start_scale": "unit", "spacing": "karras", "discretize": "timestep"}, ["compel"]),
        (INVOKE, {"sampler": "euler", "seed": 5},
         {"noise_source": "torch", "start_scale": "sigma", "spacing": "linspace", "discretize": "none"},
         ["leading with XL"]),
        (INVOKE, {"sampler": "euler_a", "spacing": "karras", "seed": 5, "noise_source": "nvidia"},
         {"noise_source": "nvidia", "start_scale": "sigma", "spacing": "karras", "discretize": "none",
          "step_noise_source": "nvidia", "step_seed_delta": 2**32 - 1 - 10}, ["NVIDIA card"]),
    ],
)  # fmt: skip
def test_a_tools_ways_are_chosen_and_what_is_not_known_is_said(
    tool: str, said: dict[str, Any], found: dict[str, Any], unknown: list[str]
) -> None:
    alike = likeness(tool, {"seed": 5, **said})
    assert alike is not None and alike.settings == found | SYNTAX[tool]
    assert len(alike.unknown) == len(unknown)
    for words, sentence in zip(unknown, alike.unknown, strict=True):
        assert words in sentence and words in str(alike)
    Settings(**{"seed": 5, **said, **alike.settings})


@pytest.mark.parametrize(
    ("tool", "sampler", "steps", "strength", "laid", "left_out"),
    [
        (A1111, "Euler", 20, 0.6, 20, 7),  # 13 steps: the twelve of 20, and one more
        (A1111, "DPM++ 2M Karras", 30, 0.75, 30, 7),
        (A1111, "Euler", 20, 1.0, 20, 0),
        (A1111, "DDIM", 20, 0.6, 20, 8),
        (COMFY, "euler", 20, 0.5, 40, 20),
        (COMFY, "euler", 20, 0.6, 33, 13),
        (SWARM, "euler", 20, 0.6, 20, 8),
    ],
)
def test_a_tool_leaves_out_the_steps_that_it_leaves_out(
    tool: str, sampler: str, steps: int, strength: float, laid: int, left_out: int
) -> None:
    alike = likeness(tool, {"seed": 5, "sampler": sampler, "steps": steps, "strength": strength})
    assert alike is not None
    s = Settings(**{"seed": 5, "sampler": sampler, **alike.settings})
    assert (s.strength, s.steps, s.start_step) == (None, laid, left_out)


def test_what_no_steps_could_be_stays_a_strength() -> None:
    for said in ({"strength": 1e-5, "steps": 20}, {"strength": 0.0, "steps": 20}, {"strength": 0.5}):
        alike = likeness(COMFY, {"seed": 5, "sampler": "euler", **said})
        assert alike is not None and "strength" not in alike.settings


def test_of_other_tools_nothing_is_claimed() -> None:
    assert likeness("NovelAI's", {"seed": 5, "sampler": "euler"}) is None
