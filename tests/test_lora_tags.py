"""<lora:name:0.8> in prompts of AUTOMATIC1111: what it says, which file it means, and what files of pictures say."""

from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from stable_diffusion import CheckpointError, Settings, StableDiffusion
from stable_diffusion.jobs.recipe import Recipe
from stable_diffusion.pictures.metadata import read_attached
from stable_diffusion.prompts.loras import LORA_TAGS, Tag, lora_tags
from stable_diffusion.weights.folders import lora_named
from stable_diffusion.weights.identity import file_hash
from tests.commands import SD1, same, txt
from tests.ldm_files import write

RNG = np.random.default_rng(3)
QUERY = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q"
TEXT = "lora_te_text_model_encoder_layers_1_self_attn_v_proj"
A1111 = ("--prompt-syntax", "a1111", "--lora-dir", "loras", "--seed", "1", "--cfg", "3")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sizes = {module: net[module].weight.shape for module, net in MODULES.items()}
    for place in ("red", "blue", "more/green", "more/twice", "twice"):
        tensors = {}
        for module, (out, into) in sizes.items():
            tensors[f"{module}.lora_up.weight"] = RNG.normal(size=(out, 2)).astype(np.float32)
            tensors[f"{module}.lora_down.weight"] = RNG.normal(size=(2, into)).astype(np.float32)
        file = Path("loras", f"{place}.safetensors")
        file.parent.mkdir(parents=True, exist_ok=True)
        write(file, tensors)


_SD = StableDiffusion(SD1, float16=False)
MODULES = {
    QUERY: {QUERY: _SD.unet.down_blocks[1].attentions[0].transformer_blocks[0].attn1.to_q},
    TEXT: {TEXT: _SD.text_encoder.encoder.layers[1].self_attn.v_proj},
}


@pytest.mark.parametrize(
    ("prompt", "text", "tags"),
    [
        ("a house", "a house", ()),
        ("a <lora:red> house", "a  house", (Tag("red"),)),
        ("<lora:red:0.8>", "", (Tag("red", 0.8, 0.8),)),
        ("<lora:red:0.8:0.2>", "", (Tag("red", 0.2, 0.8),)),  # of the text first
        ("<lora:red:te=0.3>", "", (Tag("red", 0.3, 0.3),)),
        ("<lora:red:0.5:unet=-1>", "", (Tag("red", -1.0, 0.5),)),
        ("<lyco:red:1><lora:my file:.5>x", "x", (Tag("red", 1, 1), Tag("my file", 0.5, 0.5))),
        ("[a<lora:red:1>:b:0.5] AND c", "[a:b:0.5] AND c", (Tag("red", 1, 1),)),
        ("<hypernet:x:1> < lora:red:1> <lora:>", "<hypernet:x:1> < lora:red:1> <lora:>", ()),
    ],
)
def test_tags_are_taken_out_of_a_prompt(prompt: str, text: str, tags: tuple[Tag, ...]) -> None:
    assert lora_tags(prompt) == (text, tags)
    for syntax in ("plain", "comfyui"):
        assert LORA_TAGS[syntax](prompt) == (prompt, ())


@pytest.mark.parametrize(
    "tag", ["<lora:red:x>", "<lora: :1>", "<lora:red:1:2:3>", "<lora:red:nan>", "<lora:red:dyn=4>"]
)
def test_a_tag_that_says_nothing_is_refused(tag: str) -> None:
    with pytest.raises(ValueError, match=r"is not <lora:name>|not known here"):
        lora_tags(tag)


def test_names_are_those_of_files_in_a_folder_and_in_those_in_it() -> None:
    assert lora_named("green", "loras") == Path("loras/more/green.safetensors")
    assert lora_named("more/twice", "loras") == Path("loras/more/twice.safetensors")
    for name, words in {
        "grene": "has no LoRA 'grene': there are green",
        "xyz": "there are blue, green, more/green, more/twice, red",
        "../loras/red": "has no LoRA",
        "twice": "has 2 LoRAs of the name 'twice': write 'more/twice' or 'twice'",
    }.items():
        with pytest.raises(CheckpointError, match=words):
            lora_named(name, "loras")
    with pytest.raises(CheckpointError, match="name the folder that it is in with --lora-dir"):
        lora_named("red", None)
    with pytest.raises(CheckpointError, match="there is no folder 'none'"):
        lora_named("red", "none")


def last(prompt: str, **more: object) -> mx.array:
    sd = StableDiffusion(SD1, float16=False, **more)  # type: ignore[arg-type]
    s = Settings(prompt=prompt, prompt_syntax="a1111", steps=2, width=32, height=32, seed=1, cfg=3.0)
    return list(sd.sample(s))[-1].x


def test_a_tag_is_that_lora_on_the_model() -> None:
    tagged = last("a house<lora:red:0.8:0.2><lora:blue:0.5>", lora_dir="loras")
    loras = [("loras/red.safetensors", 0.2, 0.8), ("loras/blue.safetensors", 0.5)]
    assert mx.array_equal(tagged, last("a house", loras=loras))
    assert not mx.array_equal(tagged, last("a house"))


def test_every_picture_has_its_own_and_is_made_again_from_its_file(capsys: pytest.CaptureFixture[str]) -> None:
    prompts = "prompt=a house|a house <lora:red:0.7>|a barn<lora:red:0.7>|a house<lora:green>"
    assert txt(*A1111, "--grid", prompts, "-o", "g.png") == 0
    for column, prompt in enumerate(prompts.removeprefix("prompt=").split("|"), start=1):
        assert txt(prompt, *A1111, "-o", "alone.png", "--overwrite") == 0
        if column in (1, 4):  # which shared their calls with no other
            assert same("alone.png", f"g-column{column}.png")
        assert txt("--from", f"g-column{column}.png", "-o", "again.png", "--overwrite") == 0
        assert same("again.png", f"g-column{column}.png")
    texts = read_attached("g-column4.png").texts
    green = file_hash(Path("loras/more/green.safetensors"))
    assert Recipe.from_json(texts["stable-diffusion-mlx"]).model.tagged == (("green", green),)
    assert f'Lora hashes: "green: {green[:12]}"' in texts["parameters"]
    capsys.readouterr()
    Path("loras/more/green.safetensors").write_bytes(Path("loras/blue.safetensors").read_bytes())
    assert txt("--from", "g-column4.png", "-o", "changed.png") == 0
    assert "the LoRA green is not what it was when g-column4.png was made" in capsys.readouterr().err
    assert not same("changed.png", "g-column4.png")
    Path("loras/more/green.safetensors").unlink()  # another prompt does not ask for it
    assert txt("a house", "--from", "g-column4.png", "-o", "other.png") == 0
    assert "green" not in capsys.readouterr().err


def test_what_cannot_be_is_refused_before_anything_is_made(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (("a <lora:grene>", *A1111), ("a <lora:red:x>", *A1111), ("a <lora:red>", "--prompt-syntax", "a1111")):
        for plan in ((), ("--plan",)):
            assert txt(*words, *plan) == 1
            assert "error: " in capsys.readouterr().err
    assert txt("a <lora:red>", "--lora-dir", "loras", "--plan") == 0
    err = capsys.readouterr().err
    assert "<lora:red> in the prompt is taken literally" in err and "no prompt names a LoRA of --lora-dir" in err
