"""The names that AUTOMATIC1111, ComfyUI and diffusers have for samplers and spacings."""

from .registry import unknown
from .samplers import SAMPLERS
from .spacing import SPACINGS

# AUTOMATIC1111's names, as it writes them.
A1111_SAMPLERS = {
    "Euler": "euler",
    "Euler a": "euler_a",
    "LMS": "lms",
    "Heun": "heun",
    "DPM2": "dpm2",
    "DPM2 a": "dpm2_a",
    "DPM++ 2S a": "dpmpp_2s_a",
    "DPM++ 2M": "dpmpp_2m",
    "DPM++ SDE": "dpmpp_sde",
    "DPM++ 2M SDE": "dpmpp_2m_sde",
    "DPM++ 2M SDE Heun": "dpmpp_2m_sde_heun",
    "DPM++ 3M SDE": "dpmpp_3m_sde",
    "Restart": "restart",
    "DDIM": "ddim",
    "UniPC": "unipc:order=3,variant=bh1",  # as A1111 and ComfyUI set it; our "unipc" is the authors' order 2, bh2
    "LCM": "lcm",
}
A1111_SPACINGS = {
    "Align Your Steps": "align_your_steps",
    "Beta": "beta",
    "DDIM": "ddim_uniform",
    "Exponential": "exponential",
    "Karras": "karras",
    "KL Optimal": "kl_optimal",
    "Normal": "uniform",
    "SGM Uniform": "sgm_uniform",
    "Simple": "trailing",
}

# All others, in lower case, with single spaces. What is not here either is looked up by its words: see `sampler_name`.
_SAMPLER_WORDS = {name.lower(): ours for name, ours in A1111_SAMPLERS.items()} | {
    # ComfyUI
    "euler ancestral": "euler_a",
    "dpm 2": "dpm2",
    "dpm 2 ancestral": "dpm2_a",
    "dpmpp 2s ancestral": "dpmpp_2s_a",
    "uni pc": "unipc:order=3,variant=bh1",
    "uni pc bh2": "unipc:order=3,variant=bh2",
    # InvokeAI
    "kdpm 2": "dpm2",
    "kdpm 2 a": "dpm2_a",
    # diffusers
    "eulerdiscrete": "euler",
    "eulerancestraldiscrete": "euler_a",
    "heundiscrete": "heun",
    "kdpm2discrete": "dpm2",
    "kdpm2ancestraldiscrete": "dpm2_a",
    "lmsdiscrete": "lms",
    "ddpm": "ddpm",
    "dpmsolvermultistep": "dpmpp_2m",
    "dpmsolversde": "dpmpp_sde",
    "unipcmultistep": "unipc",
    "deismultistep": "deis",
    "tcd": "tcd",
}
_SPACING_WORDS = {name.lower(): ours for name, ours in A1111_SPACINGS.items()} | {
    "ddim uniform": "ddim_uniform",
    "ays": "align_your_steps",
    "ays xl": "align_your_steps_xl",
}

# Spacings that tools write behind a sampler's name, the longest first: "Euler a SGM Uniform", "euler_ddim_uniform".
_SUFFIXES = sorted({*_SPACING_WORDS, *(name.replace("_", " ") for name in SPACINGS)}, key=len, reverse=True)


def _words(name: str) -> str:
    return " ".join(name.lower().replace("_", " ").split())


def spacing_name(name: str) -> str:
    """Our name of a spacing, options and all. Raises ValueError that names the nearest ones."""
    word, colon, options = name.partition(":")
    if word in SPACINGS:
        return name
    ours = _SPACING_WORDS.get(_words(word)) or _words(word).replace(" ", "_")
    if ours not in SPACINGS:
        raise ValueError(unknown("spacing", word, SPACINGS))
    return ours + colon + options


def sampler_name(name: str) -> tuple[str, str | None]:
    """Our name of a sampler, options and all, and the spacing that its name brings along, if it does.

    "DPM++ 2M Karras" is "dpmpp_2m", and brings "karras"; any other spacing may stand there too. Raises ValueError that
    names the nearest ones.
    """
    word, colon, options = name.partition(":")
    if word in SAMPLERS:
        return name, None
    words = _words(word).removesuffix("scheduler").removeprefix("k ").removeprefix("sample ")
    suffix = "" if _sampler(words) else next((s for s in _SUFFIXES if words.endswith(" " + s)), "")
    ours = _sampler(words.removesuffix(" " + suffix) if suffix else words)
    if ours is None:
        raise ValueError(unknown("sampler", word, SAMPLERS))
    return ours.partition(":")[0] + colon + options if options else ours, spacing_name(suffix) if suffix else None


def _sampler(words: str) -> str | None:
    """Our name of a sampler for a name in lower case, or None."""
    words = words.removesuffix(" gpu")
    ours = words.replace(" ", "_").replace("++", "pp")
    return _SAMPLER_WORDS.get(words) or (ours if ours in SAMPLERS else None)
