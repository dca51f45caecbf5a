"""The names that AUTOMATIC1111, ComfyUI and diffusers have for samplers and spacings."""

from .registry import unknown
from .samplers import SAMPLERS
from .spacing import SPACINGS

# Written in lower case, with single spaces. What is not here is looked up by its words: see `sampler_named`.
_SAMPLER_WORDS = {
    # AUTOMATIC1111
    "euler": "euler",
    "euler a": "euler_a",
    "lms": "lms",
    "heun": "heun",
    "dpm2": "dpm2",
    "dpm2 a": "dpm2_a",
    "dpm++ 2s a": "dpmpp_2s_a",
    "dpm++ 2m": "dpmpp_2m",
    "dpm++ sde": "dpmpp_sde",
    "dpm++ 2m sde": "dpmpp_2m_sde",
    "dpm++ 2m sde heun": "dpmpp_2m_sde_heun",
    "dpm++ 3m sde": "dpmpp_3m_sde",
    "restart": "restart",
    "ddim": "ddim",
    "unipc": "unipc:order=3,variant=bh1",  # as A1111 and ComfyUI set it; our own "unipc" is the authors' order 2, bh2
    "lcm": "lcm",
    # ComfyUI
    "euler ancestral": "euler_a",
    "dpm 2": "dpm2",
    "dpm 2 ancestral": "dpm2_a",
    "dpmpp 2s ancestral": "dpmpp_2s_a",
    "uni pc": "unipc:order=3,variant=bh1",
    "uni pc bh2": "unipc:order=3,variant=bh2",
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
_SPACING_WORDS = {
    "normal": "uniform",
    "simple": "trailing",
    "sgm uniform": "sgm_uniform",
    "ddim uniform": "ddim_uniform",
    "ddim": "ddim_uniform",
    "kl optimal": "kl_optimal",
    "align your steps": "align_your_steps",
    "ays": "align_your_steps",
    "ays xl": "align_your_steps_xl",
}


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

    "DPM++ 2M Karras" is "dpmpp_2m", and brings "karras". Raises ValueError that names the nearest ones.
    """
    word, colon, options = name.partition(":")
    if word in SAMPLERS:
        return name, None
    words = _words(word).removesuffix("scheduler").removesuffix(" gpu").removeprefix("k ").removeprefix("sample ")
    if words in _SAMPLER_WORDS:
        ours = _SAMPLER_WORDS[words]
        return ours.partition(":")[0] + colon + options if options else ours, None
    for spacing in ("karras", "exponential"):
        if words.endswith(" " + spacing):
            return sampler_name(words.removesuffix(" " + spacing) + colon + options)[0], spacing
    ours = words.replace(" ", "_").replace("++", "pp")
    if ours not in SAMPLERS:
        raise ValueError(unknown("sampler", word, SAMPLERS))
    return ours + colon + options, None
