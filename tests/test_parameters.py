"""The text of AUTOMATIC1111: ours has its form, and its own is read as far as it can be."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from stable_diffusion import SAMPLERS, SPACINGS, Settings
from stable_diffusion.diffusion.aliases import sampler_name, spacing_name
from stable_diffusion.exchange import a1111 as tables
from stable_diffusion.exchange.a1111 import parameters, read_parameters
from stable_diffusion.exchange.vocabulary import ParsedParameters
from stable_diffusion.jobs.model import Model
from stable_diffusion.jobs.recipe import Recipe
from stable_diffusion.prompts.literal import literal
from stable_diffusion.settings import CompleteSettings

PLAIN = CompleteSettings(
    prompt="a house",
    seed=7,
    width=64,
    height=48,
    steps=4,
    cfg=3.5,
    cfg_rescale=0.0,
    sampler="dpmpp_2m",
    spacing="karras",
)

# The form of AUTOMATIC1111's files, before and since version 1.9.
OLD = """masterpiece, a lighthouse on a cliff, stormy sea,
(dramatic sky:1.3), <lora:add_detail:0.7>
Negative prompt: blurry, lowres,
bad hands: none
Steps: 28, Sampler: DPM++ 2M Karras, CFG scale: 7, Seed: 1234567890, Size: 512x768, Model hash: 6ce0161689, \
Model: v1-5-pruned-emaonly, Denoising strength: 0.7, Clip skip: 2, ENSD: 31337, \
Lora hashes: "add_detail: 7c6bad76eb54, other: 0123456789ab", Version: v1.6.0"""
NEW = """a lighthouse
Steps: 20, Sampler: Euler a, Schedule type: Karras, CFG scale: 7.5, Seed: 5, Size: 512x512, Model: x, \
Variation seed: 42, Variation seed strength: 0.5, RNG: CPU, Version: v1.9.4"""
LINE = "Steps: 20, Sampler: Euler, Seed: 5"


def text_of(settings: CompleteSettings = PLAIN, model: str = "sd1.5") -> str:
    recipe = Recipe(settings, Model(model, "0123456789abcdef" * 4, False), made_by="tool 1.0")
    return parameters(recipe.settings, recipe.origin)


def names(found: ParsedParameters) -> tuple[str, str | None]:
    """Our names of the sampler and the spacing that were read."""
    sampler, brought = sampler_name(found.settings["sampler"])
    return sampler, found.settings.get("spacing") or brought


# Our text


def test_the_text_has_its_form() -> None:
    settings = replace(PLAIN, prompt="a house\nby the sea", negative_prompt="fog,\nrain", strength=0.6, clip_skip=1)
    assert text_of(settings).split("\n") == [
        "a house",
        "by the sea",
        "Negative prompt: fog,",
        "rain",
        "Steps: 4, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 3.5, Seed: 7, Size: 64x48, "
        "Model hash: 0123456789, Model: sd1.5, Denoising strength: 0.6, Clip skip: 2, Version: tool 1.0",
    ]


def test_what_was_not_asked_for_is_not_mentioned() -> None:
    text = text_of()
    for word in ("Negative", "Denoising", "Clip skip", "Eta", "Perturbations"):
        assert word not in text


def test_the_text_reads_back() -> None:
    settings = replace(
        PLAIN, prompt="a house\nSteps: 3, by the sea", negative_prompt="fog: none,\nrain", seed=2**62, cfg=0.25,
        strength=0.6, clip_skip=2, eta=0.5, sampler="euler_a", noise_source="nvidia", start_scale="unit",
        step_seed_delta=31337, variation_seed=2**40, variation_strength=0.25,
    )  # fmt: skip
    found = read_parameters(text_of(settings, model='C:\\models\\"mine", v2'))
    assert found.model == 'C:\\models\\"mine", v2'
    assert found.not_understood == []
    read = Settings(**found.settings)
    for name in (
        "prompt",
        "negative_prompt",
        "seed",
        "width",
        "height",
        "steps",
        "cfg",
        "strength",
        "clip_skip",
        "eta",
        "noise_source",
        "start_scale",
        "step_seed_delta",
        "variation_seed",
        "variation_strength",
    ):
        assert getattr(read, name) == getattr(settings, name), name


@pytest.mark.parametrize("sampler", [*SAMPLERS, *tables.SAMPLERS, "unipc:order=2,variant=bh2", "lms:order=2"])
@pytest.mark.parametrize("spacing", ["uniform", "exponential"])
def test_every_sampler_reads_back_with_its_spacing(sampler: str, spacing: str) -> None:
    found = read_parameters(text_of(replace(PLAIN, sampler=sampler, spacing=spacing)))
    assert names(found) == (sampler, spacing)
    assert found.not_understood == []


@pytest.mark.parametrize("spacing", [*SPACINGS, "karras:rho=5,sigma_min=0.1"])
def test_every_spacing_reads_back(spacing: str) -> None:
    assert names(read_parameters(text_of(replace(PLAIN, spacing=spacing)))) == ("dpmpp_2m", spacing)


def test_every_label_leads_back_to_our_name() -> None:
    for ours, label in tables.SAMPLERS.items():
        assert sampler_name(label) == (ours, None), label
        assert ours.partition(":")[0] in SAMPLERS
    for ours, label in tables.SPACINGS.items():
        assert spacing_name(label) == ours, label
        assert ours in SPACINGS
    assert len(set(tables.SAMPLERS.values())) == len(tables.SAMPLERS)
    assert len(set(tables.SPACINGS.values())) == len(tables.SPACINGS)


def test_levels_by_hand_and_perturbations_are_said_but_not_taken_over() -> None:
    settings = replace(PLAIN, sigmas=(3.0, 1.0, 0.0), perturb=((9, 0.25), (8, 0.5, "1x1:eNr7DwABAQEA")))
    found = read_parameters(text_of(settings))
    assert found.not_understood == ["Schedule type: by hand", "Perturbations: 9:0.25, 8:0.5"]
    assert "spacing" not in found.settings


# Other tools' texts


def test_a_text_of_an_older_version_is_read() -> None:
    found = read_parameters(OLD)
    assert found.settings == {
        "prompt": "masterpiece, a lighthouse on a cliff, stormy sea,\n(dramatic sky:1.3), <lora:add_detail:0.7>",
        "negative_prompt": "blurry, lowres,\nbad hands: none",
        "steps": 28,
        "sampler": "DPM++ 2M Karras",
        "cfg": 7.0,
        "seed": 1234567890,
        "width": 512,
        "height": 768,
        "strength": 0.7,
        "clip_skip": 1,
        "step_seed_delta": 31337,
    }
    assert names(found) == ("dpmpp_2m", "karras")
    assert found.model == "v1-5-pruned-emaonly"
    assert found.not_understood == [
        "Lora hashes: add_detail: 7c6bad76eb54, other: 0123456789ab",
    ]
    Settings(**found.settings)


def test_a_text_of_a_newer_version_is_read() -> None:
    found = read_parameters(NEW)
    assert names(found) == ("euler_a", "karras")
    assert found.settings["cfg"] == 7.5
    assert found.model == "x"
    assert (found.settings["variation_seed"], found.settings["variation_strength"]) == (42, 0.5)
    assert found.settings["noise_source"] == "torch"
    assert found.not_understood == []


@pytest.mark.parametrize(
    "words",
    [
        "Variation seed: 42",
        "Variation seed strength: 0.5",
        "Variation seed: 42, Variation seed strength: 7",
        "Variation seed: 42, Variation seed strength: nan",
        "Variation seed: x, Variation seed strength: 0.5",
        "Variation seed: -1, Variation seed strength: 0.5",
    ],
)
def test_half_a_variation_is_none(words: str) -> None:
    found = read_parameters(f"a\n{LINE}, {words}")
    assert not {"variation_seed", "variation_strength"} & found.settings.keys()
    assert found.not_understood == words.split(", ")


@pytest.mark.parametrize(("written", "left_out"), [("1", 0), ("2", 1), ("12", 11)])
def test_clip_skip_counts_from_1_there(written: str, left_out: int) -> None:
    assert read_parameters(f"a\n{LINE}, Clip skip: {written}").settings["clip_skip"] == left_out


@pytest.mark.parametrize(
    ("pair", "settings"),
    [
        ("Sigma churn: 3", {"s_churn": 3.0}),
        ("Sigma tmin: 0.5", {"s_tmin": 0.5}),
        ("Sigma tmax: 9", {"s_tmax": 9.0}),
        ("Sigma noise: 1.1", {"s_noise": 1.1}),
        ("Size: 640X384", {"width": 640, "height": 384}),
        ("Schedule type: SGM Uniform", {"spacing": "sgm_uniform"}),
        ("Schedule type: Align Your Steps", {"spacing": "align_your_steps"}),
        ("Denoising strength: 0", {"strength": 0.0}),
        ("RNG: CPU", {"noise_source": "torch"}),
        ("RNG: NV", {"noise_source": "nvidia"}),
        ("ENSD: -3", {"step_seed_delta": -3}),
        ("SGM noise multiplier: True", {"start_scale": "unit"}),
    ],
)
def test_every_number_lands_in_its_setting(pair: str, settings: dict[str, Any]) -> None:
    plain, found = read_parameters(f"a\n{LINE}"), read_parameters(f"a\n{LINE}, {pair}")
    assert found.settings == {**plain.settings, **settings}
    assert found.not_understood == []


@pytest.mark.parametrize(
    "pair",
    [
        "Sampler: DPM adaptive",
        "Sampler: Foo Karras",
        "Schedule type: Turbo",
        "CFG scale: high",
        "CFG scale: nan",
        "Eta: inf",
        "Seed: -1",
        "Seed: 99999999999999999999",
        "Steps: 0",
        "Size: 512",
        "Size: 513x512",
        "Size: 512x512x3",
        "Denoising strength: 7",
        "Clip skip: two",
        "Hires upscale: 2",
        "Refiner: sd_xl_refiner [7440042bbd]",
        "Face restoration: CodeFormer",
        "VAE: x.pt",
        "RNG: dice",
        "ENSD: 1.5",
        "ENSD: -6",
        "Token merging ratio: 0.5",
    ],
)
def test_what_is_not_understood_is_named_and_not_taken_over(pair: str) -> None:
    rest = {"Steps": "20", "Seed": "5", "Model": "m", "User": "me"} | dict([pair.split(": ")])
    found = read_parameters("a\n" + ", ".join(f"{name}: {value}" for name, value in rest.items()))
    assert found.not_understood == [pair]
    expected = {"prompt": "a", "negative_prompt": "", "steps": 20, "seed": 5}
    for name in ("steps", "seed"):
        if pair.lower().startswith(name):
            del expected[name]
    assert found.settings == expected


def test_a_quoted_value_may_hold_anything() -> None:
    pair = r'Lora hashes: "a: b, c: d", Notes: "so \"quoted\",\nand: more"'
    found = read_parameters(f"a\n{LINE}, {pair}, CFG scale: 9")
    assert found.not_understood == ["Lora hashes: a: b, c: d", 'Notes: so "quoted",\nand: more']
    assert found.settings["cfg"] == 9.0


def test_a_quote_without_an_end_spoils_nothing_else() -> None:
    found = read_parameters(f'a\n{LINE}, Notes: "half, CFG scale: 9')
    assert found.not_understood == ['Notes: "half']
    assert (found.settings["seed"], found.settings["cfg"]) == (5, 9.0)


@pytest.mark.parametrize(
    "words", ["(word:1.3)", "(two words : 0.8)", "[cat:dog:0.5]", "<lora:x:1>", "<lora:x:0.5:0.7>", "<hypernet:y:1>"]
)
def test_words_that_mean_something_there_are_pointed_out(words: str) -> None:
    assert literal(f"a {words} b, {words}", "plain") == [words]


@pytest.mark.parametrize("words", ["a house (old)", "ratio 16:9", "at 10:30 (sharp)", "<3", "[sic]", "1:2, 3:4"])
def test_plain_words_are_not(words: str) -> None:
    assert literal(words, "plain") == []
    found = read_parameters(f"{words}\n{LINE}")
    assert found.not_understood == []
    assert found.settings["prompt"] == words


@pytest.mark.parametrize(
    ("syntax", "found"),
    [
        ("plain", ["(sea:1.2)", "BREAK", "[a:b:0.5]", "<lora:x:1>"]),
        ("a1111", []),
        ("comfyui", ["<lora:x:1>"]),
    ],
)
def test_each_syntax_takes_other_words_literally(syntax: str, found: list[str]) -> None:
    assert literal("(sea:1.2) BREAK [a:b:0.5] [c|d] <lora:x:1> AND embedding:cat (x) [y]", syntax) == found


def test_what_a1111_does_not_understand_itself_is_pointed_out() -> None:
    assert literal("a [b:c:0.5] <hypernet:x:1>", "a1111") == ["<hypernet:x:1>"]
    # A bar outside of brackets, and it gives all of the text up.
    assert literal("a | b [c:d:0.5] [e|f]", "a1111") == ["[c:d:0.5]", "[e|f]"]
    assert literal("<lora:x:1> a AND b", "a1111", negative=True) == ["<lora:x:1>", "AND"]


def test_prompts_of_any_number_of_lines_are_kept_apart() -> None:
    found = read_parameters(f"a\n\nb, c: d\nNegative prompt: e\nf\n\ng\n{LINE}\n")
    assert (found.settings["prompt"], found.settings["negative_prompt"]) == ("a\n\nb, c: d", "e\nf\n\ng")
    assert found.settings["steps"] == 20
    found = read_parameters(f"Negative prompt: e\n{LINE}")
    assert (found.settings["prompt"], found.settings["negative_prompt"]) == ("", "e")
    found = read_parameters(f"a\r\nNegative prompt: b\r\n{LINE}\r\n")
    assert (found.settings["prompt"], found.settings["negative_prompt"], found.settings["seed"]) == ("a", "b", 5)


@pytest.mark.parametrize(
    "text", ["a house", "a house\nby the sea", "Steps: many", "Steps: 20, Seed: 5", "", "\n\n", " "]
)
def test_a_text_without_numbers_is_a_prompt(text: str) -> None:
    assert read_parameters(text) == ParsedParameters({"prompt": text.strip(), "negative_prompt": ""})


def test_garbage_never_raises_and_gives_settings_that_a_run_could_have() -> None:
    rng = np.random.default_rng(0)
    letters = list('aZ09:,."\\()[]<>-_ \n\r\t\0üß海😀٣²\ud800')
    for trial in range(1500):
        text = list((OLD, NEW, f"a\n{LINE}, Eta: 1, Clip skip: 2")[trial % 3])
        for place in rng.integers(0, len(text), rng.integers(1, 12)):
            text[place] = letters[rng.integers(len(letters))]
        start = rng.integers(0, len(text)) if trial % 5 == 0 else 0
        found = read_parameters("".join(text[start:]))
        Settings(**found.settings)
    for trial in range(200):
        read_parameters("".join(letters[i] for i in rng.integers(0, len(letters), trial)))


@pytest.mark.parametrize("pair", ["Sigma tmin: 5, Sigma tmax: 3", "Sigma tmax: 3, Sigma tmin: 5"])
def test_numbers_that_do_not_go_together_are_not_understood(pair: str) -> None:
    found = read_parameters(f"a\n{LINE}, {pair}")
    Settings(**found.settings)
    assert found.not_understood


def test_a_prompt_may_speak_of_negative_prompts() -> None:
    found = read_parameters(f"a book called Negative prompt: a guide\n{LINE}")
    assert found.settings["prompt"] == "a book called Negative prompt: a guide"


@pytest.mark.parametrize(
    ("sampler", "spacing"),
    [("DPM++ 2M", "karras"), ("DPM++ SDE", "karras"), ("DPM++ 2M SDE", "exponential"), ("Euler", "uniform")],
)
def test_automatic_is_the_samplers_own_spacing(sampler: str, spacing: str) -> None:
    # samplers_k_diffusion and KDiffusionSampler.get_sigmas in AUTOMATIC1111's sd_samplers_kdiffusion.py, 1.9 to 1.10
    found = read_parameters(f"a\nSteps: 20, Sampler: {sampler}, Schedule type: Automatic, Seed: 5")
    assert names(found)[1] == spacing


def test_an_eta_is_for_samplers_that_have_one() -> None:
    both = ("Euler a", "Euler")
    ancestral, plain = (read_parameters(f"a\nSteps: 2, Sampler: {name}, Seed: 5, Eta: 0.5") for name in both)
    assert ancestral.settings["eta"] == 0.5 and not ancestral.not_understood
    assert "eta" not in plain.settings and plain.not_understood == ["eta: 0.5 (its sampler has none)"]


@pytest.mark.parametrize("trap", ["Steps: 99999999", "Size: 64000x640000", "Sampler: euler:foo=3"])
def test_numbers_beyond_all_reason_are_not_understood(trap: str) -> None:
    found = read_parameters(f"a\nSeed: 5, CFG scale: 7, Clip skip: 1, {trap}")
    assert found.not_understood == [trap]
