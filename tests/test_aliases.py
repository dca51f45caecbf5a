import pytest

from stable_diffusion import SAMPLERS, SPACINGS
from stable_diffusion.diffusion.aliases import sampler_name, spacing_name


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("Euler a", ("euler_a", None)),  # AUTOMATIC1111
        ("DPM++ 2M", ("dpmpp_2m", None)),
        ("DPM++ 2M Karras", ("dpmpp_2m", "karras")),
        ("DPM++ 2M SDE Exponential", ("dpmpp_2m_sde", "exponential")),
        ("DPM++ 2S a Karras", ("dpmpp_2s_a", "karras")),
        ("DPM++ 3M SDE Karras", ("dpmpp_3m_sde", "karras")),
        ("DPM2 a Karras", ("dpm2_a", "karras")),
        ("LMS Karras", ("lms", "karras")),
        ("Restart", ("restart", None)),
        ("UniPC", ("unipc:order=3,variant=bh1", None)),
        ("euler_ancestral", ("euler_a", None)),  # ComfyUI
        ("dpm_2_ancestral", ("dpm2_a", None)),
        ("dpmpp_2s_ancestral", ("dpmpp_2s_a", None)),
        ("dpmpp_3m_sde", ("dpmpp_3m_sde", None)),
        ("uni_pc", ("unipc:order=3,variant=bh1", None)),
        ("uni_pc_bh2", ("unipc:order=3,variant=bh2", None)),
        ("dpmpp_2m_sde_gpu", ("dpmpp_2m_sde", None)),
        ("k_euler_a", ("euler_a", None)),
        ("sample_dpmpp_2m", ("dpmpp_2m", None)),
        ("DPMSolverMultistep", ("dpmpp_2m", None)),
        ("EulerDiscreteScheduler", ("euler", None)),  # diffusers
        ("DPMSolverMultistepScheduler", ("dpmpp_2m", None)),
        ("KDPM2AncestralDiscreteScheduler", ("dpm2_a", None)),
    ],
)
def test_other_tools_names_are_known(name: str, ours: tuple[str, str | None]) -> None:
    assert sampler_name(name) == ours


def test_our_own_names_are_themselves() -> None:
    for name in SAMPLERS:
        assert sampler_name(name) == (name, None)
    for name in SPACINGS:
        assert spacing_name(name) == name


def test_other_tools_spacings_are_known() -> None:
    assert spacing_name("normal") == "uniform"
    assert spacing_name("simple") == "trailing"
    assert spacing_name("SGM Uniform") == "sgm_uniform"
    assert spacing_name("Align Your Steps") == "align_your_steps"
    assert spacing_name("Karras:rho=5") == "karras:rho=5"


def test_options_stay_behind_the_name() -> None:
    assert sampler_name("UniPC:order=2,variant=bh2") == ("unipc:order=2,variant=bh2", None)
    assert sampler_name("LMS Karras:order=2") == ("lms:order=2", "karras")


def test_unknown_names_suggest_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"unknown sampler 'eulr': did you mean .*euler"):
        sampler_name("eulr")
    with pytest.raises(ValueError, match="unknown spacing 'karas': did you mean karras"):
        spacing_name("karas")
    with pytest.raises(ValueError, match="--sampler list shows all"):
        sampler_name("xyzzy")
