"""Everything that decides one picture, but the model and the input picture."""

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from .values import (
    Kind,
    check,
    declared,
    flag,
    is_finite,
    is_whole,
    limit,
    number,
    one_of,
    plain,
    rows,
    several,
    text,
    thawed,
    whole,
)

StrengthMode = Literal["level", "skip", "full"]
Discretize = Literal["none", "timestep", "schedule"]
NoiseSource = Literal["mlx", "torch", "nvidia"]
PromptSyntax = Literal["plain", "a1111", "comfyui"]
StartScale = Literal["sigma", "unit"]
# (seed, amount) of one perturbation of a start, or (seed, amount, mask): see pipeline.masks.packed.
Perturbation = tuple[int, float] | tuple[int, float, str]
Own = TypeVar("Own", bound="Settings")

MOST_SEED = 2**64 - 1  # as in other tools
COUNT = whole(1, 10_000).strictly()
SIDE = whole(8, 2**16).strictly()
PROMPT = text()
AMOUNT = number(0, 1).strictly()


def read_perturbation(words: str) -> tuple[int, float]:
    """SEED:AMOUNT, as it is written on a command line. Raises ValueError."""
    seed, colon, amount = words.partition(":")
    if not colon:
        raise ValueError(f"{words[:40]!r} is not SEED:AMOUNT, as in 1234:0.2")
    return whole(0, MOST_SEED).strictly().read(seed), AMOUNT.read(amount)


def _is_perturbation(entry: object) -> bool:
    """Is it a seed, an amount, and perhaps a mask?"""
    if not isinstance(entry, tuple | list) or len(entry) not in (2, 3):
        return False
    seed, amount, *mask = entry
    fine = is_whole(seed) and 0 <= int(seed) <= MOST_SEED and is_finite(amount) and 0 <= float(amount) <= 1
    return fine and all(isinstance(code, str) and len(code) <= 10**6 for code in mask)


class Outdated(ValueError):
    """An older version merged tokens to make a picture, which this one can't."""

    def __init__(self, merged: object) -> None:
        super().__init__(
            f"merge_tokens {str(merged)[:40]} was used for it, and tokens are no longer merged here: for a picture "
            "like it, give its prompt and its other settings anew"
        )


def random_seed() -> int:
    """A seed that nobody chose, small enough to be typed again."""
    return random.randrange(2**31)


def read_place(words: str) -> tuple[int, int]:
    """K/N: the K-th of N, counted from 1. Raises ValueError."""
    k, slash, n = words.partition("/")
    numbers = slash and len(words) <= 20 and k.strip().isdecimal() and n.strip().isdecimal()
    if not numbers or not 1 <= int(k) <= int(n) <= MOST_BATCH:
        raise ValueError(f"{words[:40]!r} is not K/N, as in 2/4 for the second of four, at most {MOST_BATCH}")
    return int(k), int(n)


def _is_place(words: object) -> bool:
    try:
        return isinstance(words, str) and bool(read_place(words))
    except ValueError:
        return False


MOST_BATCH = 100
PLACE = Kind(str, ((f"K/N, as in 2/4 for the second of four, at most {MOST_BATCH}", _is_place),)).strictly()
LINEAGE = several(
    Kind(read_perturbation, (("pairs of a seed and an amount from 0 to 1", _is_perturbation),)),
    "pairs of a seed and an amount from 0 to 1, at most 1000",
    most=1000,
)
LEVELS = several(number(), "some numbers")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The choices of a run. None means: the model's or the sampler's default. Zero means zero.

    Raises ValueError, in one sentence, for a value that no run could have.
    """

    prompt: str = declared("", PROMPT)
    negative_prompt: str = declared("", PROMPT, "what the picture should not show", "TEXT")
    prompt_syntax: PromptSyntax = declared(  # of all prompts
        "plain",
        one_of("plain", "a1111", "comfyui"),
        "how prompts are read: plain takes every letter literally; a1111 and comfyui read weights, as in (red:1.3), "
        "a1111 also BREAK, AND, [a:b:0.5], [a|b] and <lora:name:0.8>, comfyui also embedding:name, each as that tool "
        "does (default: plain)",
    )
    cut_prompt: bool = declared(
        False, flag(), "leave out what of a prompt is beyond 75 tokens, instead of telling it in chunks of 75"
    )
    seed: int = declared(  # picture k of n_images is the picture of seed + k
        0,
        whole(0),
        "the same seed gives the same picture; several take N, N + 1, ...; without one, or with -1, a random one, "
        "which is printed and stands in the file",
        "N",
    )
    noise_source: NoiseSource = declared(
        "mlx",
        one_of("mlx", "torch", "nvidia"),
        "whose random numbers a seed means: this package's own, torch's on a CPU, or torch's on an NVIDIA card "
        "(default: mlx)",
    )
    start_scale: StartScale = declared(  # of a start that is noise alone
        "sigma",
        one_of("sigma", "unit"),
        "multiply the noise that a picture of a prompt starts from by sigma, or so that it has unit variance as the "
        "model sees it, sqrt(sigma^2 + 1): other tools do the one or the other (default: sigma)",
    )
    of_batch: str | None = declared(
        None,
        PLACE,
        "it was picture K of N that another tool made at once, from one draw of random numbers; counted from 1",
        "K/N",
    )
    step_noise_source: NoiseSource | None = declared(
        None,
        one_of("mlx", "torch", "nvidia"),
        "the same for the noise that samplers add, where it is not drawn on from the start's (default: it is)",
    )
    step_seed_delta: int = declared(
        0, whole(), "add N to the seed of the noise that samplers add (other tools' ENSD; default: 0)", "N"
    )
    variation_seed: int | None = declared(
        None, whole(0, MOST_SEED), "mix the noise of this seed into the start as other tools do, along an arc", "N"
    )
    variation_strength: float = declared(0.0, number(0, 1), "how much of it: 0 none, 1 all (default: 0)", "0..1")
    n_images: int = declared(1, COUNT, "how many pictures to make (default: 1)", "N")
    width: int | None = declared(None, SIDE, "of the picture; rounded down to a multiple of 8", "PIXELS")
    height: int | None = declared(None, SIDE, "likewise", "PIXELS")
    steps: int | None = declared(None, COUNT, "steps from noise to picture; more are slower and finer", "N")
    cfg: float | None = declared(  # classifier-free guidance; 1 or 0: off
        None,
        number(),
        "how closely to follow the prompt, usually 5 to 10; 1 or 0 turns this off, in half the time",
        "SCALE",
    )
    cfg_rescale: float | None = declared(
        None, number(0, 1), "take back the contrast that a high --cfg adds: 0 none of it, 1 all of it", "0..1"
    )
    sampler: str | None = declared(
        None,
        text("a name"),
        "how to move from one noise level to the next; names from other tools work too, as in 'DPM++ 2M Karras'; "
        "--sampler list shows them all",
        "NAME",
    )
    spacing: str | None = declared(  # a name, perhaps with options
        None,
        text("a name"),
        "which noise levels to visit, with options if you like, as in karras:rho=5,sigma_min=0.1; "
        "--spacing list shows them all",
        "NAME",
    )
    sigmas: tuple[float, ...] | None = declared(None, LEVELS, "choose the noise levels yourself, falling", "S,S,...")
    times: tuple[float, ...] | None = declared(None, LEVELS, "or their times, from 999 down to 0", "T,T,...")
    discretize: Discretize = declared(
        "none",
        one_of("none", "timestep", "schedule"),
        "round to the levels that the model was trained on: timestep rounds only the time that the model is told, "
        "schedule rounds every level (default: none)",
    )
    eta: float | None = declared(  # None: 1 for ancestral samplers, 0 for ddim
        None,
        number(0),
        "how much fresh noise each step adds, with samplers that add any (1 is their full amount, 0 none)",
        "AMOUNT",
    )
    s_churn: float = declared(
        0.0, number(0), "how much noise to add before each step, with euler, heun and dpm2 (default: 0)", "AMOUNT"
    )
    s_tmin: float = declared(0.0, number(0), "add it only above this noise level (default: 0)", "SIGMA")
    s_tmax: float = declared(math.inf, limit(0), "add it only below this noise level (default: no limit)", "SIGMA")
    s_noise: float = declared(1.0, number(0), "multiply the added noise by this factor (default: 1)", "FACTOR")
    strength: float | None = declared(  # image-to-image: 0 keeps the picture, 1 starts at the highest noise level
        None, number(0, 1), "how much may change: 0 is nothing, 1 nearly everything", "0..1"
    )
    strength_mode: StrengthMode = declared(
        "level",
        one_of("level", "skip", "full"),
        "level: start at exactly the noise of this strength, with fewer steps; full: start there, with all steps; "
        "skip: lay out the steps of a whole run, and leave out the first ones (default: level)",
    )
    start_step: int | None = declared(None, whole(0), "instead of a strength: leave out the first K of the steps", "K")
    image_weight: float = declared(1.0, number(0))  # 0: start from noise alone
    start: Literal["noise", "inversion"] = declared(
        "noise",
        one_of("noise", "inversion"),
        "noise: begin with the picture with noise on it; inversion: begin where the model itself, followed backwards "
        "from the picture, ends up, so that more of it stays (default: noise)",
    )
    source_prompt: str = declared("", PROMPT, "for the inversion: what the picture shows (default: nothing)", "TEXT")
    perturb: tuple[Perturbation, ...] = declared((), LINEAGE)  # of the start, in order
    deep_cache: int = declared(
        1,
        whole(1, 1000).strictly(),
        "an approximation: run the whole net in every N-th step only, and in the others its outermost layer alone, on "
        "what the deep ones gave last (default: 1, exact)",
        "N",
    )
    clip_skip: int = declared(  # from the end; for the negative prompt too, unlike diffusers
        0, whole(0), "leave out the last N layers of the text encoder (default: 0)", "N"
    )

    def __post_init__(self) -> None:
        check(self, ROWS)
        if self.seed > MOST_SEED + 1 - self.n_images:
            raise ValueError(f"seed is {self.seed}: it and the seeds that follow it must be at most 2^64 - 1")
        if not 0 <= self.seed + self.step_seed_delta <= MOST_SEED + 1 - self.n_images:
            raise ValueError(
                f"step_seed_delta is {self.step_seed_delta}: with the seed {self.seed} that leads to no seed from 0 to "
                "2^64 - 1"
            )
        if self.cut_prompt and self.prompt_syntax != "plain":
            raise ValueError(f"cut_prompt is True: it is for prompt_syntax plain, and not {self.prompt_syntax}")
        if self.of_batch is not None and self.noise_source == "mlx":
            raise ValueError(
                f"of_batch is {self.of_batch!r}: it is for noise_source torch or nvidia; here every picture has its "
                "own seed"
            )
        if self.variation_strength and self.variation_seed is None:
            raise ValueError(f"variation_strength is {self.variation_strength:g}: name a variation_seed too")
        for name in ("width", "height"):
            if (side := getattr(self, name)) is not None and side % 8:
                raise ValueError(f"{name} is {side}: it must be a multiple of 8")
        if self.s_tmax < self.s_tmin:
            raise ValueError(f"s_tmax is {self.s_tmax}: it must be at least s_tmin, which is {self.s_tmin}")
        if self.strength is not None and self.start_step is not None:
            raise ValueError(f"start_step is {self.start_step}: leave it out where strength is given")
        if self.sigmas is not None and self.times is not None:
            raise ValueError(f"times is {self.times}: leave it out where sigmas are given")

    def was_set(self, name: str) -> bool:
        """Was this setting given a value of its own?"""
        return bool(getattr(self, name) != ROWS[name].default)

    def as_json(self) -> dict[str, Any]:
        """All of it as what JSON can hold; infinity, which it cannot, as the text "inf"."""
        return {name: plain(getattr(self, name)) for name in ROWS}

    @classmethod
    def from_json(cls: type[Own], values: Mapping[str, Any]) -> Own:
        """The settings that `as_json` wrote down. Raises ValueError for what is unknown, missing or impossible.

        Raises Outdated where tokens were merged, which older versions could do.
        """
        if isinstance(values, Mapping) and "merge_tokens" in values:
            if values["merge_tokens"]:
                raise Outdated(values["merge_tokens"])
            values = {name: value for name, value in values.items() if name != "merge_tokens"}
        return cls(**thawed(values, ROWS))


ROWS = rows(Settings)


@dataclass(frozen=True, kw_only=True)
class CompleteSettings(Settings):
    """Settings that leave nothing to a default."""

    width: int
    height: int
    steps: int
    cfg: float
    cfg_rescale: float
    sampler: str
    spacing: str

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in CompleteSettings.__annotations__:  # the fields take over the defaults of Settings
            if getattr(self, name) is None:
                raise ValueError(f"{name} is missing")
