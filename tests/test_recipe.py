"""Recipes and settings as JSON: everything comes back, and what is damaged is said in one sentence."""

import copy
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from stable_diffusion.jobs.kinds import Grid
from stable_diffusion.jobs.model import Model
from stable_diffusion.jobs.recipe import VERSION, Batch, Recipe, differences
from stable_diffusion.jobs.view import View
from stable_diffusion.settings import Outdated
from tests.recipes import ONE, OTHER, PLAIN, strict

RECIPE = Recipe(
    settings=ONE,
    model=Model("models/my model", "0123456789abcdef" * 4, True, 4),
    image={"name": "a ü.png", "sha256": "1" * 64},
    mask={"name": "m.png", "sha256": "2" * 64},
    batch=Batch((OTHER, ONE, replace(ONE, seed=9)), 1, None, 2),
    view=View(n_rows=2, kind=Grid((("cfg", (1.0, 7.5)),)), frames="clean"),
    made_by="stable-diffusion-mlx 0.0.1",
)
SIMPLE = Recipe(PLAIN, Model("sd1.5", "ab" * 32, False))


# Recipes


@pytest.mark.parametrize("recipe", [RECIPE, SIMPLE, replace(RECIPE, settings=OTHER, batch=None)])
def test_a_recipe_comes_back_whole(recipe: Recipe) -> None:
    text = recipe.as_json()
    assert text.isascii() and "\n" not in text
    assert strict(text)["version"] == VERSION
    assert Recipe.from_json(text) == recipe


def test_a_recipe_from_json_can_be_written_again() -> None:
    assert Recipe.from_json(RECIPE.as_json()).as_json() == RECIPE.as_json()


def test_what_a_recipe_does_not_have_is_not_written() -> None:
    assert set(strict(SIMPLE.as_json())) == {"version", "made_by", "model", "settings"}


def test_runs_that_were_made_together_are_kept_as_their_differences() -> None:
    many = tuple(replace(PLAIN, seed=k, cfg=3.0 + k % 2) for k in range(4))
    recipe = replace(SIMPLE, batch=Batch(many, 0, 4))
    written = strict(recipe.as_json())["together"]
    assert written["differences"] == [{}, {"seed": 1, "cfg": 4.0}, {"seed": 2}, {"seed": 3, "cfg": 4.0}]
    assert Recipe.from_json(recipe.as_json()) == recipe


def test_differences_are_what_the_other_settings_have_otherwise() -> None:
    assert differences(ONE, ONE) == {}
    assert differences(PLAIN, replace(PLAIN, seed=5, s_tmin=1.0)) == {"seed": 5, "s_tmin": 1.0}
    assert differences(replace(PLAIN, s_tmax=2.0), PLAIN) == {"s_tmax": "inf"}


# Damage


def changed(*path: str | int, to: Any) -> str:
    """The recipe's JSON with another value at a place."""
    values = strict(RECIPE.as_json())
    inside = values
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = to
    return json.dumps(values)


def refusal(text: str) -> str:
    """The sentence that a text is refused with, which goes on after "a.png can't be made again: "."""
    with pytest.raises(ValueError, match=r"^its settings are ") as caught:
        Recipe.from_json(text)
    sentence = str(caught.value)
    assert "\n" not in sentence and not sentence.endswith(".")
    return sentence


@pytest.mark.parametrize(
    "text", ["", "{", "null", "[]", "[1, 2]", "3", '"version"', "{}", '{"settings": {}}', "ü", "\0"]
)
def test_what_is_no_recipe_is_damaged(text: str) -> None:
    assert refusal(text) == "its settings are damaged"


def test_a_text_that_was_cut_off_anywhere_is_damaged() -> None:
    text = SIMPLE.as_json()
    assert {refusal(text[:n]) for n in range(len(text))} == {"its settings are damaged"}


@pytest.mark.parametrize("version", [VERSION + 1, 0, "1", None, [1]])
def test_a_recipe_of_another_version_is_not_guessed_at(version: Any) -> None:
    sentence = refusal(changed("version", to=version))
    assert f"of version {version!r}, and {VERSION} is known here: update this package" in sentence


@pytest.mark.parametrize("key", ["made_by", "model", "settings"])
def test_a_missing_part_is_named(key: str) -> None:
    values = strict(RECIPE.as_json())
    del values[key]
    assert refusal(json.dumps(values)) == f"its settings are damaged (there is no {key!r})"


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("settings",), None, "damaged"),
        (("settings",), [1], "damaged"),
        (("settings", "sede"), 3, "there are no settings sede"),
        (("settings", "steps"), -4, "steps is -4: it must be from 1 to 10000"),
        (("settings", "cfg"), "7.5", "cfg is '7.5': it must be a number"),
        (("settings", "perturb", 1, 1), 7, "perturb is"),
        (("model",), None, "damaged"),
        (("model", "name"), 3, "name is 3: it must be a text"),
        (("model", "hash"), 3, "hash is 3: it must be a text"),
        (("model", "float16"), 1, "float16 is 1: it must be true or false"),
        (("model", "quantize"), "4", "quantize is '4': it must be 2, 3, 4, 6 or 8 bits, or mxfp4, mxfp8, nvfp4"),
        (("model", "quantize"), 5, "2, 3, 4, 6 or 8"),
        (("made_by",), None, "made_by is None: it must be a text"),
        (("image",), "a.png", "image is 'a.png': it must be texts by name"),
        (("image", "sha256"), 3, "texts by name"),
        (("mask",), [["name", "m.png"]], "texts by name"),
        (("view",), [1], "is no object"),
        (("view", "n_rows"), 0, "n_rows is 0: it must be 1 or more"),
        (("view", "grid"), [["cfg", [1]], ["seed", [2]], ["eta", [0]]], "one or two settings"),
        (("view", "grid"), [["output", ["/etc"]]], "one or two settings"),
        (("together",), 3, "damaged"),
        (("together", "differences"), 3, "damaged"),
        (("together", "differences", 0), [], "is no object"),
        (("together", "differences", 0), {"sede": 1}, "there are no settings sede"),
        (("together", "differences", 1), {"seed": 1}, "its own run is not among those"),
        (("together", "index"), "1", "index is '1'"),
        (("together", "index"), 0, "its own run is not among those"),
        (("together", "index"), 3, "its own run is not among those"),
        (("together", "index"), -2, "index is -2: it must be 0 or more"),  # which Python would count from the end
        (("together", "batch_size"), "4", "batch_size is '4'"),
        (("together", "decoding_batch_size"), None, "decoding_batch_size is None"),
    ],
)
def test_a_wrong_value_is_named(path: tuple[str | int, ...], value: Any, words: str) -> None:
    sentence = refusal(changed(*path, to=value))
    assert sentence.startswith("its settings are damaged (")
    assert words in sentence


def test_a_picture_of_merged_tokens_is_refused_and_one_of_none_is_read_as_ever() -> None:
    for place in (("settings", "merge_tokens"), ("together", "differences", 0, "merge_tokens")):
        assert Recipe.from_json(changed(*place, to=0.0)) == RECIPE
        with pytest.raises(Outdated, match=r"^merge_tokens 0\.5 was used for it, and tokens are no longer merged here"):
            Recipe.from_json(changed(*place, to=0.5))
    with pytest.raises(Outdated, match=r"^merge_tokens .* was used"):
        Recipe.from_json(changed("view", "grid", to=[["merge_tokens", [0, 0.5]]]))


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every place in a tree of JSON."""
    if path:
        yield path
    for key, inside in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        yield from places(inside, (*path, key))


def test_whatever_is_changed_or_missing_it_is_a_recipe_or_a_sentence() -> None:
    whole = strict(RECIPE.as_json())
    strange: list[Any] = [
        None, True, -1, 0, 1, 2.5, 1e308, math.inf, math.nan, "", "x", "inf", [], [1], [[1]], [[1, 0.5, 3]], {},
        {"a": 1},
    ]  # fmt: skip
    read, sentences = 0, []
    for path in places(whole):
        for value in ["(delete)", *strange]:
            values = copy.deepcopy(whole)
            inside = values
            for key in path[:-1]:
                inside = inside[key]
            if value == "(delete)":
                del inside[path[-1]]
            else:
                inside[path[-1]] = value
            try:
                assert isinstance(Recipe.from_json(json.dumps(values)), Recipe)
                read += 1
            except ValueError as error:
                sentences.append(str(error))
            except Exception as error:
                raise AssertionError(f"{path} as {value!r} gave {error!r}") from error
    assert read > 100 and len(sentences) > 500
    assert not [sentence for sentence in sentences if not sentence.startswith("its settings are ") or "\n" in sentence]


@pytest.mark.parametrize("name", ["image", "mask"])
@pytest.mark.parametrize("value", [0, "", [], False])
def test_a_picture_that_is_nothing_is_damaged(name: str, value: Any) -> None:
    refusal(changed(name, to=value))


def test_a_text_that_is_nested_without_end_is_damaged() -> None:
    refusal("[" * 100_000)


def test_numpys_numbers_can_be_written() -> None:
    settings = replace(PLAIN, seed=np.int64(3), cfg=np.float32(2.5), perturb=((np.int64(1), 0.5),))
    assert strict(replace(SIMPLE, settings=settings).as_json())["settings"]["seed"] == 3
