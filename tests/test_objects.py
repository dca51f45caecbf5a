"""Other tools' JSON: every value in it is taken, or named, or is known to mean nothing for the picture."""

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stable_diffusion.exchange import drawthings, fooocus, invokeai, novelai, swarmui
from stable_diffusion.exchange.objects import FILED, Quiet, object_in, written
from stable_diffusion.exchange.tools import read_tool
from stable_diffusion.exchange.vocabulary import MEANINGLESS, ParsedParameters
from tests.test_properties import often

# An object of each tool, and where in it more may stand.
TOOLS: dict[str, tuple[Quiet, dict[str, Any], tuple[str, ...]]] = {
    "InvokeAI's": (
        invokeai._QUIET,
        {"positive_prompt": "a", "model": {"name": "m"}, "loras": [{"model": {"name": "ink"}, "weight": 0.5}]},
        (),
    ),
    "SwarmUI's": (swarmui._QUIET, {"sui_image_params": {"prompt": "a", "loras": ["ink"]}}, ("sui_image_params",)),
    "Fooocus's": (
        fooocus._QUIET,
        {"prompt": "a", "guidance_scale": 4.0, "resolution": "64", "loras": [["ink", 0.5]]},
        (),
    ),
    "Draw Things'": (drawthings._QUIET, {"c": "a", "steps": 4, "lora": [{"model": "ink", "weight": 0.5}]}, ()),
    "NovelAI's": (novelai._QUIET, {"prompt": "a", "uc": "b", "scale": 5.0, "v4_prompt": {}}, ()),
}
OLD_INVOKE = {"image": {"prompt": [{"prompt": "a"}], "seed": 5}}
NAMES = sorted(
    {"seed", "steps", "scale", "cfg_scale", "cfgscale", "guidance_scale", "strength", "width", "height", "size", "vae"}
    | {"loras", "lora", "loraweights", "model", "prompt", "negative_prompt", "negativeprompt", "uc", "v4_prompt"}
    | {"controlnets", "refiner_model", "lora_combined_1", "clip_skip", "resolution", "noise_schedule", "sampler"}
    | {"sampler_name", "scheduler", "Seed", "Steps", "styles", "v2", "positive_style_prompt", "sui_models", "Model"}
)
KINDS = st.sampled_from(["text", "whole", "half", "truth"])
TREES = st.recursive(
    KINDS,
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inside, max_size=3),
    max_leaves=6,
)
MORE = st.dictionaries(st.sampled_from(NAMES) | st.text("abcdef", min_size=2, max_size=6), TREES, max_size=6)


def filled(tree: Any, count: Iterator[int]) -> Any:
    """A tree of kinds of values as values, of which no two are the same, but for truths."""
    if isinstance(tree, dict):
        return {name: filled(inside, count) for name, inside in tree.items()}
    if isinstance(tree, list):
        return [filled(inside, count) for inside in tree]
    i = next(count)
    return {"text": f"q{i}z", "whole": 7_310_000 + i, "half": i + 0.25, "truth": i % 2 == 0}[tree]


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, dict | list):
        for name, inside in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inside, (*path, str(name)))
    else:
        yield path, value


def dropped(words: Any, found: ParsedParameters, quiet: Quiet) -> list[tuple[tuple[str, ...], Any]]:
    """The values that are neither taken, nor named, nor known to mean nothing."""
    skipped = found.settings.get("clip_skip", 0) + 1  # as other tools count
    told = json.dumps([found.settings, skipped, found.loras, found.model, found.not_understood], ensure_ascii=False)
    nothing = quiet.meaningless.keys() | MEANINGLESS.keys() | FILED
    return [
        (path, value)
        for path, value in leaves(words)
        if value not in (None, "")
        and not nothing & set(path)
        and value not in quiet.unchanged.get(path[-1], ())
        and written(value) not in told
    ]


@pytest.mark.parametrize("tool", TOOLS)
@often
@given(more=MORE)
def test_every_value_is_taken_or_named_or_means_nothing(tool: str, more: dict[str, Any]) -> None:
    quiet, base, place = TOOLS[tool]
    words = json.loads(json.dumps(base))
    inside = words
    for name in place:
        inside = inside[name]
    for name, value in filled(more, itertools.count(100)).items():
        if name in ("prompt", "uc", "guidance_scale") and tool != "InvokeAI's" and not isinstance(value, str):
            continue  # what the tool is known by
        inside[name] = value
    found = read_tool({"Comment": json.dumps(words)})
    assert found.tool == tool
    assert not dropped(words, found.said, quiet)


@often
@given(more=MORE, around=MORE)
def test_every_value_of_older_files_of_invoke_is_taken_or_named(more: dict[str, Any], around: dict[str, Any]) -> None:
    count = itertools.count(100)
    words = {**filled(around, count), "image": {**OLD_INVOKE["image"], **filled(more, count)}}
    found = read_tool({"sd-metadata": json.dumps(words)})
    assert not dropped(words, found.said, invokeai._QUIET)


ZEROS = {
    "InvokeAI's": {"positive_prompt": "a", "seed": 0, "cfg_scale": 0, "strength": 0.0, "cfg_rescale_multiplier": 0},
    "SwarmUI's": {"sui_image_params": {"prompt": "a", "seed": 0, "cfgscale": 0.0, "initimagecreativity": 0}},
    "Fooocus's": {"prompt": "a", "resolution": "", "seed": 0, "guidance_scale": 0.0},
    "Draw Things'": {"c": "a", "steps": 4, "seed": 0, "scale": 0, "strength": 0},
    "NovelAI's": {"prompt": "a", "uc": "", "seed": 0, "scale": 0, "strength": 0, "cfg_rescale": 0.0},
}


@pytest.mark.parametrize("tool", ZEROS)
def test_zero_is_a_value(tool: str) -> None:
    found = read_tool({"parameters": json.dumps(ZEROS[tool])})
    assert found.tool == tool and found.said.not_understood == []
    assert (found.said.settings["seed"], found.said.settings["cfg"]) == (0, 0)
    assert found.said.settings.get("strength", 0) == 0 and found.said.settings.get("cfg_rescale", 0) == 0


def test_what_is_off_is_named_unless_it_is_known_to_be_off_by_itself() -> None:
    words = {"positive_prompt": "a", "seamless_x": False, "something": False, "empty": [], "nothing": None, "no": 0}
    assert read_tool({"x": json.dumps(words)}).said.not_understood == ["something: false", "no: 0"]
    words = {"positive_prompt": "a", "seamless_x": True, "perlin": 0.5, "seed": True, "steps": [4]}
    found = read_tool({"x": json.dumps(words)}).said
    assert found.not_understood == ["seamless_x: true", "perlin: 0.5", "Seed: true", "Steps: [4]"]


@pytest.mark.parametrize(
    ("words", "loras"),
    [
        ({"positive_prompt": "a", "loras": [{"model": {"key": "q", "name": "ink"}, "weight": 0.75}]},
         [("ink", 0.75, 0.75)]),
        ({"positive_prompt": "a", "loras": [{"lora": {"model_name": "ink", "base_model": "sd-1"}, "weight": 0}]},
         [("ink", 0.0, 0.0)]),
        ({"sui_image_params": {"prompt": "a", "loras": ["ink", "old"], "loraweights": ["0.8", "-1"]}},
         [("ink", 0.8, 0.8), ("old", -1.0, -1.0)]),
        ({"sui_image_params": {"prompt": "a", "loras": "ink,old", "loraweights": "0.8,0.5"}},
         [("ink", 0.8, 0.8), ("old", 0.5, 0.5)]),
        ({"sui_image_params": {"prompt": "a", "loras": ["ink"], "loraweights": ["1"], "loratencweights": ["0.5"]}},
         [("ink", 1.0, 0.5)]),
        ({"prompt": "a", "guidance_scale": 4, "base_model": "j", "loras": [["ink.safetensors", 0.8, "abc"]]},
         [("ink.safetensors", 0.8, 0.8)]),
        ({"prompt": "a", "guidance_scale": 4, "base_model": "j", "lora_combined_1": "ink.safetensors : 0.8"},
         [("ink.safetensors", 0.8, 0.8)]),
        ({"c": "a", "steps": 4, "lora": [{"model": "ink.ckpt", "weight": 0.6}]}, [("ink.ckpt", 0.6, 0.6)]),
    ],
)  # fmt: skip
def test_loras_are_taken_with_their_amounts(words: dict[str, Any], loras: list[tuple[str, float, float]]) -> None:
    found = read_tool({"parameters": json.dumps(words)}).said
    assert list(found.loras) == loras and found.not_understood == []


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ({"positive_prompt": "a", "loras": [{"model": {"name": "ink"}, "weight": 1, "mask": "m"}]}, "mask"),
        ({"positive_prompt": "a", "loras": [{"model": {"name": "ink", "part": "unet"}, "weight": 1}]}, "unet"),
        ({"sui_image_params": {"prompt": "a", "loras": ["ink", "old"], "loraweights": ["1"]}}, 'loras: ["ink", "old"]'),
        ({"sui_image_params": {"prompt": "a", "loras": ["ink"], "loraweights": ["high"]}}, "high"),
        ({"prompt": "a", "guidance_scale": 4, "base_model": "j", "loras": [["ink", None]]}, '["ink", null]'),
        ({"c": "a", "steps": 4, "lora": [{"model": "ink", "weight": 1e999}]}, "ink"),
        ({"positive_prompt": "a", "controlnets": [{"control_model": {"name": "canny"}, "control_weight": 1}]}, "canny"),
        ({"positive_prompt": "a", "vae": {"key": "k", "name": "mse"}}, "vae: mse"),
        ({"prompt": "a", "uc": "b", "scale": 5, "v4_prompt": {"caption": {"base_caption": "a", "char_captions": [
            {"char_caption": "knight"}]}}}, "knight"),
        ({"prompt": "a", "uc": "b", "scale": 5, "v4_prompt": {"caption": {"base_caption": "another"}}}, "another"),
    ],
)  # fmt: skip
def test_what_cannot_be_taken_is_named_with_its_value(words: dict[str, Any], named: str) -> None:
    found = read_tool({"parameters": json.dumps(words)}).said
    assert named in " ".join(found.not_understood) and not found.loras


def test_the_prompt_once_more_says_nothing_new() -> None:
    captions = {side: {"caption": {"base_caption": told, "char_captions": []}, "use_coords": False}
                for side, told in (("v4_prompt", "a"), ("v4_negative_prompt", "b"))}  # fmt: skip
    found = read_tool({"Comment": json.dumps({"prompt": "a", "uc": "b", "scale": 5, **captions})}).said
    assert found.not_understood == []


def test_a_name_that_stands_twice_is_no_object() -> None:
    assert object_in('{"seed": 1, "seed": 2}') == {}
    assert object_in('{"seed": 1, "seed": 1}') == {"seed": 1}
    with pytest.raises(ValueError, match="not settings that are understood"):
        read_tool({"parameters": '{"prompt": "a", "guidance_scale": 4, "base_model": "j", "seed": 1, "seed": 2}'})


def test_of_two_names_for_one_thing_the_first_counts_and_the_other_is_named() -> None:
    words = {"positive_prompt": "a", "scheduler": "euler", "sampler": "ddim"}
    found = read_tool({"invokeai_metadata": json.dumps(words)}).said
    assert found.settings["sampler"] == "euler" and found.not_understood == ["sampler: ddim"]


def test_invokes_clip_skip_counts_the_layers_that_are_left_out() -> None:
    found = read_tool({"invokeai_metadata": json.dumps({"positive_prompt": "a", "clip_skip": 1})}).said
    assert found.settings["clip_skip"] == 1 and found.by_model == ("clip_skip_invoke",)


def test_invokes_command_line_of_2022_is_read() -> None:
    found = read_tool({"Dream": '"a \\"red\\" house" -s 50 -S 123 -W 512 -H 384 -C 7.5 -A k_lms -G 0.8 --hires_fix'})
    assert found.tool == "InvokeAI's"
    assert found.said.settings == {
        "prompt": 'a \\"red\\" house', "negative_prompt": "", "steps": 50, "seed": 123, "width": 512, "height": 384,
        "cfg": 7.5, "sampler": "k_lms",
    }  # fmt: skip
    assert found.said.not_understood == ["G: 0.8", "hires_fix: true"]
