"""The table of samplers, by the names of the command line."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import Any

import mlx.core as mx

from ..values import Kind, number, one_of, whole
from . import ode, sde
from .noise import Noise
from .registry import chosen
from .steps import Ask, Sampler, Step

__all__ = ["SAMPLERS", "Ask", "Method", "Sampler", "Step"]


@dataclass(frozen=True)
class Method:
    """A sampler, and what one wants to know before choosing it. Called, it is the sampler."""

    make: Callable[..., Sampler]
    order: int  # of convergence, of the method at its best
    calls: str  # network calls for n steps
    noise: bool  # adds noise on its way, as it is set when nobody sets anything
    paper: str  # or whose it is
    takes: frozenset[str] = frozenset()  # what else it is given, of eta, s_churn, ..., the schedule
    options: Mapping[str, Kind] = field(default_factory=dict)  # its own, which are written behind its name

    @property
    def calls_a_step(self) -> int:
        """Network calls that most steps make."""
        return 2 if self.calls.startswith("2n") else 1

    def __call__(self, x: mx.array, sigmas: Sequence[float], noise: Noise, **options: Any) -> Sampler:
        """The sampler, ready to be walked. Raises ValueError for levels that do not fall, or that fall below 0."""
        if len(sigmas) == 0 or sigmas[-1] < 0 or any(not s > t for s, t in pairwise(sigmas)):
            raise ValueError(f"noise levels must fall and stay at 0 or above: {', '.join(f'{s:g}' for s in sigmas)}")
        return self.make(x, sigmas, noise, **options)


def sampler_named(text: str) -> Method:
    """The sampler of a name, or of a name and options, "unipc:order=3,variant=bh1".

    Raises ValueError for what is unknown, with the nearest names.
    """
    method, options = chosen("sampler", text, SAMPLERS)
    return replace(method, make=partial(method.make, **options))


SAMPLER_OPTIONS = ("eta", "s_churn", "s_tmin", "s_tmax", "s_noise")  # settings that only some samplers take
ETA = frozenset({"eta", "s_noise"})
CHURN = frozenset({"s_churn", "s_tmin", "s_tmax", "s_noise", "nearest"})
ORDER = whole(1, 100)
LEVEL = number(1e-4, 1e6)

SAMPLERS: dict[str, Method] = {
    "ddim": Method(
        sde.ddim,
        1,
        "n",
        False,
        "Song et al. 2021, 2010.02502",
        frozenset({"eta", "schedule"}),
        {"stride": whole(1, 1000)},
    ),
    "ddpm": Method(sde.ddpm, 1, "n", True, "Ho et al. 2020, 2006.11239"),
    "deis": Method(ode.deis, 3, "n", False, "Zhang & Chen 2023, 2204.13902", options={"order": ORDER}),
    "dpm2": Method(ode.dpm2, 2, "2n - 1", False, "Lu et al. 2022, 2206.00927", CHURN),
    "dpm2_a": Method(sde.dpm2_a, 2, "2n - 1", True, "Crowson, after 2206.00927", ETA),
    "dpmpp_2m": Method(ode.dpmpp_2m, 2, "n", False, "Lu et al. 2022, 2211.01095"),
    "dpmpp_2m_sde": Method(sde.dpmpp_2m_sde, 2, "n", True, "Lu et al. 2022, 2211.01095", ETA),
    "dpmpp_2m_sde_heun": Method(sde.dpmpp_2m_sde_heun, 2, "n", True, "Lu et al. 2022, 2211.01095", ETA),
    "dpmpp_2s_a": Method(sde.dpmpp_2s_a, 2, "2n - 1", True, "Lu et al. 2022, 2211.01095", ETA),
    "dpmpp_3m_sde": Method(sde.dpmpp_3m_sde, 3, "n", True, "Crowson, after 2211.01095", ETA),
    "dpmpp_sde": Method(sde.dpmpp_sde, 2, "2n - 1", True, "Crowson, after 2211.01095", ETA),
    "euler": Method(ode.euler, 1, "n", False, "Karras et al. 2022, 2206.00364", CHURN),
    "euler_a": Method(sde.euler_a, 1, "n", True, "Crowson, after 2006.11239", ETA),
    "heun": Method(ode.heun, 2, "2n - 1", False, "Karras et al. 2022, 2206.00364", CHURN),
    "lcm": Method(sde.lcm, 1, "n", True, "Luo et al. 2023, 2310.04378"),
    "lms": Method(ode.lms, 4, "n", False, "Crowson, Adams-Bashforth", options={"order": ORDER}),
    "restart": Method(
        sde.restart,
        2,
        "2n + 17",
        True,
        "Xu et al. 2023, 2306.14878",
        frozenset({"s_noise", "nearest"}),
        {"low": LEVEL, "high": LEVEL, "steps": whole(1, 1000), "times": whole(1, 1000)},
    ),
    "tcd": Method(sde.tcd, 1, "n", True, "Zheng et al. 2024, 2402.19159", frozenset({"eta", "schedule"})),
    "unipc": Method(
        ode.unipc,
        2,
        "n",
        False,
        "Zhao et al. 2023, 2302.04867",
        options={"order": ORDER, "variant": one_of("bh1", "bh2")},
    ),
}
