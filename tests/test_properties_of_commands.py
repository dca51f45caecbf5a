"""Whatever is typed, it is planned or refused in one sentence, soon; and no option is dropped without a word."""

import contextlib
import io
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import image2image
import txt2image
from stable_diffusion.cli import command, job
from stable_diffusion.cli.parser import Parser
from stable_diffusion.jobs import painting
from stable_diffusion.jobs.request import Request
from tests.commands import SD1
from tests.ldm_files import write
from tests.sentences import check_sentence
from tests.test_properties import EXAMPLES, often

COMMANDS = {"txt2image": (txt2image.main, ["a house"]), "image2image": (image2image.main, ["in.png", "a house"])}
# A value for every option that takes one: good, and not what is taken anyway.
GOOD = {
    "model": SD1, "negative_prompt": "fog", "seed": "7", "n_images": "2", "steps": "3", "cfg": "3.5", "width": "48",
    "height": "40", "sampler": "heun", "spacing": "karras", "sigmas": "5,3,1", "times": "900,500,100",
    "discretize": "timestep", "eta": "0.5", "s_churn": "2", "s_tmin": "0.1", "s_tmax": "9", "s_noise": "1.01",
    "cfg_rescale": "0.5", "clip_skip": "1", "output": "b.png", "n_rows": "2", "quantize": "4", "batch_size": "3",
    "deep_cache": "2",
    "decoding_batch_size": "2", "strength": "0.4", "start_step": "1", "start_time": "500", "strength_mode": "full",
    "mask": "mask.png", "feather": "2", "start": "inversion", "source_prompt": "a barn", "replay": "made.png",
    "perturb": "0.3", "variation": "12:0.2", "show_denoising": "2", "save_last_N": "1", "frames": "clean",
    "animate": "film.webp", "fps": "3", "html": "page.html", "preview": "linear", "grid": "cfg=2,3",
    "sheet_size": "800", "redraw": "a.safetensors", "show_noising": "chain", "generate_triangle": "0.5,1",
    "triangle_align": "right", "triangle_shape": "pyramid", "highlight": "0.5", "loopback": "2", "prompts": "lines.csv",
    "loras": "lora.safetensors:0.5", "lora_dir": "folder", "embeddings": "a.safetensors:cat", "vae": f"{SD1}/vae",
    "prediction": "v_prediction", "noise_source": "torch", "start_scale": "unit", "of_batch": "2/3",
    "step_noise_source": "nvidia", "step_seed_delta": "9", "variation_seed": "8", "variation_strength": "0.3",
    "prompt_syntax": "a1111", "tile": "64",
}  # fmt: skip
# What a request says nothing of: where files go, and what is printed.
BESIDES = {"output", "overwrite", "plan", "print_parser", "verbose", "preload_models", "low_memory"}
ANYWAY = {
    "--save_prompt",
    "--no-alpha",
    "--no-float16",
    "--no-cut-prompt",
}  # which say what is so without them, with these files on a CPU
ENDING = {"help", "print_completion"}  # after which nothing else is done
SILLY = [
    "", " ", "-1", "0", "1", "2", "3.5", "1e999", "nan", "inf", "-inf", "9" * 400, "-0.0", "x", "é日😀", "a\0b",
    "../..", "/", "/dev/null", "list", ",", "1,2", "3,2,1", "a=b", "seed=1,2", "seed=", "=", ":", "1:2", "1234:0.2",
    "0:1:0.1", "1:1:0", "-", "true", "None", "\udce9", "euler", "karras", "noise", "in.png", "missing.png",
    "a.safetensors", "text.txt", "x" * 5000, "missing/a.png", "steps=1,2 cfg=3", "prompt=a|b", "1:0.5:0.1", "a.gif",
    "folder",
]  # fmt: skip


class Said(NamedTuple):
    """What came of a command line."""

    status: int
    out: str
    err: str
    request: Request | None

    @property
    def lines(self) -> list[str]:
        return self.err.splitlines()


@pytest.fixture(scope="module", autouse=True)
def _in_a_folder_with_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("commands"))
        patch.setattr("stable_diffusion.settings.random", SimpleNamespace(randrange=lambda n: 5))
        patch.setenv("HF_HUB_OFFLINE", "1")
        Path("folder").mkdir()
        Path("text.txt").write_text("text")
        Path("lines.csv").write_text("seed,cfg\n1,\n,3\n")
        write(Path("lora.safetensors"), {"lora_unet_ornament.lora_up.weight": np.zeros((2, 2), np.float32)})
        picture = Image.linear_gradient("L").resize((192, 144)).convert("RGBA")  # larger than the model's own
        picture.putalpha(Image.new("L", picture.size, 200))  # and no hole in it, but transparent for who wants it
        picture.save("in.png")
        mask = Image.new("L", picture.size)
        mask.paste(255, (60, 30, 180, 120))
        mask.save("mask.png")
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            quick = ["--steps", "2", "--seed", "3", "-o"]
            assert txt2image.main(["a barn", *quick, "txt2image.png"]) == 0
            assert image2image.main(["in.png", "a barn", "--save-latents", *quick, "image2image.png"]) == 0
        Path("image2image.safetensors").rename("a.safetensors")
        yield


@contextlib.contextmanager
def seen() -> Iterator[list[Request]]:
    """The requests that are planned meanwhile."""
    found: list[Request] = []
    whole = painting.show_plan

    def noted(request: Request, *rest: Any) -> Any:
        found.append(request)
        return whole(request, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "show_plan", noted)
        yield found


def said(name: str, *words: str) -> Said:
    """What a command says with --plan. Asserts that it is what a person can read, and that nothing is made."""
    main, start = COMMANDS[name]
    before = sorted(os.listdir())
    out, err = io.StringIO(), io.StringIO()
    words = tuple(word.replace("made.png", f"{name}.png") for word in words)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), seen() as requests:
        try:
            status = main([*start, "--plan", *words])
        except SystemExit as end:
            status = int(end.code or 0)
    made = Said(status, out.getvalue(), err.getvalue(), requests[0] if requests else None)
    errors = [line for line in made.lines if line.startswith("error: ")]
    assert status in (0, 1, 2) and len(errors) == (status == 1), made
    if status == 1:
        assert made.lines[-1] == errors[0], made
        check_sentence(errors[0])
    if status == 2:
        assert len(made.lines) == 1 and made.out == "", made
        check_sentence(made.err.rstrip("\n"))
    assert sorted(os.listdir()) == before
    return made


def options(name: str) -> dict[str, Any]:
    """The options of a command, by the longest of their spellings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "_main", lambda parser, *_: parser)
        parser: Parser = getattr(command, name)([])
    return {action.option_strings[-1]: action for action in parser._actions if action.option_strings}


OPTIONS = {name: options(name) for name in COMMANDS}


def words_of(flag: str, action: Any) -> tuple[str, ...]:
    """The option with a good value, where it takes one."""
    return (flag,) if action.nargs == 0 else (f"{flag}={GOOD[action.dest]}",)


def key(request: Request) -> tuple[Any, ...]:
    """What a request asks for, so that two can be compared."""
    inputs = request.inputs
    pictures: tuple[Any, ...] = ()
    if inputs is not None:
        pictures = (inputs.feather, *(p and (p.size, p.tobytes()) for p in (inputs.picture, inputs.mask)))
    plain = (request.settings, request.lines, request.model, request.view, request.variations, request.batch)
    return (*plain, request.tool, pictures)


TYPED = st.sampled_from(SILLY) | st.text(max_size=12) | st.integers().map(str) | st.floats().map(str)
TYPED |= st.lists(st.sampled_from(SILLY[:20]), min_size=2, max_size=4).map(",".join)
TYPED |= st.sampled_from(sorted(GOOD.values()))


@pytest.mark.parametrize("name", COMMANDS)
@often
@given(st.data())
def test_any_value_of_any_option_is_planned_or_refused(name: str, data: st.DataObject) -> None:
    flag = data.draw(st.sampled_from(sorted(OPTIONS[name])))
    value = data.draw(TYPED)
    said(name, f"{flag}={value}")


def everything(pairs: list[Any]) -> list[Any]:
    """Of all pairs as many as are to be tried, evenly."""
    return pairs[:: max(1, len(pairs) // (3 * EXAMPLES))]


@pytest.mark.parametrize("name", COMMANDS)
def test_of_two_options_both_count_or_one_is_refused(name: str) -> None:
    own = {
        flag: (action.dest, words_of(flag, action))
        for flag, action in OPTIONS[name].items()
        if action.dest not in ENDING
    }
    alone = {flag: said(name, *words) for flag, (_, words) in own.items()}
    dropped = []
    for one, other in everything(list(itertools.combinations(own, 2))):
        both = said(name, *own[one][1], *own[other][1])
        if both.request is None or both.status:
            continue
        for flag, rest in ((one, other), (other, one)):
            dest = own[flag][0]
            without = alone[rest].request
            told = f"{flag} " in both.err or dest in both.err
            if dest in BESIDES or flag in ANYWAY:
                continue
            if without is not None and key(without) == key(both.request) and not told:
                dropped.append(f"{flag} beside {rest}")
    assert not dropped
