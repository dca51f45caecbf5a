"""The options of both commands: spelled either way, read strictly, explained in plain words."""

import math
import re
import subprocess
import sys
from pathlib import Path

import pytest

import image2image
import txt2image
from stable_diffusion.__main__ import main as package
from stable_diffusion.cli.arguments import check, settings_of
from stable_diffusion.cli.options import add_common, add_start
from stable_diffusion.cli.parser import Parser
from stable_diffusion.diffusion.plan import make_plan
from stable_diffusion.diffusion.schedule import NoiseSchedule
from stable_diffusion.presets import PRESETS
from stable_diffusion.settings import CompleteSettings, Settings
from stable_diffusion.values import number, whole
from stable_diffusion.version import __version__
from tests.recipes import PLAIN

COMMANDS = {"txt2image": txt2image.main, "image2image": image2image.main}


def parser() -> Parser:
    parser = Parser("A test.", ["an example"])
    parser.add_argument("prompt")
    add_common(parser)
    return parser


LONG = [s for action in parser()._actions for s in action.option_strings if s.startswith("--")]


def help_of(command: str, capsys: pytest.CaptureFixture[str], *page: str) -> str:
    with pytest.raises(SystemExit) as caught:
        COMMANDS[command](["--help", *page])
    assert caught.value.code == 0
    return capsys.readouterr().out


def usage_error(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a misspelt command line gets."""
    own = parser()
    with pytest.raises(SystemExit) as caught:
        check(own, own.parse_args(words))
    assert caught.value.code == 2
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    return text


VALUES = {
    "--model": "a_b-c",
    "--negative_prompt": "x_y-z",
    "--sampler": "euler_a",
    "--spacing": "karras",
    "--discretize": "schedule",
    "--prediction": "epsilon",
    "-o": "a_b.png",
    "--noise-source": "torch",
    "--prompt-syntax": "a1111",
    "--start-scale": "unit",
    "--of-batch": "2/4",
    "--step-noise-source": "nvidia",
}
LISTED = {"--lora": "[('8', 1.0, 1.0, None)]", "--embedding": "[('8', None)]"}  # what 8 is to them


@pytest.mark.parametrize(
    "option", [option for option in LONG if option not in ("--help", "--version", "--print-completion")]
)
def test_hyphens_and_underscores_are_the_same(option: str) -> None:
    action = next(a for a in parser()._actions if option in a.option_strings)
    value = VALUES.get(option, "a_b-c.png" if option == "--output" else "8")
    plain = "--" + option[2:].replace("-", "_"), "--" + option[2:].replace("_", "-")
    if action.nargs == 0:
        lines = [[spelling, "a-b_c"] for spelling in plain]
    else:
        lines = [[spelling, value, "a-b_c"] for spelling in plain] + [[f"{s}={value}", "a-b_c"] for s in plain]
    read = [vars(parser().parse_args(line)) for line in lines]
    assert all(one == read[0] for one in read)
    assert read[0]["prompt"] == "a-b_c"
    assert read[0][action.dest] != action.default or option == "--save_prompt"  # which says what is so anyway
    assert str(read[0][action.dest]) in (
        value,
        f"{value}.0",
        f"({value}.0,)",
        "True",
        "False",
        LISTED.get(option),
    )  # the value itself is left alone


@pytest.mark.parametrize("prompt", ["--n_images", "--negative-prompt=x", "-5", "--", "", "- a list", "a -- b"])
def test_a_double_hyphen_protects_any_prompt(prompt: str) -> None:
    assert parser().parse_args(["--n-images", "2", "--", prompt]).prompt == prompt


def test_a_negative_prompt_may_begin_with_hyphens_after_an_equals_sign() -> None:
    assert parser().parse_args(["a", "--negative-prompt=--n_images"]).negative_prompt == "--n_images"


def test_shortened_options_are_not_guessed(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--neg" in usage_error(["a", "--neg", "b"], capsys)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "required: prompt"),
        (["a", "b"], "unrecognized arguments: b"),
        (["a", "--sampler", "eulr"], "unknown sampler 'eulr': did you mean euler"),
        (["a", "--seed", "1.5"], "'1.5' is not a whole number"),
        (["a", "--seed", "9" * 5000], "is not a whole number"),
        (["a", "--cfg", "high"], "'high' is not a number"),
        (["a", "--n_images", "0"], "0 is not from 1 to 10000"),
        (["a", "--n_images", "99999999999"], "is not from 1 to 10000"),
        (["a", "--steps", "-3"], "-3 is not from 1 to 10000"),
        (["a", "--width", "7"], "7 is not from 8 to 65536"),
        (["a", "--height", "1000000"], "is not from 8 to 65536"),
        (["a", "--n_rows", "0"], "0 is not 1 or more"),
        (["a", "-q", "5"], "5 is not 2, 3, 4, 6 or 8"),
        (["a", "--plan=1"], "--plan"),
    ],
)
def test_a_misspelt_command_line_is_one_sentence(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in usage_error(words, capsys)


def test_quantize_without_a_number_means_8_bits() -> None:
    assert parser().parse_args(["a"]).quantize is None
    assert parser().parse_args(["a", "-q"]).quantize == 8
    assert parser().parse_args(["a", "-q", "4"]).quantize == 4


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_explains_every_option_and_names_every_model(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    text = help_of(command, capsys, "all")
    own = ["--strength", "--start-step", "--strength-mode", "--pure-noise", "--fit"] if command == "image2image" else []
    for word in (*LONG, *PRESETS, *own):
        assert f" {word} " in text.replace(",", " ").replace("\n", " "), word
    assert "None" not in text


@pytest.mark.parametrize("command", COMMANDS)
def test_the_first_page_of_the_help_fits_on_a_screen(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = help_of(command, capsys).splitlines()
    assert len(lines) <= 39 and max(map(len, lines)) <= 80  # a screen has 40, the last one for what is typed next
    text = "\n".join(lines)
    assert lines[0].startswith("usage: ") and len(lines[0]) < 80
    options = re.findall(r"^  (?:-\w+.*, )?--[\w-]+", text, re.MULTILINE)
    assert 11 <= len(options) <= 16
    assert text.count(f"  {command}.py ") == 2, "two examples"
    assert "--help all" in text


def test_every_option_has_a_help_text_that_does_not_repeat_its_name() -> None:
    for action in parser()._actions:
        if action.dest not in ("help", "prompt", "width"):
            assert action.help and action.help.lower() != action.dest.replace("_", " "), action.dest


@pytest.mark.parametrize("option", ["cfg", "seed", "eta", "s_churn", "s_noise", "s_tmax", "clip_skip", "cfg_rescale"])
def test_zero_means_zero(option: str) -> None:
    settings = settings_of(parser().parse_args(["a", f"--{option}", "0"]), Settings())
    assert getattr(settings, option) == 0 and getattr(settings, option) is not None


def test_what_is_not_given_is_left_to_the_model() -> None:
    assert settings_of(parser().parse_args(["a"]), Settings()) == Settings(prompt="a")


def test_every_option_of_the_picture_reaches_its_setting() -> None:
    line = (
        "a --negative_prompt b --n_images 3 --steps 7 --cfg 2.5 --cfg-rescale .5 --sampler heun --spacing karras "
        "--eta .25 --s-churn 9 --s-tmin .1 --s-tmax 5 --s-noise 1.01 --clip-skip 1"
    )
    wanted = Settings(
        prompt="a", negative_prompt="b", seed=5, n_images=3, steps=7, cfg=2.5, cfg_rescale=0.5, sampler="heun",
        spacing="karras", eta=0.25, s_churn=9, s_tmin=0.1, s_tmax=5, s_noise=1.01, clip_skip=1,
    )  # fmt: skip
    assert settings_of(parser().parse_args(line.split()), Settings(seed=5)) == wanted


def test_a_prompt_that_is_no_text_is_one_sentence() -> None:
    with pytest.raises(ValueError, match="bytes that are no text"):
        settings_of(parser().parse_args(["caf\udce9"]), Settings())


def test_numbers_are_read_strictly() -> None:
    assert whole(1, 5).read("5") == 5
    assert number().read("1e3") == 1000 and number().read("inf") == math.inf
    for text in ("", "x", "1,5", "0x10", "1e3"):
        with pytest.raises(ValueError, match="not a whole number"):
            whole().read(text)


def test_a_misspelt_option_gets_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert "unrecognized arguments: --stpes 4; did you mean --steps?" in usage_error(["a", "--stpes", "4"], capsys)
    assert "did you mean --n-images?" in usage_error(["a", "--n_image=4"], capsys)
    assert "did you mean" not in usage_error(["a", "--xyzzy"], capsys)


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    for main in COMMANDS.values():
        with pytest.raises(SystemExit) as caught:
            main(["--version"])
        assert caught.value.code == 0
        assert capsys.readouterr().out == f"stable-diffusion-mlx {__version__}\n"


def test_a_start_time_is_the_strength_of_its_level_with_all_steps() -> None:
    with pytest.raises(SystemExit):
        image2image.main(["in.png", "a", "--start-time", "1000"])
    parser = Parser("A test.", [])
    for add in (add_start, add_common):
        add(parser)
    settings = settings_of(parser.parse_args(["--start-time", "599", "--steps", "12"]), Settings())
    assert (settings.strength, settings.strength_mode, settings.steps) == (0.6, "full", 12)
    s = CompleteSettings(**{**vars(PLAIN), "strength": 0.6, "strength_mode": "full", "steps": 12})
    plan = make_plan(NoiseSchedule(), s, image=True)
    assert plan.steps_run == 12 and plan.times[0] == pytest.approx(599)


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_shells_can_complete_the_options(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        image2image.main(["--print-completion", shell])
    script = capsys.readouterr().out
    assert caught.value.code == 0 and all(option in script for option in ("--strength", "--triangle-shape", "pyramid"))
    if shell == "bash":
        assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0


def test_completion_without_its_library_is_a_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    with pytest.raises(SystemExit) as caught:
        txt2image.main(["--print-completion", "bash"])
    assert caught.value.code == 2 and "needs shtab: pip install shtab" in capsys.readouterr().err


def test_the_package_itself_is_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert package([]) == 2 and package(["paint"]) == 2 and package(["--help"]) == 0
    assert (
        capsys.readouterr().err.count("usage: python -m stable_diffusion {txt2image,image2image,convert,bench} ...")
        == 3
    )
    with pytest.raises(SystemExit) as caught:
        package(["image2image", "--version"])
    assert caught.value.code == 0


def test_a_prompt_without_a_word_that_the_demo_knows_gets_some(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for prompt, said in (("a red sports car", True), ("Houses in the fog", False), ("", False)):
        assert txt2image.main([prompt, "--steps", "1", "-o", str(tmp_path / "a.png")]) == 0
        assert ("knows no word of this prompt: house, mountain, sea" in capsys.readouterr().err) == said
