"""Everything that decides one picture, but the model and the input picture."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any, Literal, TypeVar

StrengthMode = Literal["level", "skip", "full"]
Kind = TypeVar("Kind", bound="Settings")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The choices of a run. None means: the model's or the sampler's default. Zero means zero.

    Raises ValueError, in one sentence, for a value that no run could have.
    """

    prompt: str = ""
    negative_prompt: str = ""
    seed: int = 0  # picture k of n_images is the picture of seed + k
    n_images: int = 1
    width: int | None = None  # pixels
    height: int | None = None
    steps: int | None = None
    cfg: float | None = None  # classifier-free guidance; 1 or 0: off
    cfg_rescale: float | None = None  # take back the contrast that cfg adds; 0: no, 1: all of it
    sampler: str | None = None
    spacing: str | None = None  # a name, perhaps with options: "karras:rho=5,sigma_min=0.1"
    sigmas: tuple[float, ...] | None = None  # noise levels chosen by hand, instead of a spacing's
    times: tuple[float, ...] | None = None  # or their train times
    discretize: Literal["none", "timestep", "schedule"] = "none"  # round to trained levels: nothing, times, or levels
    eta: float | None = None  # None: 1 for ancestral samplers, 0 for ddim
    s_churn: float = 0.0
    s_tmin: float = 0.0
    s_tmax: float = math.inf
    s_noise: float = 1.0
    strength: float | None = None  # image-to-image: 0 keeps the picture, 1 starts at the highest noise level
    strength_mode: StrengthMode = "level"
    start_step: int | None = None  # instead of a strength: the first of the steps to run
    image_weight: float = 1.0  # 0: start from noise alone
    start: Literal["noise", "inversion"] = "noise"  # inversion: from the image, walked up the model's own ODE
    source_prompt: str = ""  # what the image shows, for its inversion
    # (seed, amount) of each perturbation of the start, in order; or (seed, amount, mask), see diffusion.noise.packed
    perturb: tuple[tuple[int, float] | tuple[int, float, str], ...] = ()
    clip_skip: int = 0  # text encoder layers to leave out, from the end; for the negative prompt too, unlike diffusers

    def __post_init__(self) -> None:
        def check(fine: bool, name: str, wanted: str) -> None:
            if not fine:
                raise ValueError(f"{name} is {getattr(self, name)!r}: it must be {wanted}")

        for name in ("seed", "n_images", "width", "height", "steps", "start_step", "clip_skip"):
            value = getattr(self, name)
            optional = value is None and name not in ("seed", "n_images", "clip_skip")
            check(optional or (isinstance(value, Integral) and not isinstance(value, bool)), name, "a whole number")
        for name in ("prompt", "negative_prompt", "source_prompt"):
            check(isinstance(getattr(self, name), str), name, "a text")
        for name in ("sampler", "spacing"):
            check(isinstance(getattr(self, name), str | None), name, "a name")
        for name in ("sigmas", "times"):
            value = getattr(self, name)
            numbers = isinstance(value, tuple | list) and all(isinstance(v, Real) and _is_finite(v) for v in value)
            check(value is None or numbers, name, "some numbers")
        for name in ("cfg", "cfg_rescale", "eta", "s_churn", "s_tmin", "s_tmax", "s_noise", "strength", "image_weight"):
            value = getattr(self, name)
            optional = value is None and name in ("cfg", "cfg_rescale", "eta", "strength")
            check(optional or (isinstance(value, Real) and not isinstance(value, bool)), name, "a number")
            check(optional or name == "s_tmax" or _is_finite(value), name, "a finite number")
        check(self.n_images >= 1, "n_images", "at least 1")
        check(0 <= self.seed <= 2**63 - self.n_images, "seed", "from 0 to 2^63 - 1, and so the seeds that follow it")
        for name in ("width", "height"):
            value = getattr(self, name)
            check(value is None or (value >= 8 and value % 8 == 0), name, "a multiple of 8")
        check(self.steps is None or self.steps >= 1, "steps", "at least 1")
        check(self.cfg_rescale is None or 0 <= self.cfg_rescale <= 1, "cfg_rescale", "from 0 to 1")
        for name in ("eta", "s_churn", "s_tmin", "s_noise", "image_weight"):
            value = getattr(self, name)
            check(value is None or value >= 0, name, "0 or more")
        check(self.s_tmax >= self.s_tmin, "s_tmax", f"at least s_tmin, which is {self.s_tmin}")
        check(self.strength is None or 0 <= self.strength <= 1, "strength", "from 0 to 1")
        check(self.strength_mode in ("level", "skip", "full"), "strength_mode", "level, skip or full")
        check(self.start_step is None or self.start_step >= 0, "start_step", "0 or more")
        check(self.strength is None or self.start_step is None, "start_step", "left out where strength is given")
        check(all(map(_perturbation, self.perturb)), "perturb", "pairs of a seed and an amount from 0 to 1")
        check(self.start in ("noise", "inversion"), "start", "noise or inversion")
        check(self.clip_skip >= 0, "clip_skip", "0 or more")
        check(self.discretize in ("none", "timestep", "schedule"), "discretize", "none, timestep or schedule")
        check(self.sigmas is None or self.times is None, "times", "left out where sigmas are given")

    def was_set(self, name: str) -> bool:
        """Was this setting given a value of its own?"""
        return bool(getattr(self, name) != _DEFAULTS[name])

    def as_json(self) -> dict[str, Any]:
        """All of it as what JSON can hold; infinity, which it cannot, as the text "inf"."""
        values = {field.name: _plain(getattr(self, field.name)) for field in fields(self)}
        return {**values, "s_tmax": "inf" if self.s_tmax == math.inf else values["s_tmax"]}

    @classmethod
    def from_json(cls: type[Kind], values: Mapping[str, Any]) -> Kind:
        """The settings that `as_json` wrote down. Raises ValueError for what is unknown, missing or impossible."""
        if unknown := sorted(set(values) - _DEFAULTS.keys()):
            raise ValueError(f"there are no settings {', '.join(unknown)}")
        given: dict[str, Any] = dict(values)
        if given.get("s_tmax") == "inf":
            given["s_tmax"] = math.inf
        for name in ("sigmas", "times"):
            if isinstance(given.get(name), list):
                given[name] = tuple(given[name])
        if isinstance(given.get("perturb"), list):
            given["perturb"] = tuple(tuple(e) if isinstance(e, list) else e for e in given["perturb"])
        try:
            return cls(**given)
        except TypeError as error:  # a value of a kind that cannot even be compared, or one that is missing
            raise ValueError(f"the settings are not whole ({error})") from None


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
        for name in ("width", "height", "steps", "cfg", "cfg_rescale", "sampler", "spacing"):
            if getattr(self, name) is None:  # the fields take over the defaults of Settings
                raise ValueError(f"{name} is missing")


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False


def _plain(value: Any) -> Any:
    """The same of Python's own kinds: NumPy's numbers are numbers too, but not to JSON."""
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    if isinstance(value, bool | str | None):
        return value
    return int(value) if isinstance(value, Integral) else float(value)


def _perturbation(entry: object) -> bool:
    """Is it a seed, an amount, and perhaps a mask?"""
    if not isinstance(entry, (tuple, list)) or len(entry) not in (2, 3):
        return False
    seed, amount, *mask = entry
    whole = isinstance(seed, Integral) and not isinstance(seed, bool) and 0 <= int(seed) < 2**63
    share = isinstance(amount, Real) and _is_finite(amount) and 0 <= float(amount) <= 1
    return whole and share and all(isinstance(code, str) for code in mask)


_DEFAULTS = {field.name: field.default for field in fields(Settings)}
