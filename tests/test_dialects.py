"""Whose a text in AUTOMATIC1111's form is, and what is made of it."""

import json

import pytest

from stable_diffusion.exchange.dialects import read_infotext
from stable_diffusion.exchange.likeness import likeness
from stable_diffusion.exchange.tools import read_tool

LINE = "Steps: 4, Sampler: Euler, CFG scale: 5, Seed: 11, Size: 128x128"
GRAPH = {
    "3": {"class_type": "KSampler", "inputs": {
        "seed": 12, "steps": 4, "cfg": 5.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0,
        "model": ["4", 0], "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0]}},
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "a.safetensors"}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 128, "height": 128, "batch_size": 1}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a house", "clip": ["4", 1]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "fog", "clip": ["4", 1]}},
    "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
    "9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "x", "images": ["8", 0]}},
}  # fmt: skip


@pytest.mark.parametrize(
    ("words", "tool"),
    [
        ("Version: v1.10.1", "AUTOMATIC1111's"),
        ("Version: 1.9.4", "AUTOMATIC1111's"),
        ("Version: v1.10.1-amd-18-ged0f9f3e", "AUTOMATIC1111's"),
        ("Model: x", "AUTOMATIC1111's"),
        ("Version: ComfyUI", "ComfyUI's"),
        ("Version: f2.0.1v1.10.1-previous-664-gd557aef9", "Forge's"),
        ("Version: f0.0.17v1.8.0rc-latest-276-g29be1da7", "Forge's"),
        ("Version: neo", "Forge's"),
        ("App: SD.Next, Version: 900264a", "SD.Next's"),
        ("Version: 900264a, Pipeline: StableDiffusionPipeline", "SD.Next's"),
        ("Backend: Diffusers, Operations: txt2img", "SD.Next's"),
        ("Version: Fooocus v2.5.0", "Fooocus's"),
        ("Version: stable-diffusion.cpp", "stable-diffusion.cpp's"),
        ("Version: StableSwarmUI 0.6", "SwarmUI's"),
        ("Version: Easy Diffusion 3", "Easy Diffusion's"),
        ("Version: Stability Matrix 2.11", "Stability Matrix's"),
        ("Version: stable-diffusion-mlx 0.1.0", "this package's"),
        ("Created Date: 2024-09-08T1234:56.789Z", "Civitai's"),
        ("Civitai resources: []", "Civitai's"),
        ("Guidance Scale: 5, Seed Mode: Scale Alike", "Draw Things'"),
        ("Version: wombo", "another tool's (Version: wombo)"),
        ("Version: 900264a", "another tool's (Version: 900264a)"),
        ("App: Wombo, Version: v1.0", "another tool's (App: Wombo)"),
    ],
)
def test_a_text_is_its_writers(words: str, tool: str) -> None:
    found, said = read_infotext(f"a house\nNegative prompt: fog\n{LINE}, {words}")
    assert found == tool
    assert (said.settings["prompt"], said.settings["negative_prompt"], said.settings["seed"]) == ("a house", "fog", 11)


@pytest.mark.parametrize(
    ("keywords", "tool"),
    [
        (["prompt", "workflow"], "ComfyUI's"),
        (["smproj"], "Stability Matrix's"),
        (["parameters-json"], "Stability Matrix's"),
        (["fooocus_scheme"], "Fooocus's"),
        (["Software"], "AUTOMATIC1111's"),
    ],
)
def test_texts_beside_it_tell_whose_one_is_that_does_not_say_so(keywords: list[str], tool: str) -> None:
    assert read_infotext(f"a\n{LINE}, Model: x", ["parameters", *keywords])[0] == tool
    assert read_infotext(f"a\n{LINE}, Version: v1.10.1", ["parameters", *keywords])[0] == "AUTOMATIC1111's"


def test_of_a_tool_whose_way_is_not_known_nothing_is_claimed() -> None:
    for words in ("Version: wombo", "Version: Fooocus v2.5.0", "Created Date: 2024-09-08", "Version: Easy Diffusion 3"):
        tool, said = read_infotext(f"a\n{LINE}, {words}")
        assert likeness(tool, said.settings) is None


@pytest.mark.parametrize(
    ("words", "source", "syntax"),
    [
        ("Version: ComfyUI", "torch", "comfyui"),
        ("Version: f2.0.1v1.10.1", "nvidia", "a1111"),
        ("Version: f2.0.1v1.10.1, RNG: CPU", "torch", "a1111"),
        ("App: SD.Next, Version: 900264a", "nvidia", "a1111"),
        ("Version: stable-diffusion.cpp, RNG: cuda", "nvidia", "a1111"),
    ],
)
def test_each_tool_has_its_own_noise_and_syntax(words: str, source: str, syntax: str) -> None:
    tool, said = read_infotext(f"a\n{LINE}, {words}")
    alike = likeness(tool, said.settings)
    assert alike is not None and (alike.settings["noise_source"], alike.settings["prompt_syntax"]) == (source, syntax)


def test_fooocus_text_is_read_in_its_own_words() -> None:
    text = (
        "a house\nNegative prompt: fog\nSteps: 4, Sampler: DPM++ 2M SDE, Seed: 11, Size: 128x128, CFG scale: 4, "
        'Sharpness: 2, Base Model: jugg, Base Model hash: abc, Scheduler: karras, Lora hashes: "ink: 12", '
        'Lora weights: "ink: 0.8", Version: Fooocus v2.5.0'
    )
    _, said = read_infotext(text)
    assert (said.settings["sampler"], said.settings["spacing"], said.model) == ("DPM++ 2M SDE", "karras", "jugg")
    assert said.loras == (("ink", 0.8, 0.8),) and said.not_understood == ["Sharpness: 2"]


def test_a_savers_loras_and_its_samplers_schedule_are_read() -> None:
    text = (
        "a\nSteps: 4, Sampler: dpmpp_2m_sgm_uniform, CFG scale: 5, Seed: 11, Size: 128x128, Model: x, "
        "Lora_0 Model name: ink.safetensors, Lora_0 Model hash: 12, Lora_0 Strength model: 0.8, "
        "Lora_0 Strength clip: 0.5, Embedding_0 name: cat, Version: ComfyUI"
    )
    tool, said = read_infotext(text)
    assert said.loras == (("ink.safetensors", 0.8, 0.5),) and said.not_understood == ["Embedding_0 name: cat"]
    alike = likeness(tool, said.settings)
    assert alike is not None and not alike.unknown


def test_civitais_resources_are_a_model_and_loras() -> None:
    resources = [
        {"type": "checkpoint", "modelVersionId": 1, "modelName": "A Model", "modelVersionName": "V6, Seed: 3"},
        {"type": "lora", "weight": 0.8, "modelVersionId": 2, "modelName": "Ink", "modelVersionName": "v1"},
        {"type": "embed", "modelVersionId": 3, "modelName": "bad hands"},
        {"type": "lora", "weight": 1, "air": "urn:air:sdxl:lora:civitai:1@2"},
    ]
    metadata = {"remixOfId": 12}
    text = f"a\n{LINE}, Civitai resources: {json.dumps(resources)}, Civitai metadata: {json.dumps(metadata)}"
    tool, said = read_infotext(text)
    assert (tool, said.model, said.loras) == ("Civitai's", "A Model", (("Ink", 0.8, 0.8),))
    assert [what.partition(":")[0] for what in said.not_understood] == ["Civitai resources", "Civitai metadata"]
    assert "bad hands" in said.not_understood[0] and "urn:air" in said.not_understood[0]
    assert said.settings["seed"] == 11


@pytest.mark.parametrize(
    "resources", ["[", "{", "[1, null]", "{}", '{"type": "lora"}', '[{"type": 5, "modelName": 1}]']
)
def test_odd_resources_are_named(resources: str) -> None:
    _, said = read_infotext(f"a\n{LINE}, Created Date: 1, Civitai resources: {resources}")
    assert said.settings["seed"] == 11 and not said.loras
    assert [what.partition(":")[0] for what in said.not_understood] == ["Civitai resources"]


def test_draw_things_writes_a_minus_before_its_negative_prompt() -> None:
    text = (
        "a house\n-fog\nSteps: 20, Sampler: DPM++ 2M Karras, Guidance Scale: 7.5, Seed: 3, Size: 64x64, "
        "Model: sd.ckpt, Strength: 0.5, Seed Mode: Scale Alike"
    )
    _, said = read_infotext(text)
    assert (said.settings["prompt"], said.settings["negative_prompt"]) == ("a house", "fog")
    assert (said.settings["cfg"], said.settings["strength"]) == (7.5, 0.5)
    assert said.not_understood == ["Seed Mode: Scale Alike"]


def test_stable_diffusion_cpps_sampler_stands_with_its_levels() -> None:
    _, said = read_infotext(
        "a\nSteps: 20, CFG scale: 7, Guidance: 3.5, Eta: 0, Seed: 42, Size: 64x64, Model: sd.ckpt, RNG: std_default, "
        "Sampler: euler_a discrete, Version: stable-diffusion.cpp"
    )
    assert said.settings["sampler"] == "euler_a uniform" and "eta" not in said.settings
    assert said.not_understood == ["Eta of other samplers: 0", "RNG: std_default"]


def test_a_graph_that_is_understood_wholly_goes_before_a_text() -> None:
    texts = {"parameters": f"a house\n{LINE}, Version: ComfyUI", "prompt": json.dumps(GRAPH)}
    found = read_tool(texts)
    assert (found.tool, found.said.settings["seed"]) == ("ComfyUI's", 12)
    assert found.read == "its graph was read, and not its text"


def test_a_text_goes_before_a_graph_that_is_not() -> None:
    strange = {**GRAPH, "20": {"class_type": "NobodyKnowsThis", "inputs": {"seed": ["3", 0], "images": ["8", 0]}}}
    strange["9"] = {"class_type": "SaveImage", "inputs": {"images": ["20", 0]}}
    for graph in (strange, {"4": GRAPH["4"]}):
        found = read_tool({"parameters": f"a house\n{LINE}, Version: ComfyUI", "prompt": json.dumps(graph)})
        assert (found.tool, found.said.settings["seed"]) == ("ComfyUI's", 11)
        assert found.read.startswith("its text was read, and not its graph, which ")


def test_a_prompt_alone_does_not_go_before_a_graph() -> None:
    found = read_tool({"parameters": "a house", "prompt": json.dumps(GRAPH)})
    assert found.said.settings["seed"] == 12
    with pytest.raises(ValueError, match="sampler"):
        read_tool({"parameters": "a house", "prompt": json.dumps({"4": GRAPH["4"]})})
