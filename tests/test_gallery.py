"""What is seen of a run besides its picture: frames, strips, films, grids, latents."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from PIL import Image

import image2image
import txt2image
from stable_diffusion import StableDiffusion, Step
from stable_diffusion.compute.stripes import Tiling
from stable_diffusion.jobs.record import load_record
from stable_diffusion.models.unet import UNet2DConditionModel
from stable_diffusion.models.vae import AutoencoderKL
from stable_diffusion.presets import DEMO
from tests.commands import QUICK, SD1, img, made, pixels, same, txt

pytestmark = pytest.mark.usefixtures("opened_once")


@pytest.fixture(autouse=True)
def _in_a_folder_with_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    Image.fromarray(noise).save("in.png")


def frames_of(name: str) -> list[np.ndarray]:
    with Image.open(name) as film:
        frames = []
        for k in range(getattr(film, "n_frames", 1)):
            film.seek(k)
            frames.append(np.asarray(film.convert("RGB")).astype(int))
        return frames


@pytest.mark.parametrize("ending", ["webp", "gif"])
def test_a_film_shows_every_step_from_the_start_to_the_picture(ending: str) -> None:
    assert txt("a house", "--model", "demo", "--animate", f"film.{ending}", "-sd", "1", "--no-captions") == 0
    frames = frames_of(f"film.{ending}")
    assert len(frames) == 5
    steps = [pixels(name) for name in (*(f"out-step{k}.png" for k in (1, 2, 3)), "out.png")]
    for k, frame in enumerate(frames[1:]):  # neither keeps every colour
        assert np.argmin([np.abs(frame - step).mean() for step in steps]) == k


def test_a_film_of_the_way_in_and_the_way_out_turns_at_the_start(tmp_path: Path) -> None:
    words = ["--model", "demo", "--strength", "1", "--show-noising", "ray", "--animate", "film.webp", "--no-captions"]
    (tmp_path / "in.png").write_bytes((DEMO / "sketch.png").read_bytes())
    assert img("in.png", "a house", *words) == 0
    frames = frames_of("film.webp")
    assert len(frames) == 4 + 1 + 4  # the image and three levels, the start, four steps
    ends = [np.abs(frame - pixels("out.png")).mean() for frame in frames]
    assert np.argmin(ends) == 8
    assert np.argmin([np.abs(frame - pixels("in.png")).mean() for frame in frames]) == 0


def test_each_of_several_pictures_has_its_film() -> None:
    assert txt("a house", "--animate", "film.webp", "--n_images", "2", "--seed", "4") == 0
    assert {"film-seed4.webp", "film-seed5.webp"} < set(made())


@pytest.mark.parametrize(
    ("name", "words"),
    [("film.png", "must end in .webp, .gif, .apng or .mp4"), ("in.png/film.gif", "in.png is no folder")],
)
def test_a_film_that_cannot_be_written_is_told_before_anything_is_made(
    name: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert txt("a house", "--animate", name) == 1
    assert words in capsys.readouterr().err
    assert made() == []


def test_linear_previews_need_no_decoder_but_for_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    assert txt("a house", "-sd", "1", "--preview", "linear", "-o", "fit.png") == 0  # remembers the map
    decoded: list[int] = []
    whole = AutoencoderKL.decode

    def counted(self: AutoencoderKL, latents: mx.array, tiling: Tiling | None = None) -> mx.array:
        decoded.append(latents.shape[0])
        return whole(self, latents, tiling)

    monkeypatch.setattr(AutoencoderKL, "decode", counted)
    assert txt("a house", "-sd", "1", "--preview", "linear") == 0
    assert decoded == [1]
    assert pixels("out-step1.png").shape == (32, 32, 3)


def test_the_way_up_is_written_as_files_where_steps_are() -> None:
    assert img("in.png", "a house", "--strength", "1", "--show-noising", "chain", "-sd", "2") == 0
    assert [name for name in made() if "chain" in name] == ["out-chain.png", *(f"out-chain{k}.png" for k in (0, 2, 4))]


def test_the_inversion_says_how_exact_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert img("in.png", "a house", "--strength", "0.5", "--start", "inversion") == 0
    assert "inversion: 2 steps up, each undone by the step down to within" in capsys.readouterr().err


# Grids


def test_a_place_of_a_grid_is_the_single_run_with_its_settings() -> None:
    plain = ["a house", "--model", SD1, "--steps", "4", "--width", "32", "--height", "32", "--seed", "4"]
    assert txt2image.main([*plain, "--grid", "sampler=euler,heun", "cfg=1,3"]) == 0
    assert made() == sorted(["out-grid.png", *(f"out-row{i}-column{j}.png" for i in (1, 2) for j in (1, 2))])
    words = ["--seed", "4", "--sampler", "heun", "--cfg", "1", "-o", "single.png"]
    assert txt("a house", *words) == 0
    assert np.abs(pixels("single.png") - pixels("out-row2-column1.png")).max() <= 1


def test_a_grid_is_one_lockstep(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    whole = UNet2DConditionModel.__call__

    def counted(self: UNet2DConditionModel, x: mx.array, *args: mx.array, **kwargs: mx.array) -> mx.array:
        calls.append(x.shape[0])
        return whole(self, x, *args, **kwargs)

    monkeypatch.setattr(UNet2DConditionModel, "__call__", counted)
    assert txt("--grid", "prompt=a house|a boat, far off", "cfg=1,3") == 0
    assert calls == [2 * (1 + 2)] * 4  # rows without guidance go in once
    calls.clear()
    assert txt2image.main([*QUICK, "a house", "--grid", "width=32,64", "--decoding_batch_size", "3"]) == 0
    # of two sizes: one after the other
    assert calls == [2] * 8


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--highlight", "0.5"], "--highlight does nothing without --generate_triangle"),
        (["--frames", "clean"], "--frames does nothing without"),
        (["--preview", "linear"], "--preview does nothing without"),
        (["-gt", "3", "--strength", "0.5"], "--generate_triangle and --strength do not go together"),
        (["-gt", "3", "--grid", "cfg=1,2"], "do not go together"),
        (["--grid", "cfg=1", "seed=1", "eta=2"], "takes one or two settings"),
        (["--grid", "cfg=1", "cfg=2"], "has cfg twice"),
        (["--perturb", "2"], "2 is not from 0 to 1"),
        (["--grid", "cfg=1,3", "--cfg", "2"], "--grid cfg and --cfg do not go together"),
        (["--grid", "strength=0.5,1", "--start-step", "1"], "do not go together"),
        (["--source-prompt", "a"], "--source-prompt does nothing without"),
        (["--strength-mode", "full", "--start-step", "1"], "do not go together"),
        (["--pure-noise", "--show-noising", "ray"], "--pure-noise and --show-noising do not go together"),
        (["--fit", "--full-size"], "--full-size and --fit do not go together"),
        (["--feather", "-1"], "-1 is not a number above 0"),
        (["--redraw", "a.safetensors", "--seed", "1"], "does nothing with it"),
        (["--perturb", "0.5", "--variation-slider", "0.5"], "not allowed with"),
    ],
)
def test_options_that_would_be_ignored_are_told(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        img("in.png", "a house", *words)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


# Latents


def test_a_triangle_is_drawn_again_from_its_latents_without_the_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert img("in.png", "a house", "--seed", "4", "-gt", "0,0.5,1", "--highlight", "1", "--save-latents") == 0
    monkeypatch.setattr(StableDiffusion, "__init__", None)  # no model at all
    assert image2image.main(["--redraw", "out.safetensors", "-o", "again.png"]) == 0
    assert same("again-triangle.png", "out-triangle.png")
    assert same("again-path.png", "out-path.png")
    words = ["--redraw", "out.safetensors", "--triangle-align", "right", "--highlight", "0.5", "-sd", "2"]
    assert image2image.main([*words, "-o", "other.png", "--sheet-size", "300"]) == 0
    assert max(pixels("other-triangle.png").shape) < max(pixels("out-triangle.png").shape)


def test_frames_that_the_file_lacks_are_decoded_without_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["in.png", "a house", "--seed", "4", "-gt", "0.5,1"]
    assert img(*words, "--save-latents") == 0
    assert img(*words, "--frames", "clean", "-o", "clean.png") == 0
    monkeypatch.setattr(UNet2DConditionModel, "__call__", None)
    assert image2image.main(["--redraw", "out.safetensors", "--frames", "clean", "-o", "again.png"]) == 0
    assert np.abs(pixels("again-triangle.png") - pixels("clean-triangle.png")).max() <= 1


def test_a_sheet_that_was_drawn_again_can_be_made_again() -> None:
    assert img("in.png", "a house", "--seed", "4", "-gt", "0,0.5,1", "--save-latents") == 0
    assert image2image.main(["--redraw", "out.safetensors", "--highlight", "0.5", "-o", "red.png"]) == 0
    assert image2image.main(["--from", "red-triangle.png", "-o", "again.png"]) == 0
    assert same("red-triangle.png", "again-triangle.png")


def test_the_latents_of_a_replayed_row_are_its_own() -> None:
    assert img("in.png", "a house", "--seed", "4", "-gt", "0,0.5,1", "--decoding_batch_size", "3") == 0
    words = ["--from", "out-strength0.5.png", "--save-latents", "-o", "row.png"]
    assert image2image.main(words) == 0
    record = load_record(Path("row.safetensors"))
    assert [step.index for row in record.rows for step in row.steps] == [-1, 0, 1]
    assert record.recipe.settings.strength == 0.5


def test_pictures_and_grids_are_drawn_again_too() -> None:
    assert txt("a house", "--seed", "4", "--n_images", "3", "--n_rows", "2", "--save-latents") == 0
    assert txt2image.main(["--redraw", "out.safetensors", "-o", "again.png"]) == 0
    assert same("again.png", "out.png")
    assert txt("a house", "--seed", "4", "--grid", "cfg=1,2", "--save-latents", "-o", "b.png") == 0
    assert txt2image.main(["--redraw", "b.safetensors", "-o", "b2.png"]) == 0
    assert same("b2-grid.png", "b-grid.png")
    assert txt("a house", "--seed", "4", "-sd", "1", "--save-latents", "-o", "c.png") == 0
    assert txt2image.main(["--redraw", "c.safetensors", "-o", "c2.png"]) == 0
    assert same("c2-steps.png", "c-steps.png")


def test_the_latents_are_those_of_the_library() -> None:
    assert img("in.png", "a house", "--seed", "4", "-gt", "0.5,1", "--save-latents") == 0
    record = load_record(Path("out.safetensors"))
    assert record.recipe.model.name == SD1
    assert [row.heading for row in record.rows] == ["strength 0.5", "strength 1"]
    image = mx.array(pixels("in.png").astype(np.float32) / 127.5 - 1)
    rows = StableDiffusion(SD1).triangle(record.recipe.settings, image, (0.5, 1.0))
    for ours, theirs in zip(record.rows, rows, strict=True):
        assert [(step.index, step.sigma) for step in ours.steps] == [(step.index, step.sigma) for step in theirs]
        for kept, b in zip(ours.steps, theirs, strict=True):
            assert (a := kept.latents) is not None
            assert mx.allclose(a.x, b.x, atol=1e-4) and mx.allclose(a.clean, b.clean, atol=1e-4)


@pytest.mark.parametrize("content", [b"", b"not latents", None])
def test_what_is_no_file_of_latents_is_one_sentence(content: bytes | None, capsys: pytest.CaptureFixture[str]) -> None:
    if content is not None:
        Path("a.safetensors").write_bytes(content)
    assert image2image.main(["--redraw", "a.safetensors"]) == 1
    err = capsys.readouterr().err
    assert "a.safetensors" in err and "Traceback" not in err


def test_ctrl_c_keeps_the_pictures_that_were_not_yet_decoded_and_the_latents(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = StableDiffusion.walk

    def interrupted(self: StableDiffusion, *rest: Any) -> Iterator[tuple[int, Step]]:
        for which, step in whole(self, *rest):
            if which == 2:
                raise KeyboardInterrupt
            yield which, step

    monkeypatch.setattr(StableDiffusion, "walk", interrupted)
    words = ["--n_images", "3", "--seed", "4", "--decoding_batch_size", "3", "--save-latents"]
    assert txt("a house", *words) == 130
    assert made() == ["out-seed4.png", "out-seed5.png", "out.png", "out.safetensors"]
    assert len(load_record(Path("out.safetensors")).rows) == 2


def test_a_film_needs_a_name_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert txt("a house", "--animate", "a.webp", "-o", "a.webp") == 1
    assert "give them different names" in capsys.readouterr().err


def test_a_feather_without_a_mask_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert img("in.png", "a house", "--feather", "3") == 1
    assert "there is none: name one with --mask" in capsys.readouterr().err


# Plans


def test_a_plan_needs_no_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = shutil.copytree(SD1, tmp_path / "model")
    for file in folder.rglob("*.safetensors"):
        file.unlink()
    words = ["--model", str(folder), "--steps", "8", "--seed", "1", "--plan"]
    assert image2image.main(["in.png", "a house", *words, "--strength", "0.9", "--strength-mode", "skip"]) == 0
    out = capsys.readouterr().out
    assert "7 of 8 steps" in out and "the first left out" in out
    assert "every strength from 0.875 to just below 1 gives this same run" in out
    assert image2image.main(["in.png", "a house", *words, "-gt", "0.9,0.95,1", "--strength-mode", "skip"]) == 0
    assert "the strengths 0.9 and 0.95 give the same run" in capsys.readouterr().out
    assert image2image.main(["in.png", "a house", *words, "-gt", "0.9,0.95,1"]) == 0
    assert "same run" not in capsys.readouterr().out


@pytest.mark.parametrize("family", ["sd1", "inpainting"])
def test_kept_pixels_are_kept_in_every_finished_picture(family: str) -> None:
    mask = np.zeros((48, 64), dtype=np.uint8)
    mask[:, 40:] = 255
    Image.fromarray(mask).save("mask.png")
    model = str(Path(SD1).parent / family)
    common = ["in.png", "a house", "--mask", "mask.png", "--seed", "4", "--model", model, "--pure-noise"]
    for k, words in enumerate(
        (
            ["-gt", "0.5,1"],
            ["--perturb", "0.5", "--n_images", "2"],
            ["--grid", "cfg=1,3"],
            ["--feather", "1.5", "-sd", "2"],
        )
    ):
        assert image2image.main([*QUICK, *common, *words, "-o", f"{k}.png"]) == 0
    finished = [name for name in made(("in.png", "mask.png")) if not re.search("triangle|grid|step", name)]
    finished.remove("1.png")  # the sheet of the children
    assert len(finished) == 2 + 3 + 2 + 1
    for name in finished:
        assert np.array_equal(pixels(name)[:, :32], pixels("in.png")[:, :32]), name
        assert np.abs(pixels(name) - pixels("in.png"))[:, 44:].mean() > 5, name


def test_sheets_have_films_too() -> None:
    assert img("in.png", "a", "-gt", "0.5,1", "--highlight", "1", "--animate", "film.webp", "--no-captions") == 0
    assert {"film.webp", "film-path.webp"} < set(made())
    # Each way from the original, which is held, over its start and its steps; the starts below are on the path.
    assert len(frames_of("film.webp")) == (1 + 1 + 2) + (1 + 1 + 4)
    assert len(frames_of("film-path.webp")) == 1 + 1 + 1 + 4
    assert txt("a", "--grid", "cfg=1,3", "--animate", "grid.apng", "--fps", "4") == 0
    assert {"grid-column1.apng", "grid-column2.apng", "grid-grid.apng"} < set(made())
    assert len(frames_of("grid-grid.apng")) == 1 + 4
    with Image.open("grid-grid.apng") as film:
        film.seek(1)
        assert film.info["duration"] == 250 and film.width > 2 * 32


def test_the_rows_of_a_pyramid_meet_in_the_noise() -> None:
    words = ["-gt", "0.5,1", "--triangle-shape", "pyramid", "--animate", "film.webp", "--no-captions", "--save-latents"]
    assert img("in.png", "a", *words) == 0
    frames = frames_of("film.webp")
    assert len(frames) == 4 + 1 + 4
    assert image2image.main(["--redraw", "out.safetensors", "--animate", "again.webp", "--no-captions"]) == 0
    for one, other in zip(frames, frames_of("again.webp"), strict=True):
        assert np.abs(one - other).max() <= 1


def test_a_triangle_is_drawn_again_as_a_pyramid_by_its_autoencoder_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert img("in.png", "a", "--seed", "4", "-gt", "0.5,1", "--triangle-shape", "pyramid", "-o", "one.png") == 0
    assert img("in.png", "a", "--seed", "4", "-gt", "0.5,1", "--save-latents", "-o", "two.png") == 0
    monkeypatch.setattr(UNet2DConditionModel, "__call__", None)
    assert image2image.main(["--redraw", "two.safetensors", "--triangle-shape", "pyramid", "-o", "again.png"]) == 0
    assert np.abs(pixels("one-triangle.png") - pixels("again-triangle.png")).max() <= 1


def test_what_is_no_triangle_is_no_pyramid(capsys: pytest.CaptureFixture[str]) -> None:
    assert txt("a", "--grid", "cfg=1,3", "--save-latents") == 0
    assert image2image.main(["--redraw", "out.safetensors", "--triangle-shape", "pyramid"]) == 1
    assert "has no triangle that could be drawn as a pyramid" in capsys.readouterr().err
