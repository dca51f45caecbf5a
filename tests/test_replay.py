"""--from: pictures that are made again from their files alone, changed, continued; and files that cannot be."""

import json
import shutil
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from PIL import Image, PngImagePlugin

import image2image
import txt2image
from stable_diffusion import SAMPLERS
from stable_diffusion.jobs.recipe import Recipe
from stable_diffusion.pictures.metadata import read_attached
from tests.commands import SD1, img, made, pixels, same, txt
from tests.ldm_files import write

RECIPE = "stable-diffusion-mlx"
pytestmark = pytest.mark.usefixtures("opened_once")


@pytest.fixture(autouse=True)
def _in_a_folder_with_a_picture_and_a_mask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    Image.fromarray(noise).save("in.png")
    mask = np.zeros((48, 64), dtype=np.uint8)
    mask[8:40, 24:] = 255
    Image.fromarray(mask).save("mask.png")


def again(*words: str) -> int:
    return txt2image.main([*words])


def recipe(name: str) -> Recipe:
    return Recipe.from_json(read_attached(name).texts[RECIPE])


def rewritten(name: str, change: dict[str, object], to: str = "changed.png") -> str:
    """A file with another text in it."""
    values = json.loads(read_attached(name).texts[RECIPE])
    info = PngImagePlugin.PngInfo()
    info.add_text(RECIPE, json.dumps(values | change))
    with Image.open(name) as picture:
        picture.save(to, pnginfo=info)
    return to


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_picture_of_a_prompt_is_made_again_from_its_file(sampler: str) -> None:
    words = ["--negative_prompt", "fog", "--sampler", sampler, "--cfg", "3", "--seed", "4", "--steps", "3"]
    assert txt("a house", *words) == 0
    assert again("--from", "out.png", "-o", "again.png") == 0
    assert same("out.png", "again.png")
    assert recipe("out.png") == recipe("again.png")


@pytest.mark.parametrize(
    "words",
    [
        ["--strength", "0.6"],
        ["--start-step", "1", "--spacing", "karras:rho=5"],
        ["--strength", "0.5", "--strength-mode", "full", "--s-churn", "1", "--s-tmax", "5"],
        ["--mask", "mask.png", "--strength", "1", "--pure-noise"],
        ["--mask", "mask.png", "--feather", "2", "--perturb", "0.3"],
        ["--start", "inversion", "--source-prompt", "a sketch", "--strength", "0.4"],
        ["--strength", "0.9", "--steps", "3", "--discretize", "timestep"],
        ["--no-alpha", "--width", "48", "--height", "48", "--clip-skip", "1"],
    ],
)
def test_image_to_image_is_made_again_from_its_file_alone(words: list[str]) -> None:
    assert img("in.png", "a house", "--seed", "4", *words) == 0
    Path("in.png").unlink()
    Path("mask.png").unlink()
    assert image2image.main(["--from", "out.png", "-o", "again.png"]) == 0
    assert same("out.png", "again.png")


@pytest.mark.parametrize("words", [[], ["--batch-size", "3"], ["--batch-size", "2", "--decoding_batch_size", "3"]])
def test_every_picture_of_a_batch_is_made_again_alone_and_bit_for_bit(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert txt("a house", "--n_images", "3", "--seed", "4", "--sampler", "euler_a", *words) == 0
    for seed in (4, 5, 6):
        assert again("--from", f"out-seed{seed}.png", "-o", f"again{seed}.png") == 0
        assert same(f"out-seed{seed}.png", f"again{seed}.png")
    assert ("together with 2 others" in capsys.readouterr().err) == bool(words)
    assert len(made()) == 7  # the others of the batch are not written


@pytest.mark.parametrize("spoken", [["--n_images", "3"], ["--perturb", "0.2", "--n_images", "2", "--n_rows", "2"]])
def test_a_sheet_is_made_again_from_its_file(spoken: list[str]) -> None:
    assert txt("a house", "--seed", "4", *spoken) == 0
    assert again("--from", "out.png", "-o", "again.png") == 0
    assert same("out.png", "again.png")


@pytest.mark.parametrize(
    ("words", "ending"),
    [
        (["-gt", "0,0.4,1", "--highlight", "1", "--triangle-align", "right", "-sd", "2"], "-triangle"),
        (["--grid", "spacing=karras,trailing", "cfg=1,3"], "-grid"),
        (["-sd", "2", "--frames", "clean"], "-steps"),
        (["--show-noising", "chain"], "-chain"),
    ],
)
def test_so_is_every_other_sheet(words: list[str], ending: str) -> None:
    assert img("in.png", "a house", "--seed", "4", *words) == 0
    assert image2image.main(["--from", f"out{ending}.png", "-o", "again.png"]) == 0
    assert same(f"out{ending}.png", f"again{ending}.png")


@pytest.mark.parametrize("ending", ["jpg", "webp"])
def test_other_files_keep_the_settings_but_not_the_picture(ending: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert txt("a house, 海", "--seed", "4", "-o", f"a.{ending}") == 0
    assert again("--from", f"a.{ending}", "-o", "b.png") == 0
    assert txt("a house, 海", "--seed", "4", "-o", "c.png") == 0
    assert same("b.png", "c.png")
    assert read_attached(f"a.{ending}").texts["parameters"].startswith("a house, 海\nSteps: 4")
    assert img("in.png", "a house", "--seed", "4", "-o", f"d.{ending}") == 0
    assert "but not the picture that they started from" in capsys.readouterr().err
    assert image2image.main(["in.png", "--from", f"d.{ending}", "-o", "e.png"]) == 0
    assert image2image.main(["--from", f"d.{ending}", "-o", "f.png"]) == 1
    assert "does not carry the picture" in capsys.readouterr().err


def test_a_row_of_a_triangle_is_made_again_alone() -> None:
    assert img("in.png", "a house", "--seed", "4", "-gt", "0.3,0.6,1") == 0
    assert image2image.main(["--from", "out-strength0.6.png", "-o", "again.png"]) == 0
    assert same("out-strength0.6.png", "again.png")
    assert made() == ["again.png", *(f"out-{x}.png" for x in ("strength0.3", "strength0.6", "strength1", "triangle"))]


def test_options_take_the_place_of_the_files(capsys: pytest.CaptureFixture[str]) -> None:
    assert txt("a house", "--seed", "4", "--spacing", "karras") == 0
    words = ["--seed", "5", "--steps", "3", "--cfg", "0", "--sampler", "DPM++ 2M Exponential", "--width", "40"]
    assert again("a boat", "--from", "out.png", "-o", "again.png", *words) == 0
    now, was = recipe("again.png").settings, recipe("out.png").settings
    assert (now.prompt, now.seed, now.steps, now.cfg) == ("a boat", 5, 3, 0.0)
    assert (now.sampler, now.spacing, now.width, now.height) == ("dpmpp_2m", "exponential", 40, 32)
    assert (was.spacing, was.width) == ("karras", 32)
    assert again("--from", "again.png", "-o", "third.png", "--sigmas", "5,1") == 0
    assert recipe("third.png").settings.sigmas == (5.0, 1.0, 0.0)
    assert again("--from", "third.png", "-o", "fourth.png", "--steps", "3") == 0
    assert recipe("fourth.png").settings.sigmas is None


def test_what_is_named_takes_the_place_of_a_sheets_own_view() -> None:
    assert img("in.png", "a house", "--seed", "4", "-gt", "0.3,1") == 0
    assert image2image.main(["--from", "out-triangle.png", "--strength", "0.5", "-o", "a.png"]) == 0
    assert image2image.main(["--from", "out-triangle.png", "--grid", "cfg=1,3", "-o", "b.png"]) == 0
    assert image2image.main(["--from", "out-triangle.png", "-gt", "0.7", "-o", "c.png"]) == 0
    assert txt("a house", "--seed", "4", "--grid", "cfg=1,3", "-o", "g.png") == 0
    assert again("--from", "g-grid.png", "--cfg", "9", "-o", "d.png") == 0
    assert again("--from", "g-grid.png", "--perturb", "0.5", "-o", "e.png") == 0
    names = made()
    for name in ("a.png", "b-grid.png", "c-triangle.png", "c-strength0.7.png", "d.png", "e.png"):
        assert name in names
    assert "a-triangle.png" not in names and "d-grid.png" not in names
    assert recipe("d.png").settings.cfg == 9 and len(recipe("e.png").settings.perturb) == 1


def test_an_axis_takes_the_place_of_what_does_not_go_with_it() -> None:
    assert txt("a house", "--seed", "4") == 0
    for grid in ("sigmas=14,3,0|10,2,0", "spacing=karras,trailing", "sampler=DPM++ 2M Karras,DPM++ 2M"):
        assert again("--from", "out.png", "--grid", grid, "-o", "g.png") == 0
    assert not same("g-2-column1.png", "g-2-column2.png")  # the spacing that the name brings
    assert txt2image.main(["a house", "--model", SD1, "--seed", "4", "--sigmas", "14,3,0", "-o", "hand.png"]) == 0
    assert again("--from", "hand.png", "--grid", "steps=2,3", "-o", "h.png") == 0
    assert txt("a house", "--sampler", "ddim", "--eta", "0.5", "-o", "eta.png") == 0
    assert again("--from", "eta.png", "--sampler", "euler", "-o", "plain.png") == 0
    assert recipe("plain.png").settings.eta is None


def test_a_mask_is_not_lost_where_its_picture_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert img("in.png", "a house", "--seed", "4", "--mask", "mask.png", "--feather", "2", "-o", "kept.png") == 0
    assert image2image.main(["in.png", "--from", "kept.png", "-o", "a.png"]) == 0
    assert image2image.main(["-", "--from", "kept.png", "--feather", "2", "-o", "b.png"]) == 0  # not softened twice
    assert same("a.png", "kept.png") and same("b.png", "kept.png")
    assert img("in.png", "a house", "--seed", "4", "--mask", "mask.png", "--no-source", "-o", "bare.png") == 0
    assert image2image.main(["in.png", "--from", "bare.png", "-o", "c.png"]) == 1
    assert "made with a mask that it does not carry: name it with --mask" in capsys.readouterr().err
    assert image2image.main(["in.png", "--from", "bare.png", "--mask", "mask.png", "-o", "c.png"]) == 0
    assert same("c.png", "bare.png")


def test_a_start_step_takes_the_place_of_a_strength_and_the_other_way_round() -> None:
    assert img("in.png", "a house", "--strength", "0.5") == 0
    assert image2image.main(["--from", "out.png", "-o", "a.png", "--start-step", "1"]) == 0
    assert (recipe("a.png").settings.strength, recipe("a.png").settings.start_step) == (None, 1)
    assert image2image.main(["--from", "a.png", "-o", "b.png", "--strength", "0.4"]) == 0
    assert (recipe("b.png").settings.strength, recipe("b.png").settings.start_step) == (0.4, None)


def test_another_picture_or_mask_takes_the_place_of_the_files(capsys: pytest.CaptureFixture[str]) -> None:
    assert img("in.png", "a house", "--seed", "4", "--mask", "mask.png") == 0
    Image.fromarray(255 - pixels("in.png").astype(np.uint8)).save("other.png")
    assert image2image.main(["other.png", "--from", "out.png", "-o", "a.png"]) == 0
    assert "not the picture that out.png was made from" in capsys.readouterr().err
    assert image2image.main(["-", "a boat", "--from", "out.png", "-o", "b.png", "--no-alpha"]) == 0
    assert recipe("b.png").settings.prompt == "a boat"
    assert np.abs(pixels("b.png") - pixels("in.png"))[:, :20].max() > 0  # without the mask all of it is painted


def test_without_its_source_a_file_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert img("in.png", "a house", "--seed", "4", "--no-source") == 0
    assert not read_attached("out.png").pictures
    assert image2image.main(["--from", "out.png"]) == 1
    assert "does not carry the picture that it was made from: name it (in.png)" in capsys.readouterr().err
    assert image2image.main(["in.png", "--from", "out.png", "-o", "again.png"]) == 0
    assert same("out.png", "again.png")


def test_settings_can_be_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert txt("a secret house", "--no-metadata") == 0
    with Image.open("out.png") as picture:
        assert picture.info == {}
    assert b"secret" not in Path("out.png").read_bytes()
    assert again("--from", "out.png") == 1
    assert "says nothing of how it was made" in capsys.readouterr().err


def test_a_picture_says_its_model_and_package() -> None:
    assert txt("a house", "-q", "8") == 0
    found = recipe("out.png")
    assert found.model.name == SD1 and len(found.model.hash or "") == 64 and found.model.quantize == 8
    assert found.made_by.startswith("stable-diffusion-mlx ")
    text = read_attached("out.png").texts["parameters"]
    assert text.startswith("a house\n") and f"Model hash: {(found.model.hash or '')[:10]}" in text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 2}, "of version 2, and 1 is known here: update"),
        ({"settings": {"prompt": "a"}}, "damaged"),
        ({"settings": 5}, "damaged"),
        ({"view": {"output": "/etc/passwd"}}, "damaged"),
        ({"view": {"n_images": "many"}}, "damaged"),
        ({"view": {"generate_triangle": ["x"]}}, "damaged"),
        ({"model": None}, "damaged"),
    ],
)
def test_damaged_or_newer_files_are_one_sentence(
    change: dict[str, object], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert txt("a house") == 0
    assert again("--from", rewritten("out.png", change), "-o", "again.png") == 1
    err = capsys.readouterr().err
    assert "changed.png can't be made again" in err and words in err and "Traceback" not in err
    assert "again.png" not in made()


def test_a_file_that_is_cut_off_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert txt("a house") == 0
    Path("half.png").write_bytes(Path("out.png").read_bytes()[:-200])
    assert again("--from", "half.png") == 1
    assert "'half.png' can't be read" in capsys.readouterr().err


def test_a_model_that_is_gone_or_another_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = shutil.copytree(SD1, tmp_path / "model")
    assert txt2image.main(["a house", "--model", str(folder), "--steps", "2"]) == 0
    weights = next((folder / "unet").glob("*.safetensors"))
    arrays = mx.load(str(weights))
    assert isinstance(arrays, dict)
    mx.eval(arrays)  # they are read when they are first used, and the file is about to be another
    mx.save_safetensors(str(weights), {name: array * 1.01 for name, array in arrays.items()})
    assert again("--from", "out.png", "-o", "a.png") == 0
    assert "is not what it was when out.png was made" in capsys.readouterr().err
    shutil.rmtree(folder)
    assert again("--from", "out.png", "-o", "b.png") == 1
    err = capsys.readouterr().err
    assert "out.png was made with the model" in err and "--model" in err
    assert again("--from", "out.png", "-o", "b.png", "--model", SD1) == 0


def test_each_command_makes_its_own_pictures_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert img("in.png", "a house") == 0
    assert again("--from", "out.png") == 1
    assert "was made from a picture: use image2image" in capsys.readouterr().err
    assert txt("a house", "-o", "text.png") == 0
    assert image2image.main(["--from", "text.png"]) == 1
    assert "made from a prompt alone" in capsys.readouterr().err
    assert image2image.main(["in.png", "--from", "text.png", "-o", "both.png"]) == 0  # the settings of one on the other


A1111 = """a house <lora:old:0.8>, by the sea
Negative prompt: fog,
rain
Steps: 5, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 4.5, Seed: 77, Size: 40x32, Model hash: 6ce0, \
Model: v1-5, Variation seed: 9, Variation seed strength: 0.2, Denoising strength: 0.6, Hires upscale: 2, Version: 1"""


def test_another_tools_picture_is_read_as_far_as_its_words_are_known(capsys: pytest.CaptureFixture[str]) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", A1111)
    Image.new("RGB", (40, 32)).save("theirs.png", pnginfo=info)
    assert again("--from", "theirs.png") == 1
    assert "made with the model 'v1-5': name a model with --model" in capsys.readouterr().err
    assert again("--from", "theirs.png", "--model", SD1) == 1
    assert "the prompt names the LoRA 'old': name the folder that it is in with --lora-dir" in capsys.readouterr().err
    put_lora("loras/old.safetensors")
    assert again("--from", "theirs.png", "--model", SD1, "--lora-dir", "loras") == 0
    err = capsys.readouterr().err
    for words in (
        "Hires upscale: 2",
        "Denoising strength: 0.6",
        "--noise-source nvidia",
        "NVIDIA card",
    ):
        assert words in err
    s = recipe("out.png").settings
    assert (s.steps, s.sampler, s.spacing, s.cfg, s.seed, s.width) == (5, "dpmpp_2m", "karras", 4.5, 77, 40)
    assert s.negative_prompt == "fog,\nrain"
    assert (s.variation_seed, s.variation_strength, s.noise_source, s.start_scale) == (9, 0.2, "nvidia", "sigma")
    there = ["--model", SD1, "--lora-dir", "loras"]
    assert image2image.main(["in.png", "--from", "theirs.png", *there, "-o", "from.png"]) == 0
    assert (recipe("from.png").settings.strength, recipe("from.png").settings.start_step) == (None, 1)
    assert image2image.main(["in.png", "--from", "theirs.png", *there, "--strength", "0.4", "-o", "less.png"]) == 0
    assert (recipe("less.png").settings.strength, recipe("less.png").settings.start_step) == (0.4, None)
    instead = [*there, "--noise-source", "torch", "--variation-seed", "8"]
    assert again("--from", "theirs.png", "-o", "other.png", *instead) == 0
    other = recipe("other.png").settings
    assert (other.noise_source, other.variation_seed, other.seed) == ("torch", 8, 77)


def picture_with(texts: dict[str, str], name: str = "theirs.png") -> None:
    info = PngImagePlugin.PngInfo()
    for keyword, text in texts.items():
        info.add_text(keyword, text)
    Image.new("RGB", (40, 32)).save(name, pnginfo=info)


def put_lora(path: str) -> None:
    query = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q"
    up, down = np.ones((8, 1), np.float32), np.ones((1, 8), np.float32)
    Path(path).parent.mkdir(exist_ok=True, parents=True)
    write(Path(path), {f"{query}.lora_up.weight": up, f"{query}.lora_down.weight": down})


@pytest.mark.parametrize("called", ["ink", "ink.safetensors", "Styles\\ink.ckpt", "other/place/ink.safetensors"])
def test_loras_that_another_tools_file_names_are_taken_from_a_folder(
    called: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = {
        "sui_image_params": {
            "prompt": "a house", "seed": 0, "steps": 2, "cfgscale": 2.0, "width": 40, "height": 32,
            "loras": [called, "lost"], "loraweights": ["0.8", "0.5"], "loratencweights": ["0.3", "0.5"],
        }
    }  # fmt: skip
    picture_with({"parameters": json.dumps(words)})
    put_lora("loras/deep/ink.safetensors")
    assert again("--from", "theirs.png", "--model", SD1, "-o", "without.png") == 0
    err = capsys.readouterr().err
    assert "0.8 (text 0.3)" in err and "lost 0.5" in err and "--lora-dir" in err
    assert again("--from", "theirs.png", "--model", SD1, "--lora-dir", "loras", "-o", "with.png") == 0
    err = capsys.readouterr().err
    assert "names, unless --lora names others: loras/deep/ink.safetensors 0.8 (text 0.3)" in err
    assert "the LoRA lost 0.5 (loras has no LoRA 'lost'" in err and "no prompt names" not in err
    assert [entry[:3] for entry in recipe("with.png").model.loras] == [("loras/deep/ink.safetensors", 0.8, 0.3)]
    assert not same("without.png", "with.png")
    assert again("--from", "with.png", "-o", "again.png") == 0 and same("with.png", "again.png")
    put_lora("mine.safetensors")
    instead = ["--lora-dir", "loras", "--lora", "mine.safetensors:0.1", "-o", "mine.png"]
    assert again("--from", "theirs.png", "--model", SD1, *instead) == 0
    assert [entry[:3] for entry in recipe("mine.png").model.loras] == [("mine.safetensors", 0.1, 0.1)]


def test_levels_of_another_tool_are_its_models_unless_others_are_named() -> None:
    line = "Steps: 3, Sampler: DPM++ 2M, Schedule type: Align Your Steps, CFG scale: 2, Seed: 0, Size: 64x64, RNG: CPU"
    picture_with({"parameters": f"a house\n{line}, Version: v1.10.1"})
    xl = ["--model", str(Path(SD1).parent / "xl")]
    for named, spacing in (([], "align_your_steps_xl"), (["--spacing", "align_your_steps"], "align_your_steps")):
        assert again("--from", "theirs.png", *xl, *named, "-o", "out.png", "--overwrite") == 0
        assert (recipe("out.png").settings.spacing, recipe("out.png").settings.seed) == (spacing, 0)


def test_a_long_list_of_what_is_not_understood_is_cut_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    words = {"positive_prompt": "a house", "seed": 0} | {f"name{i}": i for i in range(60)}
    picture_with({"invokeai_metadata": json.dumps(words)})
    assert again("--from", "theirs.png", "--model", SD1, "--plan") == 0
    err = capsys.readouterr().err
    assert "name39: 39; and 20 more" in err and "name40" not in err


@pytest.mark.parametrize("source", ["torch", "nvidia"])
@pytest.mark.parametrize("sampler", ["euler_a", "dpmpp_2m_sde", "ddim:stride=333"])
def test_other_tools_noise_is_made_again_from_the_file(source: str, sampler: str) -> None:
    words = ["--noise-source", source, "--start-scale", "unit", "--variation-seed", "9", "--variation-strength", "0.3"]
    words += ["--of-batch", "2/3", "--step-seed-delta", "31337", "--sampler", sampler, "--steps", "3", "--eta", "1"]
    assert txt("a house", "--seed", "4", *words, "-o", "parent.png", "--perturb", "0.2") == 0
    assert again("--from", "parent.png", "-o", "again.png") == 0
    assert same("parent.png", "again.png")
    for change in (["--of-batch", "1/3"], ["--start-scale", "sigma"], ["--variation-strength", "0.4"]):
        assert again("--from", "parent.png", "-o", "changed.png", "--overwrite", *change) == 0
        assert not same("parent.png", "changed.png"), change


def test_a_file_from_before_other_tools_noise_is_made_again() -> None:
    assert txt("a house " * 90, "--seed", "4", "--sampler", "euler_a", "--cut-prompt") == 0
    values = json.loads(read_attached("out.png").texts[RECIPE])
    for name in ("noise_source", "start_scale", "of_batch", "step_noise_source", "step_seed_delta", "variation_seed"):
        del values["settings"][name]
    for name in ("variation_strength", "prompt_syntax", "cut_prompt"):
        del values["settings"][name]
    assert again("--from", rewritten("out.png", {"settings": values["settings"]}), "-o", "again.png") == 0
    assert same("out.png", "again.png")
    assert again("--from", "again.png", "--no-cut-prompt", "-o", "whole.png") == 0
    assert not same("out.png", "whole.png")
    assert again("--from", "again.png", "--prompt-syntax", "comfyui", "-o", "theirs.png") == 0
    assert recipe("theirs.png").settings.prompt_syntax == "comfyui"


def test_a_seed_of_minus_one_is_a_random_one_that_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert txt("a house", "--seed", "-1") == 0
    seed = recipe("out.png").settings.seed
    assert f"seed {seed}" in capsys.readouterr().err and seed >= 0
    assert again("--from", "out.png", "--seed", "-1", "-o", "other.png") == 0
    assert recipe("other.png").settings.seed != seed
    assert txt("a house", "--seed", "-2", "-o", "no.png") == 1
    assert "seed is -2: it must be 0 or more" in capsys.readouterr().err


# Lineage


def test_children_are_the_same_whenever_they_are_asked_for() -> None:
    assert txt("a house", "--seed", "4", "--perturb", "0.3", "--n_images", "3") == 0
    assert txt("a house", "--seed", "4", "-o", "parent.png") == 0
    assert again("--from", "parent.png", "--perturb", "0.3", "--n_images", "2", "-o", "later.png") == 0
    assert same("out-child1.png", "later-child1.png") and same("out-child2.png", "later-child2.png")
    assert not same("out-child1.png", "out-child2.png")
    assert recipe("out-child1.png").settings.seed == 4


def test_a_lineage_is_continued_for_ten_generations_from_the_files_alone() -> None:
    assert txt("a house", "--seed", "4", "--sampler", "euler_a", "-o", "0.png") == 0
    for generation in range(10):
        words = ["--from", f"{generation}.png", "--perturb", "0.3", "-o", f"{generation + 1}.png"]
        assert again(*words) == 0
    lineage = recipe("10.png").settings.perturb
    assert len(lineage) == len({entry[0] for entry in lineage}) == 10
    spoken = [word for seed, amount, *_ in lineage for word in ("--variation", f"{seed}:{amount}")]
    assert txt("a house", "--seed", "4", "--sampler", "euler_a", "-o", "spoken.png", *spoken) == 0
    assert same("10.png", "spoken.png")


def test_a_small_amount_changes_less_than_a_large_one_and_the_slider_is_an_angle() -> None:
    assert txt("a house", "--seed", "4", "-o", "parent.png") == 0
    apart = []
    for amount in ("0.05", "0.5"):
        assert again("--from", "parent.png", "--perturb", amount, "-o", f"{amount}.png") == 0
        apart.append(np.abs(pixels(f"{amount}.png") - pixels("parent.png")).mean())
    assert 0 < apart[0] < apart[1]
    assert again("--from", "parent.png", "--variation-slider", "0.2", "-o", "slid.png") == 0
    assert recipe("slid.png").settings.perturb[0][1] == pytest.approx(0.30901699)


def test_a_masked_perturbation_keeps_its_mask_in_the_lineage() -> None:
    Image.new("L", (32, 32)).save("none.png")
    right = Image.new("L", (32, 32))
    right.paste(255, (16, 0, 32, 32))
    right.save("right.png")
    assert txt("a house", "--seed", "4", "-o", "parent.png") == 0
    for name in ("none", "right"):
        assert again("--from", "parent.png", "--perturb", "0.8", "--mask", f"{name}.png", "-o", f"{name}-out.png") == 0
    assert same("none-out.png", "parent.png")
    assert not same("right-out.png", "parent.png")
    Path("right.png").unlink()
    assert again("--from", "right-out.png", "--perturb", "0.2", "-o", "child.png") == 0
    assert again("--from", "child.png", "-o", "child-again.png") == 0
    assert same("child.png", "child-again.png")
    assert [len(entry) for entry in recipe("child.png").settings.perturb] == [3, 2]
    assert again("--from", "child.png", "--width", "64", "-o", "wide.png") == 1  # the mask is of another size


def test_a_sheet_of_masked_variations_is_made_again_with_its_mask() -> None:
    Image.new("L", (32, 32)).save("none.png")
    assert txt("a house", "--seed", "4", "--perturb", "0.8", "--n_images", "2", "--mask", "none.png") == 0
    Path("none.png").unlink()
    assert again("--from", "out.png", "-o", "again.png") == 0
    assert same("out.png", "again.png") and same("out-child1.png", "again-child1.png")
    assert again("--from", "out.png", "--seed", "5", "-o", "other.png") == 0
    assert same("other-child1.png", "other-child2.png")  # black: nothing varies


def test_a_grid_of_masked_perturbations_is_made_again_with_the_same_headings() -> None:
    words = ["--mask", "mask.png", "--seed", "4", "--grid", "perturb=5:0.7|6:0.7"]
    assert img("in.png", "a house", *words) == 0
    assert image2image.main(["--from", "out-grid.png", "-o", "again.png"]) == 0
    assert same("out-grid.png", "again-grid.png")


def test_a_mask_alone_has_nothing_to_do_for_a_prompt(capsys: pytest.CaptureFixture[str]) -> None:
    assert txt("a house", "--mask", "mask.png") == 1
    assert "--perturb or --variation" in capsys.readouterr().err


def test_children_of_an_uploaded_picture_start_from_its_inversion() -> None:
    words = ["in.png", "a house", "--seed", "4", "--start", "inversion", "--strength", "0.5"]
    assert img(*words, "-o", "parent.png") == 0
    assert img(*words, "--perturb", "0.1", "--n_images", "2") == 0
    assert not same("out-child1.png", "parent.png")
    assert image2image.main(["--from", "out-child2.png", "-o", "again.png"]) == 0
    assert same("out-child2.png", "again.png")
