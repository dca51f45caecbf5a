"""txt2image and image2image, as a person runs them, on a checkpoint of a few kilobytes."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from PIL import Image

import image2image
import txt2image
from stable_diffusion import Settings, StableDiffusion, Step
from stable_diffusion.pictures.images import to_picture
from stable_diffusion.pictures.reading import read_picture

ROOT = Path(__file__).parent.parent
SD1 = str(ROOT / "tests" / "data" / "sd1")
QUICK = ["--model", SD1, "--steps", "2", "--width", "32", "--height", "32"]
pytestmark = pytest.mark.usefixtures("opened_once")
NOISY = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def image(tmp_path: Path) -> str:
    (tmp_path / "in").mkdir()
    Image.fromarray(NOISY).save(tmp_path / "in" / "image.png")
    return "in/image.png"


def txt(*words: str) -> int:
    return txt2image.main([*QUICK, *words])


def img(*words: str) -> int:
    return image2image.main(["--model", SD1, "--steps", "4", *words])


def files() -> list[str]:
    return sorted(p.name for p in Path.cwd().iterdir() if p.is_file())


def pixels(name: str) -> np.ndarray:
    return np.asarray(Image.open(name)).astype(int)


def assert_same(one: str, other: str, within: int = 0) -> None:
    largest = abs(pixels(one) - pixels(other)).max()
    assert largest <= within, f"{one} and {other} differ by {largest}"


# Files


def test_a_prompt_gives_a_picture_and_prints_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert txt("a house", "--seed", "3", "--cfg", "4") == 0
    assert capsys.readouterr().out == "out.png\n"
    assert files() == ["out.png"]
    settings = Settings(prompt="a house", seed=3, steps=2, width=32, height=32, cfg=4.0)
    to_picture(StableDiffusion(SD1).txt2img(settings)[0]).save("library.png")
    assert_same("out.png", "library.png")


def test_several_pictures_are_named_by_their_seeds_beside_a_sheet(capsys: pytest.CaptureFixture[str]) -> None:
    assert txt("a house", "--seed", "7", "--n_images", "3", "--n_rows", "2", "-o", "a.png") == 0
    assert capsys.readouterr().out.split() == ["a-seed7.png", "a-seed8.png", "a-seed9.png", "a.png"]
    assert files() == ["a-seed7.png", "a-seed8.png", "a-seed9.png", "a.png"]
    sheet = pixels("a.png")
    assert sheet.shape == (2 * 40 + 8, 2 * 40 + 8, 3)
    for k in range(3):
        y, x = 8 + 40 * (k // 2), 8 + 40 * (k % 2)
        assert (sheet[y : y + 32, x : x + 32] == pixels(f"a-seed{7 + k}.png")).all()
    assert (sheet[48:80, 48:80] == 255).all()  # the empty place


@pytest.mark.parametrize(("start", "sampler"), [("text", "euler_a"), ("image", "dpmpp_2m")])
def test_picture_k_of_several_is_the_picture_of_seed_plus_k_alone(start: str, sampler: str, image: str) -> None:
    command, words = (txt, ["a house"]) if start == "text" else (img, [image, "a house"])
    line = [*words, "--sampler", sampler, "--overwrite"]
    assert command(*line, "--seed", "7", "--n_images", "3", "-o", "together.png") == 0
    assert command(*line, "--seed", "7", "--n_images", "3", "-o", "single.png", "--batch-size", "1") == 0
    assert command(*line, "--seed", "7", "--n_images", "3", "-o", "pairs.png", "--batch-size", "2") == 0
    for seed in (7, 8, 9):
        assert command(*line, "--seed", str(seed), "-o", f"alone{seed}.png") == 0
        assert_same(f"single-seed{seed}.png", f"alone{seed}.png")
        # A batch rounds in another order: one value of 256 at most.
        assert_same(f"together-seed{seed}.png", f"alone{seed}.png", within=1)
        assert_same(f"pairs-seed{seed}.png", f"alone{seed}.png", within=1)
    assert abs(pixels("alone7.png") - pixels("alone8.png")).max() > 1


def test_existing_files_are_never_overwritten_unless_asked(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("out.png", "b-seed1.png"):
        Path(name).write_bytes(b"mine")
    assert txt("a", "--seed", "0") == 0
    assert txt("a", "--seed", "0") == 0
    assert capsys.readouterr().out.split() == ["out-1.png", "out-2.png"]
    assert txt("a", "--seed", "0", "--n_images", "2", "-o", "b.png") == 0
    assert capsys.readouterr().out.split() == ["b-1-seed0.png", "b-1-seed1.png", "b-1.png"]
    assert Path("out.png").read_bytes() == Path("b-seed1.png").read_bytes() == b"mine"
    assert txt("a", "--seed", "0", "--overwrite") == 0
    assert capsys.readouterr().out.split() == ["out.png"]
    assert_same("out.png", "out-1.png")


@pytest.mark.parametrize("name", ["a.PNG", "a.jpg", "a.webp", "été 日本.png"])
def test_the_ending_decides_the_format(name: str) -> None:
    assert txt("a", "-o", name) == 0
    assert files() == [name] and read_picture(name).size == (32, 32)


# What is asked for is what is done


def test_zero_is_zero(image: str) -> None:
    assert txt("a house", "--cfg", "0", "--seed", "0", "-o", "a.png") == 0
    assert txt("a house", "--cfg", "1", "--seed", "0", "-o", "b.png") == 0
    assert txt("a house", "--seed", "0", "-o", "c.png") == 0
    assert_same("a.png", "b.png")
    assert abs(pixels("a.png") - pixels("c.png")).max() > 0


@pytest.mark.parametrize("how", [["--strength", "0"], ["--start-step", "4"]])
def test_no_steps_give_the_picture_back_pixel_for_pixel(image: str, how: list[str]) -> None:
    assert img(image, "a house", *how, "--n_images", "2", "--seed", "0") == 0
    for name in ("out-seed0.png", "out-seed1.png"):
        assert_same(name, image)


def test_pure_noise_at_strength_1_is_text_to_image(image: str) -> None:
    line = ["a house", "--seed", "5"]
    assert img(image, *line, "--pure-noise", "--strength", "1", "-o", "a.png") == 0
    assert (
        txt2image.main([*line, "--model", SD1, "--steps", "4", "--width", "48", "--height", "32", "-o", "b.png"]) == 0
    )
    assert_same("a.png", "b.png")


def test_a_plan_is_printed_and_nothing_written(image: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert img(image, "a house", "--strength", "0.5", "--sampler", "heun", "--seed", "3", "--plan") == 0
    plan = capsys.readouterr().out
    first, head, *steps = plan.splitlines()
    assert head.split() == ["step", "sigma", "to", "sigma", "time"] and len(steps) == 2
    assert steps[1].split() == ["2", "0.6932", "to", "0.0000", "249.0"]
    for words in ("2 of 4 steps", "3 network calls", "heun", "48 x 32", "seed 3", "of the image left"):
        assert words in first
    assert txt("a house", "--plan", "--n_images", "3", "--seed", "3") == 0
    assert "seeds 3 to 5" in capsys.readouterr().out
    assert files() == []


def test_a_side_that_does_not_fit_is_told(image: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert txt("a", "--width", "39") == 0
    assert "width 39 is not a multiple of 8: 32 is taken" in capsys.readouterr().err
    assert img(image, "a", "--width", "44", "-o", "b.png") == 0
    assert "width 44 is not a multiple of 8: 40 is taken" in capsys.readouterr().err
    assert Image.open("out.png").size == (32, 32) and Image.open("b.png").size == (40, 24)


def test_a_picture_that_does_not_fit_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (50, 70)).save("in.png")
    assert img("in.png", "a") == 0
    assert "scaled and cut from 50 x 70 to 48 x 64" in capsys.readouterr().err
    assert Image.open("out.png").size == (48, 64)
    assert img("in.png", "a", "--width", "64", "--height", "40", "--fit", "-o", "b.png") == 0
    assert Image.open("b.png").size == (32, 40)
    for words, size in ((["--width", "32"], (32, 48)), (["--height", "32"], (24, 32)), ([], (48, 64))):
        # A side that is not named is the model's own, 64.
        assert img("in.png", "a", *words, "--fit", "--overwrite", "-o", "c.png") == 0
        assert Image.open("c.png").size == size


def test_a_photo_is_brought_to_the_models_own_size_unless_more_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)).save("photo.png")
    assert img("photo.png", "a", "-o", "a.png") == 0
    assert "from 160 x 120 to 72 x 56, the model's own size" in capsys.readouterr().err
    assert Image.open("a.png").size == (72, 56)  # of about 64 x 64 pixels
    assert img("photo.png", "a", "--full-size", "-o", "b.png") == 0
    assert img("photo.png", "a", "--width", "96", "-o", "c.png") == 0
    assert "own size" not in capsys.readouterr().err
    assert (Image.open("b.png").size, Image.open("c.png").size) == ((160, 120), (96, 72))
    for name in ("a.png", "b.png"):  # whether the picture lies in the file or is named again
        assert image2image.main(["--from", name, "-o", "again.png", "--overwrite"]) == 0
        assert_same(name, "again.png")
        assert image2image.main(["photo.png", "--from", name, "-o", "again.png", "--overwrite"]) == 0
        assert_same(name, "again.png")


def test_a_picture_that_no_machine_can_hold_is_told_before_it_is_encoded(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (4032, 3024)).save("photo.jpg")
    monkeypatch.setattr(StableDiffusion, "encode", None)
    monkeypatch.setattr("stable_diffusion.pipeline.memory.available", lambda: 2**20)
    for words in (["--plan"], []):
        assert img("photo.jpg", "a", "--full-size", *words) == 1
        assert "pictures of 4032 x 3024 take about" in capsys.readouterr().err
    assert img("photo.jpg", "a", "--plan") == 1  # even 72 x 56 is too large for a machine of 1 MiB


@pytest.mark.parametrize("prompt", ["", "un été à Évian", "日本 😀", "a\nb\0c", "--n_images"])
def test_any_prompt_gives_a_picture(prompt: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert txt("--", prompt) == 0
    assert "left out" not in capsys.readouterr().err
    assert files() == ["out.png"]


def test_the_words_that_a_prompt_is_too_long_for_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"word{k}" for k in range(200)]
    assert txt(" ".join(words), "--n_images", "2", "--batch-size", "1", "--seed", "0", "--cut-prompt") == 0
    err = capsys.readouterr().err
    told = re.findall(r"note: the prompt is too long; left out: '(.*)'", err)
    assert told and set(told) == {told[0]}
    assert " ".join(words).endswith(told[0]) and 100 < len(told[0].split()) < 200


def test_the_options_about_memory_and_speed_change_no_picture_much(capsys: pytest.CaptureFixture[str]) -> None:
    assert txt("a", "--seed", "0", "-o", "a.png") == 0
    assert txt("a", "--seed", "0", "-o", "b.png", "--preload-models", "--no-float16", "-v") == 0
    assert re.search(r"\d s, at most \d+\.\d+ GiB of memory", capsys.readouterr().err)
    assert_same("a.png", "b.png", within=0 if mx.default_device() == mx.cpu else 8)
    assert txt("a", "--seed", "0", "-o", "c.png", "-q") == 0
    assert Image.open("c.png").size == (32, 32)


def test_print_parser_prints_every_value_first(capsys: pytest.CaptureFixture[str]) -> None:
    assert txt("a house", "-pp", "--seed", "0", "--cfg", "0") == 0
    out = capsys.readouterr().out
    assert "cfg = 0.0\n" in out and "prompt = 'a house'\n" in out and out.endswith("\nout.png\n")


@pytest.mark.parametrize(
    "prompt", ["a (house:1.3)", "a <lora:x:1> house", "a house BREAK a boat", "a [house:boat:0.5]"]
)
def test_syntax_that_means_nothing_here_is_told_once(prompt: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert txt(prompt, "--n_images", "2") == 0
    assert capsys.readouterr().err.count("is taken literally") == 1
    assert txt("a house (by the sea), [old], break of day", "-o", "b.png") == 0
    assert "literally" not in capsys.readouterr().err


def test_several_pictures_from_an_inversion_are_told_to_be_one(image: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = [image, "a", "--start", "inversion", "--strength", "0.4", "--n_images", "2"]
    assert img(*words, "--sampler", "euler") == 0
    assert "are one and the same" in capsys.readouterr().err
    assert img(*words, "--sampler", "euler_a") == 0
    assert "are one and the same" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--cfg", "1", "--negative_prompt", "fog"], "the negative prompt is not used"),
        (["--cfg", "0", "--cfg-rescale", "0.5"], "no contrast for cfg_rescale"),
        (["--sampler", "euler", "--s-tmin", "1", "--s-noise", "1.1"], "s_tmin and s_noise do nothing"),
        (["--sampler", "euler_a", "--eta", "0", "--s-noise", "1.1"], "s_noise do nothing"),
        (["--n_rows", "2"], "no sheet of pictures to lay out"),
        (["--sheet-size", "300"], "no sheet whose size"),
    ],
)
def test_what_does_nothing_is_told(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert txt("a", *words) == 0
    assert f"{message}" in capsys.readouterr().err


def test_what_a_replay_has_no_use_for_is_told(image: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert img(image, "a", "-o", "a.png") == 0
    for words, message in (
        (["--frames", "clean"], "no steps are shown"),
        (["--preview", "linear"], "no steps are shown"),
        (["--triangle-align", "right"], "there is no triangle"),
        (["--highlight", "0.5"], "there is no triangle"),
        (["--source-prompt", "b"], "the source prompt is for an inversion"),
    ):
        assert image2image.main(["--from", "a.png", "-o", "b.png", *words]) == 0
        assert message in capsys.readouterr().err
    assert txt2image.main(["a", "--model", ""]) == 1
    assert "--model is empty" in capsys.readouterr().err


# What cannot be done


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seed", "-2"], "seed is -2"),
        (["--cfg", "nan"], "cfg is nan"),
        (["--cfg", "inf"], "cfg is inf"),
        (["--s-noise", "-1", "--sampler", "euler"], "s_noise is -1.0"),
        (["--clip-skip", "50"], "clip_skip is 50"),
        (["--model", "missing"], "no model 'missing'"),
        (["--model", "in"], "model_index.json is missing"),
        (["-o", f"{__file__}/a.png"], "is no folder"),
        (["-o", "a.txt"], "must end in .png"),
        (["-o", ""], "the name of the output is empty"),
        (["-o", "~nobody_at_all/a.png"], "there is no user 'nobody_at_all'"),
    ],
)
def test_a_bad_value_is_one_sentence_and_nothing_is_written(
    image: str, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for command, line in ((txt, ["a"]), (img, [image, "a"])):
        assert command(*line, *words) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert message in next(line for line in err.splitlines() if line.startswith("error: "))
    assert files() == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--strength", "1.5"], "strength is 1.5"),
        (["--strength", "-0.1"], "strength is -0.1"),
        (["--strength", "nan"], "strength is nan"),
        (["--start-step", "5"], "start step 5 is outside [0, 4]"),
        (["--width", "65536", "--height", "65536"], "too large"),
    ],
)
def test_a_bad_value_of_image_to_image_is_one_sentence(
    image: str, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert img(image, "a", *words) == 1
    assert message in capsys.readouterr().err
    assert files() == []


@pytest.mark.parametrize(
    ("name", "message"), [("missing.png", "no picture"), ("in", "a folder"), ("text.png", "not a picture")]
)
def test_a_missing_or_broken_picture_is_one_sentence(
    image: str, name: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("text.png").write_text("text")
    assert img(name, "a") == 1
    assert message in capsys.readouterr().err
    assert files() == ["text.png"]


def test_misuse_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    for main, words in (
        (txt2image.main, []),
        (txt2image.main, ["a", "--sampler", "eulr"]),
        (image2image.main, ["in.png"]),
        (image2image.main, ["in.png", "a", "--strength", "0.5", "--start-step", "1"]),
        (image2image.main, ["in.png", "a", "--strength-mode", "hard"]),
    ):
        with pytest.raises(SystemExit) as caught:
            main(words)
        assert caught.value.code == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert files() == []


# Ctrl-C


@pytest.mark.parametrize("command", ["txt2image", "image2image"])
def test_after_ctrl_c_the_finished_pictures_and_their_sheet_are_there(
    command: str, image: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = StableDiffusion.walk

    def interrupted(self: StableDiffusion, *rest: Any) -> Iterator[tuple[int, Step]]:
        for which, step in whole(self, *rest):
            if which > 0:  # the second picture
                raise KeyboardInterrupt
            yield which, step

    monkeypatch.setattr(StableDiffusion, "walk", interrupted)
    line = ["a", "--seed", "5", "--n_images", "3", "--batch-size", "1"]
    assert (txt(*line) if command == "txt2image" else img(image, *line)) == 130
    out, err = capsys.readouterr()
    assert out.split() == files() == ["out-seed5.png", "out.png"]
    assert "stopped" in err and "Traceback" not in err
    assert list(Path.cwd().glob(".*")) == []


def started(*words: str, **more: Any) -> subprocess.Popen[bytes]:
    """txt2image in a process of its own."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / "txt2image.py"), "a", "--model", SD1, *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # it is ignored in the background
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more},
    )


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_stepping_ends_quietly_and_keeps_what_is_finished(sent: signal.Signals, status: int) -> None:
    process = started("--steps", "20", "--n_images", "100", "--batch-size", "2", "--seed", "1")
    assert process.stdout is not None and process.stderr is not None
    try:
        assert process.stdout.readline() == b"out-seed1.png\n"
        process.send_signal(sent)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == status
    assert b"stopped" in err and b"Traceback" not in err
    said = ["out-seed1.png", *out.decode().split()]  # on a busy machine, perhaps another picture
    assert said[-1] == "out.png" and len(said) < 20
    assert files() == sorted(said) and list(Path.cwd().glob(".*")) == []


@pytest.mark.parametrize("after", [0.05, 0.2, 0.3, 0.4, 0.5, 0.7])
def test_ctrl_c_while_python_still_imports_is_one_line(after: float) -> None:
    line = ["a", "--model", SD1, "--steps", "10000"]
    code = f"import sys; print('up', flush=True); import txt2image; sys.exit(txt2image.main({line!r}))"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdout is not None and process.stdout.readline() == b"up\n"
    time.sleep(after)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and b"Traceback" not in err and err.rstrip().endswith(b"stopped")


@pytest.mark.parametrize("how", ["nobody reads", "nobody reads either", "full", "closed", "all closed"])
def test_all_pictures_are_made_whatever_becomes_of_the_output(how: str) -> None:
    line = ["--steps", "2", "--n_images", "3", "--seed", "1", "--width", "32", "--height", "32"]
    if how == "nobody reads":
        process = started(*line)
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        process.communicate(timeout=60)
    elif how == "nobody reads either":  # of what is written, nor of the bar
        read, write = os.pipe()
        os.close(read)
        process = started(*line, stdout=write, stderr=write)
        os.close(write)
        process.communicate(timeout=60)
    elif how == "full":
        with Path("/dev/full").open("wb") as full:
            process = started(*line, stdout=full)
            process.communicate(timeout=60)
    else:
        shut = ">&-" if how == "closed" else "<&- >&- 2>&-"
        words = shlex.join([sys.executable, str(ROOT / "txt2image.py"), "a", "--model", SD1, *line])
        process = subprocess.Popen(["sh", "-c", f"{words} {shut}"], env={**os.environ, "PYTHONPATH": str(ROOT)})
        process.wait(timeout=60)
    assert process.returncode == (1 if how == "full" else 0)
    assert files() == ["out-seed1.png", "out-seed2.png", "out-seed3.png", "out.png"]


def test_a_terminal_of_another_alphabet_shows_what_it_can() -> None:
    process = started("--steps", "2", "-o", "é日.png", "--width", "32", "--height", "32")
    assert process.wait(timeout=60) == 0
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "txt2image.py"), "a", "--model", SD1, "--steps", "2", "-o", "é日.png"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"},
        stdout=subprocess.PIPE,
    )
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and out == b"\\xe9\\u65e5-1.png\n"


@pytest.mark.parametrize("family", ["sd1", "inpainting"])
@pytest.mark.parametrize("how", ["mask", "alpha"])
def test_kept_pixels_are_the_originals_in_the_file(
    family: str, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    grey = np.zeros((48, 64), dtype=np.uint8)
    grey[:, 40:] = 255
    picture, words = Image.fromarray(pixels), []
    if how == "mask":
        Image.fromarray(grey).save("mask.png")
        words = ["--mask", "mask.png"]
    else:
        picture.putalpha(Image.fromarray(255 - grey))
    picture.save("in.png")
    model = str(Path(__file__).parent / "data" / family)
    common = ["in.png", "a", "--model", model, "--steps", "3", "--seed", "1", *words]
    assert image2image.main([*common, "--strength", "0.9", "--n_images", "2"]) == 0
    for seed in (1, 2):
        made = np.asarray(Image.open(f"out-seed{seed}.png"))
        assert (made[:, :40] == pixels[:, :40]).all()
        assert np.abs(made[:, 40:].astype(int) - pixels[:, 40:]).mean() > 1


def test_transparency_can_be_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    picture = Image.new("RGBA", (64, 48), (200, 40, 90, 255))
    picture.paste((200, 40, 90, 0), (40, 0, 64, 48))
    picture.save("in.png")
    common = [
        "in.png",
        "a",
        "--model",
        str(Path(__file__).parent / "data" / "sd1"),
        "--steps",
        "3",
        "--strength",
        "0.9",
    ]
    assert image2image.main([*common, "--no-alpha"]) == 0
    assert (np.asarray(Image.open("out.png"))[:, :40] != (200, 40, 90)).any()


def test_a_mask_of_another_size_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (64, 48)).save("in.png")
    Image.new("L", (64, 40)).save("mask.png")
    model = str(Path(__file__).parent / "data" / "sd1")
    assert image2image.main(["in.png", "a", "--model", model, "--mask", "mask.png"]) == 1
    assert "the mask is 64 x 40, and the picture 64 x 48" in capsys.readouterr().err
