"""Options by the names that other tools give them: the answer says what they are called here, or that they are not."""

import pytest

import txt2image
from stable_diffusion.cli import guesses
from stable_diffusion.cli.options import add_common, add_frames, add_laboratory, add_start, add_variations
from stable_diffusion.cli.parser import Parser


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--cfg-scale", "7"], "--cfg-scale: that is --cfg here"),
        (["--guidance_scale=7"], "--guidance_scale: that is --cfg here"),
        (["-W", "512", "-H", "512"], "-W: that is --width here; -H: that is --height here"),
        (["-n", "4"], "-n: that is --n_images here"),
        (["--scheduler", "karras"], "that is --sampler, and --spacing for the noise levels here"),
        (["--ckpt", "x"], "that is --model here"),
        (["--prompt", "a"], "write the prompt without a flag"),
        (["--init-img", "a.png"], "give the picture to image2image"),
        (["--hires", "2"], "--hires: it is not here"),
        (["--controlnet", "x"], "ControlNet, T2I-Adapter and IP-Adapter are not built yet"),
        (["--medvram"], "that is --low-memory here"),
        (["by", "the", "sea"], "unrecognized arguments: by the sea: put the prompt in quotes"),
        (["--stepz", "3"], "did you mean --steps?"),
    ],
)
def test_a_guess_is_answered(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        txt2image.main(["a house", *words])
    assert caught.value.code == 2 and said in capsys.readouterr().err


def test_every_answer_names_an_option_that_is_there() -> None:
    parser = Parser("", [])
    parser.add_argument("image")
    for add in (add_start, add_common, add_variations, add_frames, add_laboratory):
        add(parser)
    for ours in guesses._NAMES:
        assert ours.split(",")[0].split()[0] in parser._option_string_actions, ours


def test_no_guess_is_an_option_of_ours() -> None:
    parser = Parser("", [])
    for add in (add_start, add_common, add_variations, add_frames, add_laboratory):
        add(parser)
    ours = {name.lstrip("-").replace("_", "-") for name in parser._option_string_actions}
    assert not ours & guesses._KNOWN.keys()
