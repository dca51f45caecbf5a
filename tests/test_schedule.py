import math
from typing import Any

import numpy as np
import pytest

from stable_diffusion.diffusion.schedule import NoiseSchedule

# In float64: numpy.cumprod(1 - numpy.linspace(.00085 ** .5, .012 ** .5, 1000) ** 2); shared reference, section 0.
FIRST = [0.029167, 0.041314, 0.050680, 0.058614, 0.065637, 0.072016, 0.077911, 0.083423, 0.088625, 0.093568]


def cumprod_sigmas(betas: np.ndarray) -> np.ndarray:
    abar = np.cumprod(1 - betas)
    return np.sqrt((1 - abar) / abar)


def test_stable_diffusions_levels() -> None:
    schedule = NoiseSchedule()
    assert schedule.sigma_min == pytest.approx(0.0291671582, abs=1e-10)
    assert schedule.sigma_max == pytest.approx(14.6146412293, abs=1e-9)
    assert schedule.sigmas[:10] == pytest.approx(FIRST, abs=5e-7)
    numpys = cumprod_sigmas(np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)
    assert schedule.sigmas == pytest.approx(numpys, rel=1e-12)


def test_linear_betas_give_ddpms_levels() -> None:
    schedule = NoiseSchedule(beta_schedule="linear", beta_start=1e-4, beta_end=0.02)
    assert schedule.sigmas == pytest.approx(cumprod_sigmas(np.linspace(1e-4, 0.02, 1000)), rel=1e-12)


def test_cosine_betas_follow_the_cosine_until_they_are_capped() -> None:
    sigmas = NoiseSchedule(beta_schedule="squaredcos_cap_v2").sigmas
    for t in (0, 10, 500, 990):  # abar_t is cos^2 at (t + 1) / 1000, over cos^2 at 0: products telescope
        abar = (
            math.cos(((t + 1) / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
        )
        assert sigmas[t] == pytest.approx(math.sqrt((1 - abar) / abar), rel=1e-9)
    assert math.isfinite(sigmas[-1])
    ratio = (1 + sigmas[-1] ** 2) / (1 + sigmas[-2] ** 2)
    assert ratio == pytest.approx(1000, rel=1e-9)  # the last beta is 0.999


def test_zero_terminal_snr_gives_the_reference_levels() -> None:
    schedule = NoiseSchedule(prediction_type="v_prediction", zero_terminal_snr=True)
    assert schedule.sigma_max == pytest.approx(4096.0, abs=1e-3)  # diffusers' 2^-24 for abar
    assert schedule.sigmas[998] == pytest.approx(2254.24, abs=5e-3)
    assert schedule.sigmas[500] == pytest.approx(1.774557, abs=5e-7)
    assert schedule.sigma_min == pytest.approx(NoiseSchedule().sigma_min, rel=1e-12)


def test_between_train_times_log_sigma_is_linear() -> None:
    schedule = NoiseSchedule()
    assert schedule.sigma(500) == schedule.sigmas[500]
    assert schedule.sigma(500.5) == pytest.approx(math.sqrt(schedule.sigmas[500] * schedule.sigmas[501]), rel=1e-12)


def test_time_is_the_inverse_of_sigma() -> None:
    schedule = NoiseSchedule()
    for t in (0, 0.25, 1, 12.001, 298.658, 745.868, 998.5, 999):
        assert schedule.t(schedule.sigma(t)) == pytest.approx(t, abs=1e-8)
    assert schedule.t(0.001) == 0
    assert schedule.t(80) == 999


def test_nearest_is_by_plain_distance() -> None:
    # Between the geometric and the arithmetic midpoint of the two least levels, the two distances disagree.
    schedule = NoiseSchedule()
    assert schedule.nearest(0.035) == schedule.sigmas[0]
    assert schedule.nearest(0.0353) == schedule.sigmas[1]
    assert schedule.nearest(99) == schedule.sigma_max
    assert schedule.nearest(0) == schedule.sigma_min


def test_a_schedulers_config_is_read() -> None:
    config = {
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "prediction_type": "v_prediction",
        "rescale_betas_zero_snr": True,
        "steps_offset": 1,
    }
    schedule = NoiseSchedule.from_diffusers(config)
    assert schedule == NoiseSchedule(prediction_type="v_prediction", zero_terminal_snr=True)


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ({"beta_schedule": "sigmoid"}, "sigmoid"),
        ({"prediction_type": "flow"}, "flow"),
        ({"trained_betas": [0.1]}, "trained_betas"),
        ({"num_train_timesteps": 1}, "num_train_steps"),
    ],
)
def test_what_no_schedule_can_be_is_an_error_that_names_it(config: dict[str, object], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        NoiseSchedule.from_diffusers(config)


@pytest.mark.parametrize("t", [-0.1, 999.5])
def test_a_time_outside_training_is_an_error(t: float) -> None:
    with pytest.raises(ValueError, match="outside"):
        NoiseSchedule().sigma(t)


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"_class_name": "FlowMatchEulerDiscreteScheduler"}, "FlowMatchEulerDiscreteScheduler"),
        ({"_class_name": "EDMEulerScheduler"}, "EDMEulerScheduler"),
        ({"_class_name": "EDMDPMSolverMultistepScheduler"}, "EDMDPMSolverMultistepScheduler"),
        ({"_class_name": "CMStochasticIterativeScheduler"}, "CMStochasticIterativeScheduler"),
        ({"_class_name": "ScoreSdeVeScheduler"}, "ScoreSdeVeScheduler"),
        ({"_class_name": "CosineDPMSolverMultistepScheduler"}, "CosineDPMSolverMultistepScheduler"),
        ({"_class_name": "DPMSolverMultistepScheduler", "use_flow_sigmas": True}, "use_flow_sigmas"),
        ({"_class_name": "EulerDiscreteScheduler", "timestep_type": "continuous"}, "timestep_type"),
    ],
)
def test_a_schedule_of_another_family_is_refused_by_name(config: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=f"{named}.* is not supported"):
        NoiseSchedule.from_diffusers(config)


@pytest.mark.parametrize("kind", ["DDIM", "PNDM", "EulerAncestralDiscrete", "UniPCMultistep", "LCM", "SASolver"])
def test_schedules_of_betas_are_read_whatever_sampler_they_are_named_after(kind: str) -> None:
    config = {
        "_class_name": f"{kind}Scheduler",
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "beta_end": 0.012,
    }
    assert NoiseSchedule.from_diffusers(config) == NoiseSchedule()
