"""Settings: what they refuse, and that all of them come back from JSON."""

import json
import math
from dataclasses import fields
from typing import Any

import pytest

from stable_diffusion.settings import CompleteSettings, Settings
from tests.recipes import ONE, OTHER, PLAIN, strict


def test_these_settings_leave_no_default_alone() -> None:
    for field in fields(Settings):
        assert ONE.was_set(field.name) or OTHER.was_set(field.name), f"{field.name} is not tested here"


@pytest.mark.parametrize("settings", [ONE, OTHER, PLAIN, Settings(), Settings(seed=5, sigmas=(3.0, 0.0))])
def test_settings_come_back_from_json(settings: Settings) -> None:
    text = json.dumps(settings.as_json(), allow_nan=False)
    assert type(settings).from_json(strict(text)) == settings


def test_infinity_is_written_as_strict_json() -> None:
    assert Settings().s_tmax == math.inf
    assert strict(json.dumps(Settings().as_json()))["s_tmax"] == "inf"
    assert Settings.from_json({"s_tmax": "inf"}) == Settings()


def test_what_json_leaves_out_keeps_its_default() -> None:
    assert Settings.from_json({}) == Settings()
    assert Settings.from_json({"seed": 3, "perturb": [[1, 0.5]]}) == Settings(seed=3, perturb=((1, 0.5),))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"sede": 3, "stepz": 4}, "there are no settings sede, stepz"),
        ({"seed": "3"}, "seed is '3'"),
        ({"seed": 2.0}, "a whole number"),
        ({"width": True}, "width is True"),
        ({"steps": 0}, "from 1 to 10000"),
        ({"prompt": None}, "prompt is None"),
        ({"sigmas": [3.0, "x"]}, "sigmas is"),
        ({"sigmas": 3.0}, "some numbers"),
        ({"sigmas": [3.0], "times": [9.0]}, "leave it out where sigmas are given"),
        ({"perturb": [[1, 2.0]]}, "from 0 to 1"),
        ({"perturb": [[1]]}, "pairs of a seed and an amount"),
        ({"perturb": [5]}, "perturb is"),
        ({"perturb": None}, "perturb is None"),
        ({"s_tmin": [1]}, "s_tmin is"),
        ({"s_tmax": None}, "s_tmax is None"),
        ({"s_tmax": math.nan}, "s_tmax is nan"),
        ({"strength": math.nan}, "a finite number"),
        ({"cfg": "inf"}, "a number"),
        ({"start": "nowhere"}, "noise or inversion"),
        ({"noise_source": "cuda"}, "mlx, torch or nvidia"),
        ({"start_scale": 2}, "sigma or unit"),
        ({"of_batch": "5/4", "noise_source": "torch"}, "of_batch is '5/4': it must be K/N"),
        ({"of_batch": [2, 4], "noise_source": "torch"}, "of_batch is"),
        ({"of_batch": "2/4"}, "it is for noise_source torch or nvidia"),
        ({"step_seed_delta": -1}, "step_seed_delta is -1: with the seed 0 that leads to no seed"),
        ({"step_seed_delta": 0.5}, "step_seed_delta is 0.5"),
        ({"variation_strength": 0.5}, "name a variation_seed too"),
        ({"variation_strength": 1.5, "variation_seed": 3}, "from 0 to 1"),
    ],
)
def test_settings_that_no_run_could_have_are_not_read(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        Settings.from_json(values)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["width", "height", "steps", "cfg", "cfg_rescale", "sampler", "spacing"])
def test_complete_settings_lack_nothing(name: str) -> None:
    missing = {key: value for key, value in PLAIN.as_json().items() if key != name}
    for values in (missing, {**missing, name: None}):
        with pytest.raises(ValueError, match=name):
            CompleteSettings.from_json(values)


@pytest.mark.parametrize("name", ["prompt", "negative_prompt", "source_prompt"])
def test_inf_is_a_word_too(name: str) -> None:
    settings = Settings(**{name: "inf"})  # type: ignore[arg-type]
    assert Settings.from_json(settings.as_json()) == settings


@pytest.mark.parametrize("name", ["s_churn", "s_noise", "image_weight"])
def test_none_is_no_number_where_there_is_no_default_to_look_up(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        Settings(**{name: None})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["cfg", "s_churn", "strength", "eta"])
def test_a_number_beyond_all_reason_is_a_sentence(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        Settings(**{name: 10**400})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        {"strength": 1.5}, {"strength": float("nan")}, {"cfg": float("inf")}, {"seed": -1}, {"n_images": 0},
        {"width": 60}, {"steps": 0}, {"perturb": ((1, 1.5),)}, {"cfg_rescale": 2}, {"eta": -1}, {"discretize": "half"},
        {"strength": 0.5, "start_step": 1}, {"sigmas": (1.0,), "times": (1.0,)},
    ],
)  # fmt: skip
def test_settings_that_no_run_could_have_are_errors(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(reversed(change))):
        Settings(**change)  # type: ignore[arg-type]


def test_settings_given_as_json_are_the_settings() -> None:
    settings = Settings(prompt="a", perturb=((1, 0.5), (2, 0.25, "1x1:eJz7DwABAQEA")), sigmas=(3.0, 1.0))
    assert Settings.from_json(json.loads(json.dumps(settings.as_json()))) == settings


@pytest.mark.parametrize(
    "values",
    [
        {"perturb": [[1, 0.5]] * 1001},
        {"perturb": [[1, 0.5, "x" * (10**6 + 1)]]},
        {"prompt": "x" * 100_001},
        {"sigmas": [1.0] * 10_001},
        {"steps": 10**9},
        {"n_images": 10**9},
    ],
)
def test_no_file_can_ask_for_more_than_a_person_could(values: dict[str, Any]) -> None:
    (name,) = values
    with pytest.raises(ValueError, match=f"{name} is .*: it must be") as caught:
        Settings.from_json(values)
    assert len(str(caught.value)) < 400
