"""The table of samplers, and the names that other tools have for them."""

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

import mlx.core as mx

from . import ode, sde
from .noise import Noise
from .registry import split, unknown
from .steps import Ask, Sampler, Step

__all__ = ["SAMPLERS", "Ask", "Method", "Sampler", "Step"]


@dataclass(frozen=True)
class Method:
    """A sampler, and what one wants to know before choosing it. Called, it is the sampler."""

    walk: Callable[..., Sampler]
    order: int  # of convergence, of the method at its best
    calls: str  # network calls for n steps
    noise: bool  # adds noise on its way, as it is set when nobody sets anything
    source: str

    def __call__(self, x: mx.array, sigmas: Sequence[float], noise: Noise, **options: Any) -> Sampler:
        """The sampler, ready to be walked. Raises ValueError for levels that do not fall, or that fall below 0."""
        if len(sigmas) == 0 or sigmas[-1] < 0 or any(not s > t for s, t in pairwise(sigmas)):
            raise ValueError(f"noise levels must fall and stay at 0 or above: {', '.join(f'{s:g}' for s in sigmas)}")
        return self.walk(x, sigmas, noise, **options)

    @property
    def options(self) -> frozenset[str]:
        """The names of the options that it takes, beyond x, sigmas and noise."""
        return frozenset(list(inspect.signature(self.walk).parameters)[3:])

    @property
    def own_options(self) -> frozenset[str]:
        """Of these, the ones that are written behind its name."""
        return self.options & _OWN.keys()


def _number_from(least: float, kind: type[int] | type[float]) -> Callable[[str], float]:
    def read(text: str) -> float:
        value = kind(text)
        if not least <= value < math.inf:
            raise ValueError
        return value

    return read


def _one_of(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError
        return text

    return read


# Options that belong to one method alone: how they are read, and what they may be.
_OWN: dict[str, tuple[Callable[[str], object], str]] = {
    "order": (_number_from(1, int), "a whole number from 1"),
    "variant": (_one_of("bh1", "bh2"), "bh1 or bh2"),
    "low": (_number_from(1e-4, float), "a noise level above 0"),
    "high": (_number_from(1e-4, float), "a noise level above 0"),
    "steps": (_number_from(1, int), "a whole number from 1"),
    "times": (_number_from(1, int), "a whole number from 1"),
}


def sampler_named(text: str) -> Method:
    """The sampler of a name, or of a name and options, "unipc:order=3,variant=bh1".

    Raises ValueError for what is unknown, with the nearest names.
    """
    name = text.partition(":")[0]
    if name not in SAMPLERS:
        raise ValueError(unknown("sampler", name, SAMPLERS))
    method, options = SAMPLERS[name], {}
    for option, value in split("sampler", text, method.own_options).items():
        reader, wanted = _OWN[option]
        try:
            options[option] = reader(value)
        except ValueError:
            raise ValueError(f"sampler {text!r}: {option} is {value!r}: it must be {wanted}") from None
    return replace(method, walk=partial(method.walk, **options))


SAMPLERS: dict[str, Method] = {
    "ddim": Method(sde.ddim, 1, "n", False, "Song et al. 2021, 2010.02502"),
    "ddpm": Method(sde.ddpm, 1, "n", True, "Ho et al. 2020, 2006.11239"),
    "deis": Method(ode.deis, 3, "n", False, "Zhang & Chen 2023, 2204.13902"),
    "dpm2": Method(ode.dpm2, 2, "2n - 1", False, "Lu et al. 2022, 2206.00927"),
    "dpm2_a": Method(sde.dpm2_a, 2, "2n - 1", True, "Crowson, after 2206.00927"),
    "dpmpp_2m": Method(ode.dpmpp_2m, 2, "n", False, "Lu et al. 2022, 2211.01095"),
    "dpmpp_2m_sde": Method(sde.dpmpp_2m_sde, 2, "n", True, "Lu et al. 2022, 2211.01095"),
    "dpmpp_2m_sde_heun": Method(sde.dpmpp_2m_sde_heun, 2, "n", True, "Lu et al. 2022, 2211.01095"),
    "dpmpp_2s_a": Method(sde.dpmpp_2s_a, 2, "2n - 1", True, "Lu et al. 2022, 2211.01095"),
    "dpmpp_3m_sde": Method(sde.dpmpp_3m_sde, 3, "n", True, "Crowson, after 2211.01095"),
    "dpmpp_sde": Method(sde.dpmpp_sde, 2, "2n - 1", True, "Crowson, after 2211.01095"),
    "euler": Method(ode.euler, 1, "n", False, "Karras et al. 2022, 2206.00364"),
    "euler_a": Method(sde.euler_a, 1, "n", True, "Crowson, after 2006.11239"),
    "heun": Method(ode.heun, 2, "2n - 1", False, "Karras et al. 2022, 2206.00364"),
    "lcm": Method(sde.lcm, 1, "n", True, "Luo et al. 2023, 2310.04378"),
    "lms": Method(ode.lms, 4, "n", False, "Crowson, Adams-Bashforth"),
    "restart": Method(sde.restart, 2, "2n + 17", True, "Xu et al. 2023, 2306.14878"),
    "tcd": Method(sde.tcd, 1, "n", True, "Zheng et al. 2024, 2402.19159"),
    "unipc": Method(ode.unipc, 2, "n", False, "Zhao et al. 2023, 2302.04867"),
}
