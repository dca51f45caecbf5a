"""Whatever strangers' files hold, a reader returns what it promises or says one sentence, and soon."""

import json
import os
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from stable_diffusion.exchange.a1111 import parameters, read_parameters
from stable_diffusion.exchange.tools import ToolsPicture, read_tool
from stable_diffusion.jobs.axes import read_axis
from stable_diffusion.jobs.kinds import read_strengths
from stable_diffusion.jobs.recipe import Recipe
from stable_diffusion.jobs.view import View
from stable_diffusion.pipeline.masks import unpacked
from stable_diffusion.settings import ROWS, Settings, read_perturbation
from tests.test_recipe import RECIPE

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(max_size=12), inside, max_size=4),
    max_leaves=8,
)
WORDS = [
    "prompt", "negative_prompt", "seed", "steps", "guidance_scale", "sampler", "scheduler", "resolution", "uc", "c",
    "scale", "sui_image_params", "image", "positive_prompt", "class_type", "inputs", "KSampler", "width", "size",
]  # fmt: skip
OBJECTS = st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=8), JSON, max_size=8)
PARTS = ["Steps: 4", "Sampler: Euler a", "CFG scale: 7", "Seed: 5", "Size: 64x64", "Negative prompt: ", "\n", " | "]
LINES = st.lists(st.sampled_from(PARTS) | st.text(max_size=30), max_size=12).map(", ".join)
CHUNKS = st.sampled_from(
    ["parameters", "prompt", "Comment", "invokeai_metadata", "sd-metadata", "Dream", "stealth_pngcomp", "comment", "x"]
)
TEXTS = st.dictionaries(CHUNKS, OBJECTS.map(json.dumps) | LINES | st.text(max_size=60), max_size=3)
VIEWS = st.sampled_from(["grid", "generate_triangle", "perturb", "highlight", "frames", "n_rows"])
RECIPE_PARTS = st.sampled_from(["settings", "model", "view", "together", "image", "mask", "made_by"])
TYPED = st.text(max_size=40) | st.from_regex(r"[a-z_]{1,12}=[-0-9.,|:a-z]{0,20}") | st.from_regex(r"[-0-9.:,e]{0,12}")

# Always the same ones, so that what is green stays green. After large changes: PROPERTY_EXAMPLES=1000 pytest tests
EXAMPLES = int(os.environ.get("PROPERTY_EXAMPLES", "100"))
often = settings(max_examples=EXAMPLES, deadline=10_000, derandomize=True)


def refused(read: Any, *args: Any) -> bool:
    """Does it say one sentence? Anything but a ValueError is a mistake, and comes through."""
    try:
        read(*args)
    except ValueError as error:
        return bool(str(error))
    return False


@often
@given(texts=TEXTS)
def test_other_tools_texts_give_settings_that_a_run_could_have(texts: dict[str, str]) -> None:
    if not refused(read_tool, texts):
        found = read_tool(texts)
        assert isinstance(found, ToolsPicture)
        Settings(**found.said.settings)


@often
@given(text=LINES)
def test_any_text_is_read_as_parameters(text: str) -> None:
    Settings(**read_parameters(text).settings)


@often
@given(key=st.sampled_from(sorted(ROWS)), value=JSON)
def test_any_value_of_a_setting_is_taken_or_refused(key: str, value: Any) -> None:
    if not refused(Settings.from_json, {key: value}):
        s = Settings.from_json({key: value})
        assert Settings.from_json(json.loads(json.dumps(s.as_json()))) == s


@often
@given(part=RECIPE_PARTS, value=JSON)
def test_any_part_of_a_recipe_is_taken_or_refused(part: str, value: Any) -> None:
    text = json.dumps({**json.loads(RECIPE.as_json()), part: value})
    if not refused(Recipe.from_json, text):
        recipe = Recipe.from_json(text)
        assert Recipe.from_json(recipe.as_json()) == recipe and parameters(recipe.settings, recipe.origin)


@often
@given(values=st.dictionaries(VIEWS, JSON))
def test_any_view_is_taken_or_refused(values: dict[str, Any]) -> None:
    if not refused(View.from_json, values):
        view = View.from_json(values)
        assert View.from_json(json.loads(json.dumps(view.as_json()))) == view


@often
@given(text=TYPED)
def test_any_word_of_a_command_line_is_read_or_refused(text: str) -> None:
    for read in (read_axis, read_strengths, read_perturbation, unpacked):
        refused(read, text)
