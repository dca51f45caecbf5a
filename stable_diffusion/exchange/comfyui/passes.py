"""ComfyUI's samplers, and the nodes that say what they do: schedulers, noise, guiders, samplers by name."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from .graph import At, Meaning, Unknown
from .meanings import Guiding, Levels, Pass, Start, Walker

MOST_LEVELS = 1000


def _start(at: At, name: str) -> Start | Unknown:
    """A latent that a sampler is given; what another sampler made is its start."""
    value = at[name]
    return value if isinstance(value, Start | Unknown) else Unknown(f"{name} of the node {at.node.kind}")


def _made(one: Pass) -> Start:
    """What a sampler gives: a latent of the size that it was given."""
    before = one.latent if isinstance(one.latent, Start) else Start()
    return Start(before.size, before.batch, before.place, made_by=one)


def _plain(at: At) -> Any:
    """KSampler."""
    latent, denoise = _start(at, "latent_image"), at.number("denoise", 1.0)
    words = {
        "Seed": at["seed"], "Steps": at["steps"], "CFG scale": at["cfg"], "Sampler": at["sampler_name"],
        "Schedule type": at["scheduler"],
    }  # fmt: skip
    remarks: tuple[str, ...] = ()
    if isinstance(latent, Start) and not latent.from_picture and latent.made_by is None:
        remarks = () if denoise == 1 else (f"denoise {_shown(denoise)} of an empty latent",)
    else:
        words["Denoising strength"] = denoise
    return _made(Pass(at.node.kind, words, {}, Guiding(*_sides(at), at["cfg"]), latent, remarks=remarks))


def _advanced(at: At) -> Any:
    """KSamplerAdvanced: some of its steps."""
    latent, steps = _start(at, "latent_image"), at["steps"]
    first, last = at.number("start_at_step", 0), at.number("end_at_step", 10000)
    words = {
        "Seed": at["noise_seed"], "Steps": steps, "CFG scale": at["cfg"], "Sampler": at["sampler_name"],
        "Schedule type": at["scheduler"],
    }  # fmt: skip
    settings, remarks = {}, []
    adds = at["add_noise"] != "disable"
    if isinstance(first, Unknown) or isinstance(last, Unknown):
        remarks.append("the steps from start_at_step to end_at_step")
    else:
        begins = isinstance(latent, Start) and (latent.from_picture or latent.made_by is not None)
        if begins:  # a picture, noised to the level of that step
            settings = {"start_step": int(first), "strength": None}
        elif first > 0:
            remarks.append(f"start_at_step {first:g} of an empty latent")
        if isinstance(steps, int) and last < steps:
            noise = "with" if at["return_with_leftover_noise"] == "enable" else "without"
            remarks.append(f"its end at step {last:g} of {steps}, {noise} the noise that is left then")
    if not adds and not (isinstance(latent, Start) and latent.made_by is not None):
        remarks.append("a start without noise")
    return _made(Pass(at.node.kind, words, settings, Guiding(*_sides(at), at["cfg"]), latent, adds, tuple(remarks)))


def _sides(at: At) -> tuple[Any, Any, Any]:
    return at["model"], at["positive"], at["negative"]


def _custom(at: At) -> Any:
    """SamplerCustom."""
    guiding = Guiding(*_sides(at), at["cfg"])
    adds = at["add_noise"] is not False
    return _made(_composed(at, guiding, at["noise_seed"], adds))


def _custom_advanced(at: At) -> Any:
    """SamplerCustomAdvanced, whose every choice is a node. Its second output is the estimate, of its last step."""
    noise, guider = at["noise"], at["guider"]
    if isinstance(guider, Guiding):
        guiding = guider
    else:
        nobody = _unknown(guider, "its guider")
        guiding = Guiding(nobody, nobody, nobody, nobody)
    seed = noise if isinstance(noise, Unknown) else None if noise == DISABLED else noise
    return _made(_composed(at, guiding, seed, noise != DISABLED))


def _unknown(value: Any, name: str) -> Unknown:
    return value if isinstance(value, Unknown) else Unknown(name)


def _composed(at: At, guiding: Guiding, seed: Any, adds: bool) -> Pass:
    latent, walker, levels = _start(at, "latent_image"), at["sampler"], at["sigmas"]
    if not isinstance(walker, Walker):
        walker = Walker(_unknown(walker, f"the sampler of the node {at.node.kind}"))
    if not isinstance(levels, Levels):
        levels = Levels({"Steps": _unknown(levels, "sigmas"), "Schedule type": _unknown(levels, "sigmas")})
    words = {"CFG scale": guiding.cfg, "Sampler": walker.name, **levels.words}
    if adds:
        words["Seed"] = seed
    remarks = [*walker.remarks, *levels.remarks, *guiding.remarks]
    from_picture = isinstance(latent, Start) and (latent.from_picture or latent.made_by is not None)
    denoise = words.pop("denoise", 1.0)
    settings = {**walker.settings, **levels.settings}
    if from_picture and "Steps" in words:
        words["Denoising strength"] = denoise
    elif from_picture:
        settings.setdefault("start_step", 0)
    elif denoise != 1:
        remarks.append(f"denoise {_shown(denoise)} of an empty latent")
    if not adds and not (isinstance(latent, Start) and latent.made_by is not None):
        remarks.append("a start without noise")
    return Pass(at.node.kind, words, settings, guiding, latent, adds, tuple(remarks))


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) else "?"


# Guiders and noise

DISABLED = "no noise"  # what the node DisableNoise gives


def _guider(at: At) -> Any:
    return Guiding(*_sides(at), at["cfg"])


def _basic_guider(at: At) -> Any:
    return Guiding(at["model"], at["conditioning"], None, 1.0)


def _dual_guider(at: At) -> Any:
    remark = (f"DualCFGGuider with a second prompt, at {_shown(at['cfg_cond2_negative'])}",)
    return Guiding(at["model"], at["cond1"], at["negative"], at["cfg_conds"], remark)


# Samplers by name


def _named(at: At) -> Any:
    return Walker(at.text("sampler_name"))


def _sampler(name: str, *options: str, **other: tuple[str, ...]) -> Meaning:
    """A node that is one sampler: its options that are settings, and the values of others that are its usual ones."""

    def meaning(at: At) -> Any:
        settings, remarks = {}, []
        for option in options:
            value = at[option]
            if value is None or isinstance(value, Unknown):
                remarks += [f"{option} of the sampler"] if value is not None else []
            else:
                settings[option] = value
        for option, usual in other.items():
            if (value := at[option]) is not None and str(value) not in usual:
                remarks.append(f"{option} {value!s:.40} of {at.node.kind}")
        return Walker(name, settings, tuple(remarks))

    return meaning


_DEVICE = ("cpu", "gpu")

# Schedulers


def _basic_scheduler(at: At) -> Any:
    words = {"Schedule type": at["scheduler"], "Steps": at["steps"], "denoise": at.number("denoise", 1.0)}
    return Levels(words)


def _aligned(at: At) -> Any:
    names = {"SD1": "align_your_steps", "SDXL": "align_your_steps_xl"}
    kind = at["model_type"]
    if kind not in names:
        return Unknown(f"AlignYourStepsScheduler of {kind!s:.20}")
    return Levels({"Schedule type": names[kind], "Steps": at["steps"], "denoise": at.number("denoise", 1.0)})


def _by_hand(levels: Sequence[float], remarks: tuple[str, ...] = ()) -> Levels | Unknown:
    fine = 1 < len(levels) <= MOST_LEVELS and all(math.isfinite(level) and level >= 0 for level in levels)
    return Levels(settings={"sigmas": tuple(levels)}, remarks=remarks) if fine else Unknown("its levels")


def _between(at: At) -> tuple[int, float, float, float] | None:
    """Steps, the highest and the lowest level, and rho, of a scheduler that is told all of them."""
    found = [at.number(*pair) for pair in (("steps", 20), ("sigma_max", 14.614642), ("sigma_min", 0.0291675))]
    rho = at.number("rho", 7.0)
    if any(isinstance(value, Unknown) for value in (*found, rho)):
        return None
    steps, highest, lowest = (float(value) for value in found if not isinstance(value, Unknown))
    assert not isinstance(rho, Unknown)
    sane = 1 <= steps < MOST_LEVELS and 0 < lowest <= highest < 1e6 and 0.01 < rho < 1e3
    return (int(steps), highest, lowest, float(rho)) if sane else None


def _shares(steps: int) -> list[float]:
    """From 0 to 1 in so many places, as torch.linspace has them."""
    return [k / (steps - 1) if steps > 1 else 0.0 for k in range(steps)]


def _karras(at: At) -> Any:
    if (told := _between(at)) is None:
        return Unknown("the levels of KarrasScheduler")
    steps, highest, lowest, rho = told
    high, low = highest ** (1 / rho), lowest ** (1 / rho)
    return _by_hand([*((high + u * (low - high)) ** rho for u in _shares(steps)), 0.0])


def _exponential(at: At) -> Any:
    if (told := _between(at)) is None:
        return Unknown(f"the levels of {at.node.kind}")
    steps, highest, lowest, rho = told
    if at.node.kind == "ExponentialScheduler":
        rho = 1.0
    span = math.log(highest) - math.log(lowest)
    return _by_hand([*(math.exp((1 - u) ** rho * span + math.log(lowest)) for u in _shares(steps)), 0.0])


def _turbo(at: At) -> Any:
    """SDTurboScheduler: every hundredth time from the top."""
    steps, denoise = at.number("steps", 1), at.number("denoise", 1.0)
    if isinstance(steps, Unknown) or isinstance(denoise, Unknown) or not (0 < denoise <= 1 and 1 <= steps <= 10):
        return Unknown("the levels of SDTurboScheduler")
    times = [999 - 100 * k for k in range(10)][10 - int(10 * denoise) :][: int(steps)]
    return Levels(settings={"times": tuple(map(float, times))}) if times else Unknown("the levels of SDTurboScheduler")


def _manual(at: At) -> Any:
    """ManualSigmas: numbers in a text."""
    text = at.text("sigmas")
    try:
        return text if isinstance(text, Unknown) else _by_hand([float(word) for word in text.replace(",", " ").split()])
    except ValueError:
        return Unknown("the levels of ManualSigmas")


def _split(at: At) -> Any:
    """SplitSigmas: the levels before a step, and those from it on."""
    levels, step = at["sigmas"], at["step"]
    if not isinstance(levels, Levels) or isinstance(step, bool) or not isinstance(step, int):
        return _unknown(levels, "the levels of SplitSigmas")
    if at.output == 0:
        return replace(levels, remarks=(*levels.remarks, f"its end at step {step}"))
    if "sigmas" in levels.settings:
        return _by_hand(levels.settings["sigmas"][step:], levels.remarks)
    return Levels(levels.words, {**levels.settings, "start_step": step, "strength": None}, levels.remarks)


PASSES: Mapping[str, Meaning] = {
    "KSampler": _plain,
    "KSamplerAdvanced": _advanced,
    "SamplerCustom": _custom,
    "SamplerCustomAdvanced": _custom_advanced,
    "CFGGuider": _guider,
    "BasicGuider": _basic_guider,
    "DualCFGGuider": _dual_guider,
    "RandomNoise": lambda at: at["noise_seed"],
    "DisableNoise": lambda at: DISABLED,
    "KSamplerSelect": _named,
    "SamplerEulerAncestral": _sampler("euler_ancestral", "eta", "s_noise"),
    "SamplerDPMPP_2S_Ancestral": _sampler("dpmpp_2s_ancestral", "eta", "s_noise"),
    "SamplerDPMPP_SDE": _sampler("dpmpp_sde", "eta", "s_noise", r=("0.5",), noise_device=_DEVICE),
    "SamplerDPMPP_2M_SDE": _sampler(
        "dpmpp_2m_sde", "eta", "s_noise", solver_type=("midpoint",), noise_device=_DEVICE
    ),
    "SamplerDPMPP_3M_SDE": _sampler("dpmpp_3m_sde", "eta", "s_noise", noise_device=_DEVICE),
    "SamplerLMS": _sampler("lms", order=("4",)),
    "BasicScheduler": _basic_scheduler,
    "AlignYourStepsScheduler": _aligned,
    "KarrasScheduler": _karras,
    "ExponentialScheduler": _exponential,
    "PolyexponentialScheduler": _exponential,
    "SDTurboScheduler": _turbo,
    "ManualSigmas": _manual,
    "SplitSigmas": _split,
}  # fmt: skip
