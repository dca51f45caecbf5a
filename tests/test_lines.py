"""--prompts: files of many prompts, in three forms, each line of which is a run."""

import contextlib
import io
import json
import os
import re
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import txt2image
from stable_diffusion.jobs.lines import read_lines
from stable_diffusion.jobs.recipe import Recipe
from stable_diffusion.pictures.metadata import read_attached
from stable_diffusion.prompts.flags import shell_words
from tests.commands import img, made, pixels, same, txt
from tests.sentences import check_sentence
from tests.test_properties import often

pytestmark = pytest.mark.usefixtures("opened_once")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def asked(text: str, name: str = "p.txt") -> list[tuple[int, dict[str, Any]]]:
    Path(name).write_bytes(text.encode())
    return [(line.number, dict(line.given)) for line in read_lines(name)]


def test_a_text_has_a_prompt_a_line() -> None:
    assert asked("\ufeffa house\r\n\n  # not this\n  the sea, (red:1.2) # nor cut \n") == [
        (1, {"prompt": "a house"}),
        (4, {"prompt": "the sea, (red:1.2) # nor cut"}),
    ]


def test_a_table_has_settings_in_columns() -> None:
    text = (
        'prompt,Negative-Prompt,seed,n_images,cut_prompt,sigmas\n"a, ""b""",fog,7,,TRUE,"5,1"\n\n"two\nlines",,-1,2\n'
    )
    (first, second) = asked(text, "p.csv")
    assert first == (
        2,
        {"prompt": 'a, "b"', "negative_prompt": "fog", "seed": 7, "cut_prompt": True, "sigmas": (5.0, 1.0)},
    )
    number, given_ = second
    assert number == 4 and given_["prompt"] == "two\nlines" and given_["n_images"] == 2 and given_["seed"] >= 0


def test_objects_hold_settings_of_their_own_kinds() -> None:
    lines = [{"prompt": "a", "cfg": 3, "perturb": [[5, 0.2]]}, {"sampler": "DPM++ 2M Karras", "steps": None, "seed": 0}]
    found = asked("\n".join(map(json.dumps, lines)) + "\n\n", "p.jsonl")
    assert found == [
        (1, {"prompt": "a", "cfg": 3, "perturb": ((5, 0.2),)}),
        (2, {"sampler": "DPM++ 2M Karras", "steps": None, "seed": 0}),
    ]


@pytest.mark.parametrize(
    ("line", "given"),
    [
        # AUTOMATIC1111's, quoted as in a shell.
        (
            """--prompt "a house, \\"old\\"" --negative_prompt 'fog, it\\s' --seed 5 --steps 3 --cfg_scale 7""",
            {"prompt": 'a house, "old"', "negative_prompt": "fog, it\\s", "seed": 5, "steps": 3, "cfg": 7.0},
        ),
        ("--prompt a house --width 64 --height 32 --sampler_name 'DPM++ 2M Karras'",
         {"prompt": "a house", "width": 64, "height": 32, "sampler": "DPM++ 2M Karras"}),
        ("--n_iter 3 --batch_size 2 --prompt (a:1.2)", {"n_images": 6, "prompt": "(a:1.2)"}),
        ("--prompt a --subseed 3 --subseed_strength .5",
         {"prompt": "a", "variation_seed": 3, "variation_strength": 0.5}),
        ("--seed 4", {"seed": 4}),  # with the command line's prompt
        ('--prompt ""', {"prompt": ""}),
        # Any setting by its own name, with hyphens too.
        ("--prompt a --clip-skip 1 --cut_prompt true", {"prompt": "a", "clip_skip": 1, "cut_prompt": True}),
        # kohya's, without quotes.
        ("a house, (old) --n fog, rain --d 5 --s 3 --w 512 --h 256 --l 7.5",
         {"prompt": "a house, (old)", "negative_prompt": "fog, rain", "seed": 5, "steps": 3, "width": 512,
          "height": 256, "cfg": 7.5}),
        ("it's \"so\" --D  5 --ss euler_a", {"prompt": "it's \"so\"", "seed": 5, "sampler": "euler_a"}),
        # Words.
        ("a well--known house -- in fog --", {"prompt": "a well--known house -- in fog --"}),
        ("-n fog", {"prompt": "-n fog"}),
    ],
)  # fmt: skip
def test_flags_in_lines_are_settings(line: str, given: dict[str, Any]) -> None:
    assert asked(f"a\n{line}\n") == [(1, {"prompt": "a"}), (2, given)]


def test_a_seed_of_minus_1_is_any_in_flags_too() -> None:
    for line in ("--prompt a --seed -1", "a --d -1"):
        ((_, given_),) = asked(line)
        assert given_["seed"] >= 0


BAD = {
    "p.txt": {
        "": "p.txt has no prompt",
        "# a\n\n": "p.txt has no prompt",
        "--seed": "p.txt, line 1 has --seed without a value",
        "a\n--seed --steps 3": "p.txt, line 2 has --seed without a value",
        "--seed x": "p.txt, line 1, --seed: seed: 'x' is not a whole number",
        "--steps 0": "p.txt, line 1, --steps: steps: 0 is not from 1 to 10000",
        "--n_iter 200 --batch_size 100": "p.txt, line 1: n_images is 20000: it must be from 1 to 10000",
        "--seed 1 --prompt a --seed 2": "p.txt, line 1 has --seed twice: leave one out",
        "--cfg 1 --cfg_scale 2": "p.txt, line 1 has --cfg and --cfg_scale, which are the same: leave one out",
        "--n_images 2 --n_iter 2": "p.txt, line 1 has --n_images and --n_iter, which are the same",
        "--n_iter 2 --n_iter 2": "p.txt, line 1 has --n_iter twice",
        "--prompt a --sed 1": "p.txt, line 1 has '--sed', which is no flag that is read here: did you mean --seed",
        "--xyz 1": "p.txt, line 1 has '--xyz', which is no flag that is read here: words that are no flag belong in a",
        "--sd_model m": "p.txt, line 1 has '--sd_model', which a line cannot say here: name the model with --model",
        "--d 5 --n fog": "p.txt, line 1 begins with flags, and '--d' is read behind a prompt alone",
        "--seed 5 6": "p.txt, line 1 has '6' behind the value of --seed: put texts of several words in quotes",
        "--prompt it's": 'p.txt, line 1 has a quote that is never closed, "\'s": put such texts in double quotes',
        "--prompt a\\": "p.txt, line 1 ends with a backslash",
        "-- a": "p.txt, line 1 has '--', which is no flag",
        "a --n fog --n rain": "p.txt, line 1 has --n twice: leave one out",
        "a --w 5x": "p.txt, line 1, --w: width: '5x' is not a whole number",
        "a --d": "p.txt, line 1 has --d without a value",
        "a --g 3": "p.txt, line 1 has '--g', which is no flag that is read behind a prompt, as --n, --d, --s, ",
        "a --seed 3": "p.txt, line 1 has '--seed' behind a prompt: begin the line with --prompt",
        "a --ar 16:9": "p.txt, line 1 has '--ar', which is no flag that is read behind a prompt",
    },
    "p.csv": {
        "prompt,sed\na,1": "p.csv, line 1: there is no setting 'sed': did you mean seed",
        "seed\n1\nx": "p.csv, line 3: seed: 'x' is not a whole number",
        "seed\n\n-2": "p.csv, line 3: seed is -2: it must be 0 or more",
        "cut_prompt\nyes": "p.csv, line 2: cut_prompt is 'yes': it must be true or false",
        "seed,seed\n1,2": "p.csv, line 1 has a column twice",
        "seed\n1,2": "p.csv, line 2 has 2 cells, and there are 1 columns",
        'prompt\n"a': "p.csv, line 2: ",
        "sampler\neuller": "p.csv, line 2: sampler: unknown sampler 'euller'",
        "prompt": "p.csv has no prompt",
    },
    "p.jsonl": {
        "{}\n{": "p.jsonl, line 2 is no JSON",
        "[1]": "p.jsonl, line 1 is no object",
        '{"steps": "4"}': "p.jsonl, line 1: steps is '4': it must be a whole number",
        '{"steps": 0}': "p.jsonl, line 1: steps is 0",
        '{"prompt": 3}': "p.jsonl, line 1: prompt is 3: it must be a text",
        '{"spacing": "x"}': "p.jsonl, line 1: unknown spacing 'x'",
        '{"prompt": "a", "prompt": "b"}': "p.jsonl, line 1 has 'prompt' twice: leave one out",
        '{"seed": 1}\n{"perturb": [{"a": 1, "a": 1}]}': "p.jsonl, line 2 has 'a' twice",
        '{"step": 4}': "p.jsonl, line 1: there is no setting 'step'",
    },
}


@pytest.mark.parametrize(("name", "text", "words"), [(n, t, w) for n, cases in BAD.items() for t, w in cases.items()])
def test_what_cannot_be_read_is_one_sentence_with_its_line(name: str, text: str, words: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(words)}") as caught:
        asked(text, name)
    check_sentence(f"error: {caught.value}")


def test_files_that_are_no_text() -> None:
    Path("p.txt").write_bytes(b"a\n\xff\n")
    for name, words in {
        "p.txt": "p.txt, line 2 is no text",
        "none.txt": "none.txt can't be read: ",
        ".": "can't",
    }.items():
        with pytest.raises(ValueError, match=words):
            read_lines(name)


def test_files_without_an_end_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo("fifo.csv")
    for name in ("/dev/zero", "fifo.csv"):
        with pytest.raises(ValueError, match=f"^'{name}' is no file, but a device or a pipe: --prompts - reads"):
            read_lines(name)
    monkeypatch.setattr("stable_diffusion.jobs.lines.MOST_BYTES", 2**20)
    Path("p.txt").write_bytes(b"a\n" * 2**19 + b"a")
    with pytest.raises(ValueError, match=r"^p.txt has more than 1 MB: split it"):
        read_lines("p.txt")
    with open("/dev/zero", "rb") as endless:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(endless))
        with pytest.raises(ValueError, match=r"^standard input has more than 1 MB"):
            read_lines("-")


@often
@given(line=st.text(alphabet="ab \t\\\"'-é", max_size=30))
def test_quotes_are_read_as_a_shell_reads_them(line: str) -> None:
    try:
        wanted = shlex.split(line)
    except ValueError:
        with pytest.raises(ValueError, match=r"a quote that is never closed|ends with a backslash"):
            shell_words(line)
    else:
        assert shell_words(line) == wanted


FLAGGED = st.lists(
    st.sampled_from(
        ["--prompt ", "--seed ", "--n ", "--d ", "--cfg_scale ", "--x", " ", "a", "5", "-1", '"', "'", "\\", ":"]
    ),
    max_size=12,
).map("".join)


@often
@given(line=FLAGGED)
def test_a_line_that_begins_with_a_flag_is_never_a_prompt(line: str) -> None:
    given: dict[str, Any] = {}
    with contextlib.suppress(ValueError):
        ((_, given),) = asked(line)
    assert not (line.strip().startswith("--") and given.get("prompt", "").startswith("--"))


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=60) | st.text(alphabet='prompt,sedn\n"{}:[]1-.', max_size=60))
@pytest.mark.parametrize("suffix", [".txt", ".csv", ".jsonl"])
def test_any_file_is_read_or_refused(suffix: str, text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.getbasetemp() / f"any{suffix}"
    file.write_bytes(text.encode())
    said = ""
    try:
        assert read_lines(str(file))
    except ValueError as error:
        said = str(error)
    assert said == "" or (f"any{suffix}" in said and "\n" not in said)


# Whole jobs


def test_each_line_is_the_picture_that_it_is_alone() -> None:
    Path("p.txt").write_text("a house\n\nthe sea\n")
    assert txt("--prompts", "p.txt", "--seed", "4", "-o", "a.png") == 0
    assert made(("p.txt",)) == ["a-line1.png", "a-line3.png"]
    assert txt("the sea", "--seed", "4", "-o", "sea.png") == 0
    assert same("sea.png", "a-line3.png")
    assert txt2image.main(["--from", "a-line3.png", "-o", "again.png"]) == 0
    assert same("again.png", "a-line3.png")


def test_lines_of_other_sizes_and_counts_share_what_calls_they_can() -> None:
    Path("p.csv").write_text("prompt,seed,n_images,width,sampler\na,1,,,\nb,2,2,,heun\nc,3,,48,\n")
    assert txt("--prompts", "p.csv", "--batch-size", "4", "-o", "a.png") == 0
    names = ["a-line2.png", "a-line3-seed2.png", "a-line3-seed3.png", "a-line4.png"]
    assert made(("p.csv",)) == names
    assert pixels("a-line4.png").shape == (32, 48, 3)
    settings_ = [Recipe.from_json(read_attached(name).texts["stable-diffusion-mlx"]).settings for name in names]
    assert [(s.prompt, s.seed, s.sampler) for s in settings_] == [
        ("a", 1, "euler"), ("b", 2, "heun"), ("b", 3, "heun"), ("c", 3, "euler")
    ]  # fmt: skip
    for name in names:
        assert txt2image.main(["--from", name, "-o", "again.png", "--overwrite"]) == 0
        assert same("again.png", name)


def test_a_line_lays_over_the_command_line() -> None:
    Path("p.csv").write_text("prompt,cfg,clip-skip\n,3,\nb,,1\n")
    assert txt("a house", "--prompts", "p.csv", "--cfg", "2", "--seed", "1", "-o", "a.png") == 0
    found = [Recipe.from_json(read_attached(f"a-line{n}.png").texts["stable-diffusion-mlx"]).settings for n in (2, 3)]
    assert [(s.prompt, s.cfg, s.clip_skip, s.seed) for s in found] == [("a house", 3.0, 0, 1), ("b", 2.0, 1, 1)]


def test_pictures_start_from_a_picture_too() -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)).save("in.png")
    Path("p.csv").write_text("prompt,strength\na,0.5\nb,1\n")
    assert img("in.png", "--prompts", "p.csv", "--seed", "2", "-o", "a.png") == 0
    assert img("in.png", "b", "--strength", "1", "--seed", "2", "-o", "b.png") == 0
    assert same("b.png", "a-line3.png")


def test_standard_input_and_random_seeds(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a house\nthe sea\n")))
    monkeypatch.setattr("stable_diffusion.settings.random", SimpleNamespace(randrange=lambda n: 77))
    assert txt("--prompts", "-", "-o", "a.png") == 0
    assert made(()) == ["a-line1.png", "a-line2.png"]
    assert "sd1: 2 pictures of 2 lines, 32 x 32, 4 steps, seed 77\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said", "status"),
    [
        (("a", "--prompts", "p.txt"), "error: every line of p.txt has its own prompt: leave 'a' out", 1),
        (("--prompts", "seeds.csv"), "error: seeds.csv, line 2 has no prompt, and the command line names none", 1),
        (("--prompts", "strength.csv"), "error: strength.csv, line 2: strength and start_step need a picture", 1),
        (("--prompts", "clip.csv"), "error: clip.csv, line 3: clip_skip is 9", 1),
        (("--prompts", "both.csv"), "error: both.csv, line 2: start_step is 1: leave it out where strength is", 1),
        (("--prompts", "p.txt", "--grid", "cfg=1,2"), "--prompts and --grid do not go together", 2),
        (("--prompts", "p.txt", "--perturb", "0.2"), "--prompts and --perturb do not go together", 2),
        (("p.txt",), "note: the prompt p.txt is the name of a file: --prompts reads prompts from it", 0),
        (("p.png",), "", 0),
    ],
)
def test_what_is_refused_and_what_is_said(
    words: tuple[str, ...], said: str, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in {
        "p.txt": "a\n", "seeds.csv": "seed\n1\n", "strength.csv": "prompt,strength\na,0.5\n",
        "clip.csv": "prompt,clip_skip\na,0\nb,9\n", "both.csv": "prompt,strength,start_step\na,0.5,1\n",
    }.items():  # fmt: skip
        Path(name).write_text(text)
    if status == 2:
        with pytest.raises(SystemExit) as ended:
            txt(*words)
        assert ended.value.code == 2
    else:
        assert txt(*words, "--plan") == status
    err = capsys.readouterr().err
    assert said in err and ("is the name of a file" in err) == ("is the name of a file" in said)
