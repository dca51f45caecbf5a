"""Presets say where weights are; no name means two checkpoints."""

import re
from pathlib import Path

import pytest

from stable_diffusion.diffusion.samplers import SAMPLERS
from stable_diffusion.diffusion.spacing import SPACINGS
from stable_diffusion.presets import DEFAULT_MODEL, DEMO, PRESETS, preset_of


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


def test_a_turbo_repo_brings_its_defaults_however_it_is_named() -> None:
    preset = preset_of("stabilityai/sd-turbo")
    assert preset and preset.defaults.cfg == 0 and preset.defaults.steps <= 4
