"""The noise levels that a net was trained on. Nothing outside this file knows about betas."""

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

from ..values import check, declared, flag, number, rows, whole, word

BetaSchedule = Literal["scaled_linear", "linear", "squaredcos_cap_v2"]
PredictionType = Literal["epsilon", "v_prediction", "sample"]


# diffusers' classes whose trained levels follow from betas, as here: without "Scheduler", which all of them end in.
FROM_BETAS = frozenset(
    {
        "DDIM", "DDIMParallel", "DDPM", "DDPMParallel", "DEISMultistep",
        "DPMSolverMultistep", "DPMSolverSDE", "DPMSolverSinglestep", "EulerAncestralDiscrete", "EulerDiscrete",
        "HeunDiscrete", "KDPM2AncestralDiscrete", "KDPM2Discrete", "LCM", "LMSDiscrete", "PNDM", "SASolver", "TCD",
        "UniPCMultistep",
    }
)  # fmt: skip


def deviation(sigma: float) -> float:
    """The standard deviation of x0 + sigma n, for latents x0 of variance 1; divided by it, x is what a net takes."""
    return math.sqrt(sigma**2 + 1)


@dataclass(frozen=True)
class NoiseSchedule:
    """The trained betas and their sigmas: a latent at train time t is `x0 + sigmas[t] * noise`.

    sigma[t] = sqrt((1 - abar_t) / abar_t), t = 0 .. num_train_steps - 1, all in float64. Stable Diffusion's run from
    0.0291671582 to 14.6146412293.
    """

    beta_schedule: BetaSchedule = "scaled_linear"
    beta_start: float = declared(0.00085, number(1e-9, 0.999))
    beta_end: float = declared(0.012, number(1e-9, 0.999))
    num_train_steps: int = declared(1000, whole(2, 100_000))
    prediction_type: PredictionType = "epsilon"
    zero_terminal_snr: bool = declared(False, flag())

    def __post_init__(self) -> None:
        for value, known in ((self.beta_schedule, BetaSchedule), (self.prediction_type, PredictionType)):
            if value not in get_args(known):
                raise ValueError(f"unknown noise schedule setting {value!r}: one of {', '.join(get_args(known))}")
        check(self, rows(NoiseSchedule))

    @classmethod
    def from_diffusers(cls, config: Mapping[str, Any]) -> "NoiseSchedule":
        """Read a diffusers `scheduler_config.json`; what it does not say is diffusers' default.

        Raises ValueError, which names it, for a class or a setting of another family: flow matching, EDM, ...
        """
        kind = config.get("_class_name") or "DDIMScheduler"
        if not isinstance(kind, str) or kind.removesuffix("Scheduler") not in FROM_BETAS:
            raise ValueError(
                f"{word(kind)} is not supported: its noise levels do not follow from Stable Diffusion's betas"
            )
        for key, value in (("use_flow_sigmas", True), ("timestep_type", "continuous")):
            if config.get(key) == value:
                raise ValueError(f"{key} = {value!r} is not supported: such a net is not told Stable Diffusion's times")
        if config.get("trained_betas") is not None:
            raise ValueError("scheduler config: trained_betas (a list of betas) is not supported")
        return cls(
            beta_schedule=config.get("beta_schedule", "linear"),
            beta_start=config.get("beta_start", 0.0001),
            beta_end=config.get("beta_end", 0.02),
            num_train_steps=config.get("num_train_timesteps", 1000),
            prediction_type=config.get("prediction_type", "epsilon"),
            zero_terminal_snr=config.get("rescale_betas_zero_snr", False),
        )

    def _betas(self) -> list[float]:
        n = self.num_train_steps
        if self.beta_schedule == "squaredcos_cap_v2":  # Nichol & Dhariwal 2021, equation 17

            def abar(u: float) -> float:
                return math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2

            return [min(1 - abar((i + 1) / n) / abar(i / n), 0.999) for i in range(n)]
        power = 2 if self.beta_schedule == "scaled_linear" else 1
        start, end = self.beta_start ** (1 / power), self.beta_end ** (1 / power)
        return [(start + (end - start) * i / (n - 1)) ** power for i in range(n)]

    @cached_property
    def sigmas(self) -> tuple[float, ...]:
        """sigma of every train time, ascending."""
        roots, product = [], 1.0
        for beta in self._betas():
            product *= 1 - beta
            roots.append(math.sqrt(product))
        if self.zero_terminal_snr:  # Lin et al. 2023 (2305.08891), algorithm 1
            first, last = roots[0], roots[-1]
            roots = [(root - last) * first / (first - last) for root in roots]
            roots[-1] = 2.0**-12  # and not 0, whose sigma is infinite; diffusers' figure: sigma_max is 4096
        return tuple(math.sqrt((1 - root**2) / root**2) for root in roots)

    @property
    def sigma_min(self) -> float:
        return self.sigmas[0]

    @property
    def sigma_max(self) -> float:
        return self.sigmas[-1]

    def sigma(self, t: float) -> float:
        """The noise level at a train time in [0, num_train_steps - 1]; between train times, log sigma is linear."""
        last = self.num_train_steps - 1
        if not 0 <= t <= last:
            raise ValueError(f"train time {t} is outside [0, {last}]")
        low = math.floor(t)
        w = t - low
        if w == 0:
            return self.sigmas[low]
        return math.exp((1 - w) * math.log(self.sigmas[low]) + w * math.log(self.sigmas[low + 1]))

    def t(self, sigma: float) -> float:
        """The train time of a noise level, the inverse of `sigma`; levels outside the trained ones get the nearest."""
        if sigma <= self.sigma_min:
            return 0.0
        if sigma >= self.sigma_max:
            return float(self.num_train_steps - 1)
        high = bisect_left(self.sigmas, sigma)
        low, top = math.log(self.sigmas[high - 1]), math.log(self.sigmas[high])
        return high - 1 + (math.log(sigma) - low) / (top - low)

    def nearest(self, sigma: float) -> float:
        """The trained level nearest to sigma, by plain distance, as Karras et al. 2022 (C.3.4) round."""
        high = min(bisect_left(self.sigmas, sigma), self.num_train_steps - 1)
        low = max(high - 1, 0)
        return min(self.sigmas[low], self.sigmas[high], key=lambda s: abs(s - sigma))
