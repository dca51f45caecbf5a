"""What other tools do that their files do not say: whose noise they draw, how they scale it, which times they tell."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..diffusion.aliases import sampler_name
from ..diffusion.samplers import sampler_named
from ..settings import COUNT

# Samplers whose noise, in k-diffusion, is a Brownian tree's of torchsde.
_OF_A_TREE = {"dpmpp_sde", "dpmpp_2m_sde", "dpmpp_2m_sde_heun", "dpmpp_3m_sde"}
_OF_TIMES = {"ddim", "unipc"}  # AUTOMATIC1111's own, in variance-preserving form
# diffusers' samplers in variance-exploding form, which leave the times of Karras's levels fractional.
_EXPLODING = {"euler", "euler_a", "heun", "lms", "dpm2", "dpm2_a"}
# Levels that AUTOMATIC1111 lays in another way than those that have their names here.
_LEVELS = {
    "beta": "its Beta levels, quantiles of sigma (here of time, as ComfyUI's)",
    "kl_optimal": "its KL Optimal levels, which end at 0.029 of the noise (here none is left)",
}
_TREE = "the noise that its sampler adds, which is a Brownian tree's (here it is drawn on from the start's)"
_DEVICE = "on what it sampled: taken for an NVIDIA card, whose random numbers the steps get"
_ENCODER = "its sample of what the encoder made of the picture (here it is the mean)"


@dataclass(frozen=True)
class Likeness:
    """What makes a picture here like the other tool's."""

    settings: dict[str, Any]
    unknown: list[str] = field(default_factory=list)  # what its file does not say, and what is taken for it
    by_model: tuple[str, ...] = ()  # settings that mean another thing with each family: see jobs.translation

    def __str__(self) -> str:
        """In a line: the options, and what is not known."""
        options = [f"--{name.replace('_', '-')} {value}" for name, value in self.settings.items() if value is not None]
        known = f"as it does it: {' '.join(options)}" if options else "as this package does it"
        return f"{known}; not known: {'; '.join(self.unknown)}" if self.unknown else known


@dataclass(frozen=True)
class _Said:
    """What is known of the run."""

    settings: Mapping[str, Any]
    sampler: str  # our name, without options
    spacing: str | None
    adds_noise: bool


def likeness(tool: str, settings: Mapping[str, Any]) -> Likeness | None:
    """How a tool makes a picture of settings that were read from its file; None: that is not known of this tool."""
    if tool not in _TOOLS:
        return None
    name, brought = sampler_name(settings.get("sampler", "euler"))
    plain = name.partition(":")[0]
    noisy = settings.get("eta", 1 if sampler_named(name).noise else 0) or settings.get("s_churn", 0)
    said = _Said(settings, plain, settings.get("spacing") or brought, bool(noisy))
    found = _TOOLS[tool](said)
    if tool in _PARTLY:
        found.settings.update(_PARTLY[tool](said))
    if settings.get("strength") is not None:
        found.unknown.append(_ENCODER)
    return found


def _a1111(said: _Said) -> Likeness:
    vp = said.sampler == "ddim"
    settings = {
        "noise_source": said.settings.get("noise_source", "nvidia"),
        "start_scale": said.settings.get("start_scale", "unit" if vp else "sigma"),
        "spacing": said.spacing or ("leading" if vp else "uniform"),  # as it was before it said so
        "prompt_syntax": "a1111",
    }
    unknown = []
    if "noise_source" not in said.settings:
        unknown.append("whether it ran on an NVIDIA card (--noise-source torch is for a Mac)")
    if said.adds_noise and said.sampler in _OF_A_TREE:
        unknown.append(_TREE)
    if said.sampler == "ddim":
        unknown.append("its last step, which leaves 0.029 of the noise (here none is left)")
    if said.sampler == "unipc":
        unknown.append("its way of UniPC, which chooses times of its own")
    if (levels := str(said.spacing).partition(":")[0]) in _LEVELS:
        unknown.append(_LEVELS[levels])
    return Likeness(settings, [*unknown, *_simple(said)])


def _cpp(said: _Said) -> Likeness:
    """stable-diffusion.cpp draws as AUTOMATIC1111's NV does, and reads prompts as it does."""
    settings = {
        "noise_source": said.settings.get("noise_source", "nvidia"),
        "start_scale": "sigma",
        "spacing": said.spacing or "uniform",
        "prompt_syntax": "a1111",
    }
    unknown = [] if "noise_source" in said.settings else ["its random numbers, taken for those of its --rng cuda"]
    return Likeness(settings, unknown)


def _comfy(said: _Said) -> Likeness:
    settings: dict[str, Any] = {
        "noise_source": "torch",
        "start_scale": "sigma" if said.spacing == "ddim_uniform" else "unit",  # which does not start at the top
        "discretize": "timestep",
        "prompt_syntax": "comfyui",
    }
    unknown = []
    if said.spacing is None:  # a text that names its sampler alone
        settings["spacing"] = "uniform"
        unknown.append("its scheduler, taken for normal")
    if said.adds_noise and said.sampler in _OF_A_TREE:
        unknown.append(_TREE)
    elif said.adds_noise:
        settings["step_noise_source"] = "nvidia"
        unknown.append(f"{_DEVICE} (--step-noise-source torch --step-seed-delta 1 is for a CPU)")
    if (place := said.settings.get("of_batch")) is not None:
        unknown.append(f"which of its batch it was, taken for {place} (--of-batch says which)")
    return Likeness(settings, [*unknown, *_simple(said)])


def _simple(said: _Said) -> list[str]:
    """Its "simple" rounds times down where `trailing` rounds them: the same where 1000 is a multiple of the steps."""
    steps = said.settings.get("steps") or 1
    return ["its Simple levels, some of them a thousandth of the time away"] * (
        said.spacing == "trailing" and 1000 % steps > 0
    )


def _left_out(steps: int, first: int) -> dict[str, Any]:
    """Image-to-image that leaves out the first of all steps, instead of a strength as it is meant here."""
    return {"strength": None, "steps": steps, "start_step": first}


def _a1111_partly(said: _Said) -> dict[str, Any]:
    """Of all steps it runs as many as the strength says, and one more with samplers that are not in VP form."""
    strength, steps = said.settings.get("strength"), said.settings.get("steps")
    if strength is None or steps is None:
        return {}
    run = int(min(strength, 0.999) * steps) + (said.sampler not in _OF_TIMES)
    return _left_out(steps, steps - run)


def _comfy_partly(said: _Said) -> dict[str, Any]:
    """It lays more steps, so that as many as were asked for are left to run."""
    strength, steps = said.settings.get("strength"), said.settings.get("steps")
    if not strength or steps is None or COUNT.fault(int(steps / strength)) is not None:
        return {}
    return _left_out(int(steps / strength), int(steps / strength) - steps)


def _swarm_partly(said: _Said) -> dict[str, Any]:
    strength, steps = said.settings.get("strength"), said.settings.get("steps")
    return {} if strength is None or steps is None else _left_out(steps, round(steps * (1 - strength)))


def _diffusers(said: _Said) -> Likeness:
    """How diffusers scales a start, and lays levels."""
    exploding = said.sampler in _EXPLODING
    spacings = {"ddim": "leading", "ddpm": "leading", "tcd": "lcm", "lcm": "lcm"}
    settings: dict[str, Any] = {
        "noise_source": said.settings.get("noise_source", "torch"),
        "start_scale": "sigma" if exploding else "unit",
        "spacing": said.spacing or spacings.get(said.sampler, "linspace"),
        "discretize": "timestep" if said.spacing and not exploding else "none",
    }
    if said.spacing is not None:
        return Likeness(settings)
    guess = "its model's own spacing, taken for linspace, or leading with XL, where its scheduler's config names none"
    return Likeness(settings, [guess], ("own_spacing",))


def _invoke(said: _Said) -> Likeness:
    found = _diffusers(said)
    if re.search(r"[+-]{1,9}(?:\s|,|$)|\)[\d.+-]", said.settings.get("prompt", "")):
        found.unknown.insert(0, "the weights of its prompt, which are compel's")
    if said.adds_noise and said.sampler == "dpmpp_sde":
        found.unknown.append(_TREE)
    elif said.adds_noise:
        seed = said.settings.get("seed", 0)
        found.settings["step_noise_source"] = "nvidia"
        found.settings["step_seed_delta"] = (seed ^ 0xFFFFFFFF) - seed  # all bits of its seed the other way round
        found.unknown.append(_DEVICE)
    return found


def _sdnext(said: _Said) -> Likeness:
    """SD.Next draws as diffusers does, each picture with one generator that goes on in the steps."""
    found = _diffusers(said)
    found.settings.update(noise_source=said.settings.get("noise_source", "nvidia"), prompt_syntax="a1111")
    if "noise_source" not in said.settings:
        found.unknown.append("whether its generator was an NVIDIA card's (--noise-source torch is for a CPU's)")
    found.unknown.append("the weights of its prompt, which its own parser reads")
    if said.adds_noise and said.sampler == "dpmpp_sde":
        found.unknown.append(_TREE)
    return found


def _own(said: _Said) -> Likeness:
    return Likeness({}, ["its recipe, which stands no longer in its file: how its prompt was read, what perturbed it"])


_PARTLY: dict[str, Callable[[_Said], dict[str, Any]]] = {
    "AUTOMATIC1111's": _a1111_partly,
    "ComfyUI's": _comfy_partly,
    "Forge's": _a1111_partly,
    "Stability Matrix's": _comfy_partly,
    "stable-diffusion.cpp's": _a1111_partly,
    "SwarmUI's": _swarm_partly,
}
_TOOLS: dict[str, Callable[[_Said], Likeness]] = {
    "AUTOMATIC1111's": _a1111,
    "Forge's": _a1111,
    "ComfyUI's": _comfy,
    "Stability Matrix's": _comfy,
    "SwarmUI's": _comfy,
    "InvokeAI's": _invoke,
    "SD.Next's": _sdnext,
    "stable-diffusion.cpp's": _cpp,
    "this package's": _own,
}
