"""Presets say where weights are; no name means two checkpoints."""

import re
from pathlib import Path

import pytest

from stable_diffusion.diffusion.samplers import SAMPLERS
from stable_diffusion.diffusion.spacing import SPACINGS
from stable_diffusion.presets import DEFAULT_MODEL, DEMO, DISTILLED, PRESETS, distilled_of, perhaps_distilled, preset_of


def test_the_default_model_is_inside_the_package() -> None:
    assert PRESETS[DEFAULT_MODEL].place == DEMO
    assert (DEMO / "model_index.json").is_file()
    assert PRESETS[DEFAULT_MODEL].repos == ()


@pytest.mark.parametrize("name", PRESETS)
def test_a_presets_defaults_are_words_that_the_registries_know(name: str) -> None:
    defaults = PRESETS[name].defaults
    assert defaults.sampler in SAMPLERS and defaults.spacing in SPACINGS
    assert defaults.steps >= 1 and 0 <= defaults.strength <= 1
    assert int(defaults.steps * defaults.strength) >= 1


def test_every_repo_has_a_repos_name_and_belongs_to_one_preset() -> None:
    repos = [repo for preset in PRESETS.values() for repo in (*preset.repos, *preset.formerly)]
    assert len(repos) == len(set(repos))
    for repo in repos:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", repo), repo
        assert not Path(repo).exists()


def test_a_preset_is_found_by_its_name_its_source_its_mirrors_and_its_former_places() -> None:
    for name, preset in PRESETS.items():
        for model in (name, *preset.repos, *preset.formerly):
            assert preset_of(model) is preset
    assert preset_of("somebody/else") is None


@pytest.mark.parametrize(
    ("name", "kind", "defaults"),
    [
        ("Hyper-SDXL-8steps-CFG-lora", "hyper", ("ddim", "trailing", 8, 5.0, None)),
        ("Hyper-SDXL-8steps-lora", "hyper", ("tcd", "trailing", 8, 1.0, None)),
        ("Hyper-SDXL-1step-lora", "hyper", ("tcd", "trailing", 1, 1.0, (800.0,))),
        ("sdxl_lightning_1step_x0", "lightning", ("euler", "trailing", 1, 1.0, None)),
        ("dmd2_sdxl_4step_lora_fp16", "dmd2", ("lcm", "trailing", 4, 1.0, None)),
        ("dmd2_sdxl_1step_unet_fp16", "dmd2", ("lcm", "trailing", 1, 1.0, (399.0,))),
        ("pcm_sd15_smallcfg_2step_converted", "pcm", ("ddim", "trailing", 2, 1.0, None)),
        ("pcm_sdxl_normalcfg_8step_converted_fp16", "pcm", ("ddim", "trailing", 8, 6.0, None)),
        ("pcm_sd15_lcmlike_lora_converted", "pcm", ("lcm", "trailing", 4, 1.0, None)),
        ("TCD-SDXL-LoRA", "tcd", ("tcd", "lcm", 4, 1.0, None)),
        ("lcm-lora-sdxl", "lcm", ("lcm", "lcm", 4, 1.0, None)),
        ("sd_xl_turbo_1.0_fp16", "turbo", ("euler_a", "trailing", 2, 0.0, None)),
    ],
)
def test_authors_names_bring_what_they_say_of_their_files(name: str, kind: str, defaults: tuple[object, ...]) -> None:
    found = distilled_of(f"{name}.safetensors")
    assert found is not None and found[0] == kind
    d = found[1]
    assert (d.sampler, d.spacing, d.steps, d.cfg, d.times) == defaults
    assert perhaps_distilled(f"{name}.safetensors") is None


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("juggernautXL_v9Rdphoto2Lightning", "lightning"),
        ("dreamshaperXL_v21TurboDPMSDE", "turbo"),
        ("epicrealismXL_vxviLastfameDMD2", "dmd2"),
        ("RealVisXL_V5.0_Hyper", "hyper"),
        ("absoluterealityLCM_v2", "lcm"),
        ("HyperRealism_v3", None),
        ("hyperrealistic", None),
        ("turbovision", None),
        ("calcms", None),
        ("v1-5-pruned", None),
    ],
)
def test_a_merges_name_hints_at_few_steps_and_no_more(name: str, word: str | None) -> None:
    assert perhaps_distilled(f"{name}.safetensors") == word and distilled_of(f"{name}.safetensors") is None
    assert word is None or word in DISTILLED


def test_a_turbo_repo_brings_its_defaults_however_it_is_named() -> None:
    preset = preset_of("stabilityai/sd-turbo")
    assert preset and preset.defaults.cfg == 0 and preset.defaults.steps <= 4
