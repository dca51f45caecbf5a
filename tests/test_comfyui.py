"""ComfyUI's graphs: every output has a meaning of its own, and what has none here is named."""

import json
import math
import random
import time
from collections.abc import Callable
from typing import Any

import pytest

from stable_diffusion.exchange import comfyui
from stable_diffusion.exchange.comfyui.nodes import TABLE
from stable_diffusion.exchange.comfyui.workflow import prompt_of
from stable_diffusion.exchange.vocabulary import ParsedParameters
from stable_diffusion.settings import Settings

Graph = dict[str, Any]


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def graph(**others: Any) -> Graph:
    """Text to image as ComfyUI starts with it, with other nodes beside or instead; None takes one out."""
    nodes = {
        "model": node("CheckpointLoaderSimple", ckpt_name="v1-5.safetensors"),
        "good": node("CLIPTextEncode", text="a house", clip=["model", 1]),
        "bad": node("CLIPTextEncode", text="fog", clip=["model", 1]),
        "empty": node("EmptyLatentImage", width=64, height=48, batch_size=1),
        "sampler": sampler(),
        "decode": node("VAEDecode", samples=["sampler", 0], vae=["model", 2]),
        "save": node("SaveImage", images=["decode", 0]),
    }
    return {name: one for name, one in (nodes | others).items() if one is not None}


def sampler(**inputs: Any) -> dict[str, Any]:
    usual = {
        "seed": 77, "steps": 5, "cfg": 4.5, "sampler_name": "euler", "scheduler": "karras", "denoise": 1.0,
        "model": ["model", 0], "positive": ["good", 0], "negative": ["bad", 0], "latent_image": ["empty", 0],
    }  # fmt: skip
    return node("KSampler", **{**usual, **inputs})


def read(words: Graph) -> ParsedParameters:
    found = comfyui.read(json.loads(json.dumps(words)))
    assert found is not None
    Settings(**found.settings)
    return found


def named(found: ParsedParameters, *words: str) -> bool:
    return all(any(word in said for said in found.not_understood) for word in words)


def test_the_graph_that_it_starts_with_is_read_wholly() -> None:
    found = read(graph())
    assert found.settings == {
        "prompt": "a house", "negative_prompt": "fog", "seed": 77, "steps": 5, "cfg": 4.5, "sampler": "euler",
        "spacing": "karras", "width": 64, "height": 48,
    }  # fmt: skip
    assert (found.model, found.loras, found.not_understood) == ("v1-5.safetensors", (), [])


@pytest.mark.parametrize(("name", "value", "ours"), [("seed", 0, "seed"), ("cfg", 0.0, "cfg")])
def test_zero_is_a_value(name: str, value: float, ours: str) -> None:
    assert read(graph(sampler=sampler(**{name: value}))).settings[ours] == 0


# Values


@pytest.mark.parametrize(
    ("kind", "value"),
    [("PrimitiveInt", 9), ("PrimitiveFloat", 9.0), ("Seed (rgthree)", 9)],
)
def test_a_number_may_be_a_node(kind: str, value: float) -> None:
    name = "seed" if "Seed" in kind else "value"
    found = read(graph(number=node(kind, **{name: value}), sampler=sampler(steps=["number", 0])))
    assert found.settings["steps"] == 9 and found.not_understood == []


def test_texts_are_followed_through_primitives_joins_reroutes_and_switches() -> None:
    found = read(
        graph(
            a=node("PrimitiveStringMultiline", value="a house"),
            b=node("PrimitiveString", value="by the sea"),
            join=node("StringConcatenate", string_a=["a", 0], string_b=["b", 0], delimiter=" "),
            dot=node("Reroute", **{"": ["join", 0]}),
            which=node("ComfySwitchNode", switch=True, on_true=["dot", 0], on_false="a cat"),
            good=node("CLIPTextEncode", text=["which", 0], clip=["model", 1]),
        )
    )
    assert found.settings["prompt"] == "a house by the sea" and found.not_understood == []


@pytest.mark.parametrize("kind", ["MagicPrompt", "", "None"])
def test_an_unknown_node_in_front_of_a_prompt_yields_no_other_prompt(kind: str) -> None:
    found = read(
        graph(
            magic=node(kind, text="another prompt", seed=5),
            good=node("CLIPTextEncode", text=["magic", 0], clip=["model", 1]),
            bad=node(kind, text="another prompt", conditioning=["good", 0]),
        )
    )
    assert (found.settings["prompt"], found.settings["negative_prompt"]) == ("", "")
    assert named(found, "the prompt (the node", "the negative prompt (the node")


def test_what_an_unknown_node_would_tell_is_named() -> None:
    found = read(graph(dice=node("Dice"), sampler=sampler(seed=["dice", 0], model=["dice", 1])))
    assert "seed" not in found.settings and found.model is None
    assert named(found, "Seed (the node Dice)", "the model (the node Dice)")


# Conditioning and models


@pytest.mark.parametrize("kind", ["ControlNetApplyAdvanced", "InpaintModelConditioning"])
def test_each_output_of_a_node_with_two_is_its_own(kind: str) -> None:
    both = node(kind, positive=["good", 0], negative=["bad", 0], image=["photo", 0], pixels=["photo", 0])
    found = read(
        graph(photo=node("LoadImage", image="in.png"), both=both,
              sampler=sampler(positive=["both", 0], negative=["both", 1]))
    )  # fmt: skip
    assert (found.settings["prompt"], found.settings["negative_prompt"]) == ("a house", "fog")
    assert found.not_understood != []


def test_several_prompts_made_one_are_named() -> None:
    found = read(graph(two=node("ConditioningCombine", conditioning_1=["good", 0], conditioning_2=["bad", 0]),
                       sampler=sampler(positive=["two", 0])))  # fmt: skip
    assert found.settings["prompt"] == "a house" and named(found, "ConditioningCombine with the prompt 'fog'")


def test_loras_and_layers_are_followed_to_the_file() -> None:
    found = read(
        graph(
            one=node("LoraLoader", model=["model", 0], clip=["model", 1], lora_name="ink.safetensors",
                     strength_model=0.8, strength_clip=0.5),
            two=node("LoraLoaderModelOnly", model=["one", 0], lora_name="old", strength_model=0),
            last=node("CLIPSetLastLayer", clip=["one", 1], stop_at_clip_layer=-2),
            good=node("CLIPTextEncode", text="a house", clip=["last", 0]),
            sampler=sampler(model=["two", 0]),
        )
    )  # fmt: skip
    assert found.loras == (("ink.safetensors", 0.8, 0.5), ("old", 0.0, 0.0))
    assert found.settings["clip_skip"] == 1 and found.model == "v1-5.safetensors"


@pytest.mark.parametrize("kind", ["RescaleCFG", "FreeU_V2", "PerturbedAttentionGuidance"])
def test_what_is_done_to_a_model_is_named(kind: str) -> None:
    found = read(graph(more=node(kind, model=["model", 0]), sampler=sampler(model=["more", 0])))
    assert found.model == "v1-5.safetensors" and named(found, f"{kind} on the model")


def test_what_a_model_predicts_is_said() -> None:
    v = node("ModelSamplingDiscrete", model=["model", 0], sampling="v_prediction", zsnr=True)
    assert named(read(graph(v=v, sampler=sampler(model=["v", 0]))), "--prediction v_prediction", "zero terminal SNR")


# Latents


def photo(**more: Any) -> Graph:
    return graph(
        photo=node("LoadImage", image="in.png"),
        encode=node("VAEEncode", pixels=["photo", 0], vae=["model", 2]),
        sampler=sampler(latent_image=["encode", 0], **more),
    )


@pytest.mark.parametrize("denoise", [0.0, 0.6, 1.0])
def test_a_picture_to_start_from_has_a_strength(denoise: float) -> None:
    assert read(photo(denoise=denoise)).settings["strength"] == denoise


def test_an_empty_latent_has_none() -> None:
    assert "strength" not in read(graph()).settings
    assert named(read(graph(sampler=sampler(denoise=0.5))), "denoise 0.5 of an empty latent")


def test_a_picture_of_a_batch_says_which() -> None:
    batch = {"empty": node("EmptyLatentImage", width=64, height=48, batch_size=2)}
    assert read(graph(**batch)).settings["of_batch"] == "1/2"
    one = {
        **batch,
        "four": node("RepeatLatentBatch", samples=["empty", 0], amount=2),
        "one": node("LatentFromBatch", samples=["four", 0], batch_index=2, length=1),
        "sampler": sampler(latent_image=["one", 0]),
    }
    assert read(graph(**one)).settings["of_batch"] == "3/4"


def test_a_second_pass_is_named_and_the_first_is_read() -> None:
    found = read(
        graph(
            large=node("LatentUpscaleBy", samples=["sampler", 0], scale_by=2.0),
            again=sampler(latent_image=["large", 0], denoise=0.5, seed=78),
            decode=node("VAEDecode", samples=["again", 0]),
        )
    )
    assert (found.settings["seed"], found.settings["width"]) == (77, 64)
    assert named(found, "another pass after it: KSampler (Seed 78", "a latent enlarged by 2.0")


def test_of_several_pictures_that_are_saved_it_says_so() -> None:
    found = read(graph(other=sampler(seed=5), b=node("VAEDecode", samples=["other", 0]),
                       c=node("SaveImage", images=["b", 0])))  # fmt: skip
    assert named(found, "which of the 2 pictures of its graph this is")


# Samplers


def advanced(**inputs: Any) -> dict[str, Any]:
    usual = {
        "add_noise": "enable", "noise_seed": 7, "steps": 20, "cfg": 4, "sampler_name": "euler", "scheduler": "normal",
        "start_at_step": 0, "end_at_step": 10000, "return_with_leftover_noise": "disable", "model": ["model", 0],
        "positive": ["good", 0], "negative": ["bad", 0], "latent_image": ["empty", 0],
    }  # fmt: skip
    return node("KSamplerAdvanced", **{**usual, **inputs})


def test_an_advanced_sampler_that_takes_all_steps_is_a_plain_run() -> None:
    found = read(graph(sampler=advanced()))
    assert (found.settings["seed"], found.settings["steps"], found.not_understood) == (7, 20, [])


def test_an_advanced_sampler_may_begin_and_end_within() -> None:
    words = photo()
    words["sampler"] = advanced(start_at_step=8, latent_image=["encode", 0])
    assert read(words).settings["start_step"] == 8
    early = read(graph(sampler=advanced(end_at_step=15, return_with_leftover_noise="enable")))
    assert named(early, "its end at step 15 of 20, with the noise that is left then")


def custom(**others: Any) -> Graph:
    return graph(**{
        "noise": node("RandomNoise", noise_seed=3),
        "name": node("KSamplerSelect", sampler_name="dpmpp_2m"),
        "levels": node("BasicScheduler", model=["model", 0], scheduler="simple", steps=6, denoise=1.0),
        "guider": node("CFGGuider", model=["model", 0], positive=["good", 0], negative=["bad", 0], cfg=3.0),
        "sampler": node("SamplerCustomAdvanced", noise=["noise", 0], guider=["guider", 0], sampler=["name", 0],
                        sigmas=["levels", 0], latent_image=["empty", 0]),
        **others,
    })  # fmt: skip


def test_a_sampler_whose_every_choice_is_a_node_is_read() -> None:
    found = read(custom())
    settings = {name: found.settings[name] for name in ("seed", "sampler", "spacing", "steps", "cfg", "prompt")}
    assert settings == {
        "seed": 3, "sampler": "dpmpp_2m", "spacing": "trailing", "steps": 6, "cfg": 3.0, "prompt": "a house"
    }  # fmt: skip
    assert found.not_understood == []


def test_a_basic_guider_has_no_guidance() -> None:
    found = read(custom(guider=node("BasicGuider", model=["model", 0], conditioning=["good", 0])))
    assert found.settings["cfg"] == 1 and found.settings["negative_prompt"] == ""


def test_karras_levels_of_a_node_are_those_of_the_paper() -> None:
    levels = node("KarrasScheduler", steps=5, sigma_max=10.0, sigma_min=0.1, rho=7.0)
    sigmas = read(custom(levels=levels)).settings["sigmas"]
    assert len(sigmas) == 6 and sigmas[-1] == 0
    assert sigmas[0] == pytest.approx(10) and sigmas[4] == pytest.approx(0.1)
    middle = ((10 ** (1 / 7) + 0.1 ** (1 / 7)) / 2) ** 7  # Karras et al. 2022, equation 5, half way
    assert sigmas[2] == pytest.approx(middle)


def test_exponential_levels_fall_by_the_same_share() -> None:
    sigmas = read(custom(levels=node("ExponentialScheduler", steps=4, sigma_max=8.0, sigma_min=1.0))).settings["sigmas"]
    assert sigmas == pytest.approx((8, 4, 2, 1, 0))


def test_turbo_takes_every_hundredth_time() -> None:
    turbo = node("SDTurboScheduler", model=["model", 0], steps=2, denoise=1.0)
    assert read(custom(levels=turbo)).settings["times"] == (999, 899)


def test_split_levels_are_those_before_and_those_after() -> None:
    split = node("SplitSigmas", sigmas=["basic", 0], step=2)
    basic = node("BasicScheduler", model=["model", 0], scheduler="simple", steps=6, denoise=1.0)
    words = custom(basic=basic, levels=split)
    assert named(read(words), "its end at step 2")
    words["sampler"]["inputs"]["sigmas"] = ["levels", 1]
    assert read(words).settings["start_step"] == 2


def test_a_sampler_with_options_of_its_own_has_them() -> None:
    found = read(custom(name=node("SamplerEulerAncestral", eta=0.5, s_noise=1.1)))
    assert (found.settings["sampler"], found.settings["eta"], found.settings["s_noise"]) == (
        "euler_ancestral",
        0.5,
        1.1,
    )


# What is refused, and by what


@pytest.mark.parametrize(
    ("kind", "inputs", "words"),
    [
        ("UNETLoader", {"unet_name": "flux1-dev.safetensors"}, r"with Flux \('flux1-dev"),
        ("UNETLoader", {"unet_name": "wan2.1_t2v_14B.safetensors"}, "with Wan"),
        ("CheckpointLoaderSimple", {"ckpt_name": "sd3_medium.safetensors"}, "with Stable Diffusion 3"),
        ("CLIPLoader", {"clip_name": "x.safetensors", "type": "qwen_image"}, "with Qwen"),
        ("GeminiImageNode", {}, "a service made it"),
        ("SaveVideo", {}, "makes a video"),
    ],
)
def test_another_family_is_refused_by_name(kind: str, inputs: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        comfyui.read(graph(model=node(kind, **inputs)))


def test_a_model_of_no_family_that_is_known_is_refused_by_its_name() -> None:
    words = graph(model=node("UNETLoader", unet_name="boogu.safetensors"), good=node("TextEncodeBoogu", text="a"))
    with pytest.raises(ValueError, match=r"with 'boogu\.safetensors', whose family is not known here"):
        comfyui.read(words)


@pytest.mark.parametrize("name", ["swan.safetensors", "fluxion_sd15.safetensors.bak", "aurora.safetensors", "wander"])
def test_a_model_of_our_families_may_have_a_like_name(name: str) -> None:
    found = comfyui.read(graph(model=node("CheckpointLoaderSimple", ckpt_name=name))) if "flux" not in name else None
    assert found is None or found.model == name


# The editor's form


def editor(nodes: list[dict[str, Any]], links: list[Any], **more: Any) -> dict[str, Any]:
    return {"nodes": nodes, "links": links, **more}


def drawn() -> dict[str, Any]:
    """The first graph as the editor keeps it, with a reroute, a primitive and a node that is bypassed."""
    nodes = [
        {"id": 1, "type": "CheckpointLoaderSimple", "widgets_values": ["v1-5.safetensors"]},
        {"id": 2, "type": "CLIPTextEncode", "widgets_values": ["a house"], "inputs": [{"name": "clip", "link": 1}]},
        {"id": 3, "type": "CLIPTextEncode", "widgets_values": ["fog"], "inputs": [{"name": "clip", "link": 2}]},
        {"id": 4, "type": "EmptyLatentImage", "widgets_values": [64, 48, 1]},
        {"id": 5, "type": "Reroute", "inputs": [{"name": "", "link": 3}]},
        {"id": 6, "type": "PrimitiveNode", "widgets_values": [9, "fixed"]},
        {"id": 7, "type": "FreeU", "mode": 4, "inputs": [{"name": "model", "type": "MODEL", "link": 4}],
         "outputs": [{"type": "MODEL"}]},
        {"id": 8, "type": "KSampler", "widgets_values": [77, "randomize", 5, 4.5, "euler", "karras", 1],
         "inputs": [{"name": "model", "link": 5}, {"name": "positive", "link": 6}, {"name": "negative", "link": 7},
                    {"name": "latent_image", "link": 8}, {"name": "steps", "link": 9, "widget": {"name": "steps"}}]},
        {"id": 9, "type": "VAEDecode", "inputs": [{"name": "samples", "link": 10}]},
        {"id": 10, "type": "SaveImage", "inputs": [{"name": "images", "link": 11}]},
        {"id": 11, "type": "MarkdownNote", "widgets_values": ["hello"]},
    ]  # fmt: skip
    links = [
        [1, 1, 1, 2, 0, "CLIP"], [2, 1, 1, 3, 0, "CLIP"], [3, 2, 0, 5, 0, "*"], [4, 1, 0, 7, 0, "MODEL"],
        [5, 7, 0, 8, 0, "MODEL"], [6, 5, 0, 8, 1, "*"], [7, 3, 0, 8, 2, "*"], [8, 4, 0, 8, 3, "LATENT"],
        [9, 6, 0, 8, 4, "INT"], [10, 8, 0, 9, 0, "LATENT"], [11, 9, 0, 10, 0, "IMAGE"],
    ]  # fmt: skip
    return editor(nodes, links)


def test_the_editors_form_is_read_where_the_graph_is_missing() -> None:
    found = comfyui.read_workflow(drawn())
    assert found is not None
    assert found.settings == {**read(graph()).settings, "steps": 9}
    assert found.not_understood == ["the graph that was run is missing, so the editor's workflow was read"]


def test_a_graph_within_a_graph_is_read() -> None:
    words = drawn()
    inner = {
        "id": "abc",
        "nodes": [{"id": 1, "type": "CLIPTextEncode", "widgets_values": ["a house"],
                   "inputs": [{"name": "clip", "link": 1}, {"name": "text", "link": 2, "widget": {"name": "text"}}]}],
        "links": [{"id": 1, "origin_id": -10, "origin_slot": 0, "target_id": 1, "target_slot": 0},
                  {"id": 2, "origin_id": -10, "origin_slot": 1, "target_id": 1, "target_slot": 1},
                  {"id": 3, "origin_id": 1, "origin_slot": 0, "target_id": -20, "target_slot": 0}],
    }  # fmt: skip
    words["definitions"] = {"subgraphs": [inner]}
    words["nodes"][1] = {
        "id": 2, "type": "abc", "widgets_values": ["a boat"],
        "inputs": [{"name": "clip", "link": 1}, {"name": "text", "widget": {"name": "text"}, "link": None}],
    }  # fmt: skip
    found = comfyui.read_workflow(words)
    assert found is not None and found.settings["prompt"] == "a boat"
    assert set(prompt_of(words)) >= {"2:1", "8", "10"}


# Whatever comes


@pytest.mark.parametrize("kind", [None, 5, True, [], {}, ["KSampler"], {"a": 1}, "x" * 10_000])
def test_a_kind_may_be_anything(kind: Any) -> None:
    words = graph()
    words["other"] = {"class_type": kind, "inputs": {"images": ["decode", 0]}}
    words["good"]["class_type"] = kind
    assert read(words).settings["prompt"] == ""


def test_circles_long_rows_and_links_to_nowhere_end() -> None:
    started = time.perf_counter()
    loop = graph(model=node("LoraLoader", model=["model", 0], lora_name="a"))
    assert named(read(loop), "nodes in a circle")
    row: Graph = {f"r{k}": node("Reroute", **{"": [f"r{k + 1}", 0]}) for k in range(3000)}
    assert named(read(graph(**row, sampler=sampler(seed=["r0", 0]))), "nodes in a row")
    assert named(read(graph(sampler=sampler(seed=["nowhere", 0]))), "a link that leads nowhere")
    with pytest.raises(ValueError, match="5000 at most"):
        comfyui.read({str(k): node("Reroute") for k in range(6000)})
    assert time.perf_counter() - started < 5


STRANGE: list[Any] = [
    None, True, False, 0, -1, 2**70, 1e400, float("nan"), "", "x", "1", [], ["good"], ["good", "0"], ["good", 7], {},
    {"a": []}, ["sampler", 0], ["model", 0], ["model", 1], ["decode", 0], "karras", [[["good", 0], 0], 0],
    "x" * 200_000,
]  # fmt: skip


def mutated(dice: random.Random, start: Graph) -> Graph:
    words = json.loads(json.dumps(start))
    for _ in range(dice.randint(1, 4)):
        name = dice.choice(list(words))
        one, what = words[name], dice.random()
        if not isinstance(one, dict) or what < 0.1:
            words[name] = dice.choice(STRANGE)
        elif what < 0.25 or not isinstance(one.get("inputs"), dict) or not one["inputs"]:
            one[dice.choice(["class_type", "inputs"])] = dice.choice([*STRANGE, *TABLE])
        else:
            one["inputs"][dice.choice(list(one["inputs"]))] = dice.choice(STRANGE)
    return words


def sentence(read: Callable[[Any], ParsedParameters | None], words: Any) -> ParsedParameters | None:
    """What a reader makes of it; None where it refuses it, which must be in one sentence."""
    try:
        return read(words)
    except ValueError as error:
        said = str(error)
    assert said and "\n" not in said
    return None


@pytest.mark.parametrize("seed", range(4))
def test_no_graph_raises_anything_but_a_sentence(seed: int) -> None:
    dice = random.Random(seed)
    for start in (graph(), custom(), photo(), graph(sampler=advanced())) * 15:
        found = sentence(comfyui.read, mutated(dice, start))
        if found is not None:
            Settings(**found.settings)
            assert all(math.isfinite(v) for v in found.settings.values() if isinstance(v, float))
    for _ in range(60):
        words = drawn()
        for _ in range(dice.randint(1, 4)):
            nodes = words.get("nodes")
            inner = [node for node in nodes if isinstance(node, dict) and node] if isinstance(nodes, list) else []
            place = dice.choice([words, *inner])
            place[dice.choice(list(place))] = dice.choice(STRANGE)
        sentence(comfyui.read_workflow, words)
