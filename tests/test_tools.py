"""Other tools' pictures: read as far as their words are known, and never painted as a prompt."""

import json
import time
from typing import Any

import pytest

from stable_diffusion.exchange.a1111 import read_parameters
from stable_diffusion.exchange.tools import read_tool
from stable_diffusion.settings import Settings

LINE = "Steps: 4, Sampler: Euler a, CFG scale: 7, Seed: 1234, Size: 128x128"
GRAPH: dict[str, Any] = {
    "3": {
        "class_type": "KSampler",
        "inputs": {
            "seed": 77, "steps": 5, "cfg": 4.5, "sampler_name": "dpmpp_2m_sde_gpu", "scheduler": "karras",
            "denoise": 1.0, "model": ["10", 0], "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0],
        },
    },
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "v1-5.safetensors"}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 40, "height": 32, "batch_size": 1}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a house", "clip": ["4", 1]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "fog", "clip": ["4", 1]}},
    "10": {"class_type": "LoraLoader", "inputs": {"lora_name": "old", "strength_model": 0.8, "model": ["4", 0]}},
}  # fmt: skip


def settings_of(texts: dict[str, str]) -> Settings:
    return Settings(**read_tool(texts).said.settings)


def test_swarms_json_is_read() -> None:
    words = {"prompt": "a house", "negativeprompt": "fog", "seed": 58, "steps": 4, "cfgscale": 4.0, "width": 128,
             "height": 64, "model": "SDXL/some.safetensors", "swarm_version": "0.9",
             "colorcorrection": "hue"}  # fmt: skip
    found = read_tool({"parameters": json.dumps({"sui_image_params": words}, indent=1)})
    s = Settings(**found.said.settings)
    assert (s.prompt, s.negative_prompt, s.seed, s.steps, s.cfg, s.width, s.height) == (
        "a house",
        "fog",
        58,
        4,
        4,
        128,
        64,
    )
    assert (found.tool, found.said.model) == ("SwarmUI's", "SDXL/some.safetensors")
    assert found.said.not_understood == ["colorcorrection: hue"]


def test_fooocus_json_is_read() -> None:
    words = {"negative_prompt": "fog", "prompt": "a house", "guidance_scale": 4.0, "resolution": "(128, 64)",
             "sampler": "dpmpp_2m_sde_gpu", "scheduler": "karras", "seed": "123", "steps": 4}  # fmt: skip
    s = settings_of({"parameters": json.dumps(words), "fooocus_scheme": "fooocus"})
    assert (s.prompt, s.negative_prompt, s.seed, s.cfg, s.width, s.height) == ("a house", "fog", 123, 4, 128, 64)
    assert (s.sampler, s.spacing) == ("dpmpp_2m_sde", "karras")


def test_invokes_json_is_read_new_and_old() -> None:
    new = {"positive_prompt": "a house", "negative_prompt": "fog", "seed": 5, "steps": 4, "cfg_scale": 7.5, "width": 64,
           "height": 64, "scheduler": "dpmpp_2m_k", "model": {"name": "v1-5"}, "strength": 0.6,
           "app_version": "4", "rand_device": "cpu"}  # fmt: skip
    found = read_tool({"invokeai_metadata": json.dumps(new)})
    s = Settings(**found.said.settings)
    assert (s.prompt, s.seed, s.cfg, s.sampler, s.spacing, s.strength) == ("a house", 5, 7.5, "dpmpp_2m", "karras", 0.6)
    assert found.said.model == "v1-5" and found.said.not_understood == []
    assert s.noise_source == "torch"
    old = {
        "image": {
            "prompt": [{"prompt": "a house", "weight": 1}],
            "steps": 4,
            "cfg_scale": 7,
            "seed": 5,
            "width": 64,
            "height": 64,
        }
    }
    assert settings_of({"sd-metadata": json.dumps(old)}).prompt == "a house"


def test_novelais_and_draw_things_json_is_read() -> None:
    novel = {"prompt": "a house", "uc": "fog", "steps": 28, "scale": 11.0, "seed": 9, "width": 64, "height": 64,
             "sampler": "k_euler_ancestral", "noise_schedule": "karras"}  # fmt: skip
    s = settings_of({"Comment": json.dumps(novel), "Software": "NovelAI"})
    assert (s.prompt, s.negative_prompt, s.cfg, s.seed, s.sampler) == ("a house", "fog", 11, 9, "k_euler_ancestral")
    draw = {
        "c": "a house",
        "uc": "fog",
        "steps": 20,
        "scale": 7,
        "seed": 3,
        "size": "64x128",
        "sampler": "DPM++ 2M Karras",
    }
    s = settings_of({"parameters": json.dumps(draw)})
    assert (s.prompt, s.negative_prompt, s.width, s.height, s.sampler) == ("a house", "fog", 64, 128, "DPM++ 2M Karras")


def test_comfys_graph_with_one_sampler_is_read() -> None:
    found = read_tool({"prompt": json.dumps(GRAPH), "workflow": "{}"})
    s = Settings(**found.said.settings)
    assert (s.prompt, s.negative_prompt, s.seed, s.steps, s.cfg) == ("a house", "fog", 77, 5, 4.5)
    assert (s.sampler, s.spacing, s.width, s.height, s.strength) == ("dpmpp_2m_sde", "karras", 40, 32, None)
    assert found.said.model == "v1-5.safetensors"
    assert found.said.loras == (("old", 0.8, 0.0),) and found.said.not_understood == []
    assert s.of_batch is None
    inputs = {"width": 40, "height": 32, "batch_size": 4}
    several = {**GRAPH, "5": {"class_type": "EmptyLatentImage", "inputs": inputs}}
    assert settings_of({"prompt": json.dumps(several)}).of_batch == "1/4"


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ({"prompt": json.dumps({"4": GRAPH["4"]})}, "without a sampler that is known here: the picture comes from"),
        ({"parameters": '{"wombo": 3}'}, "are not settings that are understood here"),
        ({"parameters": '{"prompt": "a house"'}, "are not settings that are understood here"),
        ({"parameters": "{" * 5000}, "are not settings that are understood here"),
        ({"parameters": '{"a":' * 100_000}, "are not settings that are understood here"),
        ({"Software": "gimp", "Title": "x"}, "its texts ('Software', 'Title') are not settings"),
        ({}, "it carries no settings at all"),
        ({"parameters": "x" * 5_000_000}, "too long"),
    ],
)
def test_what_is_not_understood_is_refused_and_never_a_prompt(texts: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words.replace("(", r"\(").replace(")", r"\)")):
        read_tool(texts)


@pytest.mark.parametrize("prompt", ["{masterpiece}, a house", "{a", "{}", '{"a house"}'])
def test_a_prompt_may_begin_with_a_brace(prompt: str) -> None:
    found = read_tool({"parameters": f"{prompt}\nNegative prompt: fog\n{LINE}"})
    assert found.said.settings["prompt"] == prompt and found.said.settings["seed"] == 1234


def test_lines_behind_the_numbers_are_named_and_no_negative_prompt() -> None:
    text = (
        f"a house\nNegative prompt: blurry, text\n{LINE}\nTemplate: a {{poster|photo}}\nNegative Template: blurry, text"
    )
    found = read_parameters(text)
    assert found.settings["seed"] == 1234 and found.settings["negative_prompt"] == "blurry, text"
    assert [what.partition(":")[0] for what in found.not_understood] == ["Template", "Negative Template"]


def test_numbers_between_bars_are_read() -> None:
    text = (
        "prompt: a lighthouse\nNegative prompt: blurry\nVersion: aa62f6d, Pipeline: Original,\n"
        "Steps: 25 | Seed: 1879635471 | Sampler: Euler a | CFG scale: 7 | Size: 768x512 | Model: x"
    )
    found = read_parameters(text)
    assert found.settings == {
        "prompt": "a lighthouse", "negative_prompt": "blurry", "steps": 25, "seed": 1879635471, "sampler": "Euler a",
        "cfg": 7.0, "width": 768, "height": 512,
    }  # fmt: skip
    assert found.model == "x"


def test_a_random_seed_is_no_seed() -> None:
    found = read_parameters(f"a house\n{LINE.replace('1234', '-1')}")
    assert "seed" not in found.settings and found.not_understood == ["Seed: -1"]


TRAPS = ("a", "a ", "a: ", '"', 'a: "', "(", "(a:", "[a:b:", "<lora:", ", ", "Steps: 1, ")


@pytest.mark.parametrize("trap", [(part * 50_000)[:50_000] for part in TRAPS], ids=TRAPS)
def test_no_text_keeps_the_reader_busy(trap: str) -> None:
    started = time.perf_counter()
    for text in (trap, f"{trap}\n{LINE}", f"a\n{LINE}, {trap}", f"a\nSteps: 4 | {trap} | Seed: 1"):
        read_parameters(text)
    assert time.perf_counter() - started < 4
