from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import image2image
import txt2image

SD1 = str(Path(__file__).parent / "data" / "sd1")
pytestmark = pytest.mark.usefixtures("opened_once")
COMMON = ["--model", SD1, "--seed", "7", "--steps", "5", "--sampler", "euler"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    Image.fromarray(pixels).save("in.png")
    return tmp_path


def made(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.name != "in.png")


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture).astype(int)


def test_every_second_step_is_shown_and_the_last(folder: Path) -> None:
    assert txt2image.main(["a house", *COMMON, "-sd", "2"]) == 0
    assert made(folder) == ["out-step2.png", "out-step4.png", "out-step5.png", "out-steps.png", "out.png"]
    assert np.abs(pixels(folder / "out-step5.png") - pixels(folder / "out.png")).max() <= 1


@pytest.mark.parametrize("spelling", ["--show_denoising", "--show-denoising"])
def test_the_frames_of_several_pictures_have_their_seeds(folder: Path, spelling: str) -> None:
    assert image2image.main(["in.png", "a", *COMMON, "--strength", "0.4", "--n_images", "2", spelling, "1"]) == 0
    steps = [f"out-seed{s}-{x}.png" for s in (7, 8) for x in ("step1", "step2", "steps")]
    assert made(folder) == sorted([*steps, "out-seed7.png", "out-seed8.png", "out.png"])


def test_the_last_steps_are_saved(folder: Path) -> None:
    assert txt2image.main(["a house", *COMMON, "--save_last_N", "3"]) == 0
    assert made(folder) == ["out-step3.png", "out-step4.png", "out-step5.png", "out.png"]


def test_clean_frames_are_the_estimates(folder: Path) -> None:
    for kind in ("noisy", "clean"):
        assert txt2image.main(["a", *COMMON, "-sd", "1", "--frames", kind, "-o", f"{kind}.png"]) == 0
    assert np.abs(pixels(folder / "noisy-step1.png") - pixels(folder / "clean-step1.png")).max() > 2
    # With Euler the last step lands on its estimate.
    assert np.abs(pixels(folder / "noisy-step5.png") - pixels(folder / "clean-step5.png")).max() <= 1


@pytest.mark.parametrize("kind", ["ray", "chain", "inversion"])
def test_the_way_up_is_a_strip(folder: Path, kind: str) -> None:
    assert image2image.main(["in.png", "a", *COMMON, "--strength", "0.6", "--cfg", "1", "--show-noising", kind]) == 0
    assert made(folder) == [f"out-{kind}.png", "out.png"]
    with Image.open(folder / f"out-{kind}.png") as picture:
        assert picture.width > 4 * 64


@pytest.mark.parametrize("align", ["left", "right"])
def test_a_triangle_is_a_sheet_and_a_picture_for_each_strength(
    folder: Path, align: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["in.png", "a", *COMMON, "-gt", "0,0.4,1", "--triangle-align", align, "-v"]
    assert image2image.main(words) == 0
    rows = [f"out-strength{s}.png" for s in ("0", "0.4", "1")]
    assert made(folder) == sorted([*rows, "out-triangle.png"])
    assert capsys.readouterr().err.count("strength 0.4: 2 of 5 steps") == 1
    for strength in ("0.4", "1"):
        single = ["in.png", "a", *COMMON, "--strength", strength, "-o", f"single{strength}.png"]
        assert image2image.main(single) == 0
        difference = np.abs(pixels(folder / f"single{strength}.png") - pixels(folder / f"out-strength{strength}.png"))
        assert difference.max() <= 1


def test_the_plan_of_a_triangle_is_that_of_its_rows(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert image2image.main(["in.png", "a", *COMMON, "-gt", "5", "--plan"]) == 0
    assert made(folder) == []
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("strength")] == ["0.2:", "0.4:", "0.6:", "0.8:", "1:"]
    assert sum(" to " in line for line in lines) == 5 + 1 + 2 + 3 + 4 + 5


def test_several_pictures_are_a_triangle_each(folder: Path) -> None:
    words = ["in.png", "a", *COMMON, "-gt", "0.4,1", "--n_images", "2", "--animate", "film.webp"]
    assert image2image.main(words) == 0
    endings = ("-strength0.4", "-strength1", "-triangle")
    films = [f"film-seed{seed}.webp" for seed in (7, 8)]
    assert made(folder) == sorted([*films, *(f"out-seed{seed}{ending}.png" for seed in (7, 8) for ending in endings)])
    alone = ["in.png", "a", *COMMON[:3], "8", *COMMON[4:], "-gt", "0.4,1", "-o", "alone.png"]
    assert image2image.main(alone) == 0
    assert (pixels(folder / "alone-triangle.png") == pixels(folder / "out-seed8-triangle.png")).all()


def test_a_triangles_cells_are_files_where_steps_are_asked_for(folder: Path) -> None:
    assert image2image.main(["in.png", "a", *COMMON, "-gt", "0.4,1", "-sd", "2"]) == 0
    cells = [
        f"out-strength{s}-step{n:03}.png" for s, numbers in (("0.4", (0, 2)), ("1", (0, 2, 4, 5))) for n in numbers
    ]
    assert made(folder) == sorted([*cells, "out-strength0.4.png", "out-strength1.png", "out-triangle.png"])
    assert (pixels(folder / "out-strength1-step005.png") == pixels(folder / "out-strength1.png")).all()


def test_many_cells_have_a_folder_of_their_own(folder: Path) -> None:
    assert image2image.main(["in.png", "a", *COMMON, "-gt", "6", "-sd", "1"]) == 0
    assert len(list((folder / "out-steps").iterdir())) == 6 + sum(max(1, int(5 * k / 6 + 1e-9)) for k in range(1, 7))
    assert "out-steps" in made(folder) and not any("-step0" in name for name in made(folder))


@pytest.mark.parametrize("kind", [None, "chain", "inversion"])
def test_a_pyramid_has_the_way_in_and_the_way_out(folder: Path, kind: str | None) -> None:
    more = [] if kind is None else ["--show-noising", kind, "--cfg", "1"]
    quick = ["--steps", "3", "-gt", "0.2,0.7,1", "--triangle-shape", "pyramid", "--highlight", "0.7"]
    words = ["in.png", "a", *COMMON, *quick, *more]
    assert image2image.main(words) == 0
    strengths = [f"out-strength{s}.png" for s in ("0.2", "0.7", "1")]
    assert made(folder) == sorted([*strengths, "out-path.png", "out-triangle.png"])
    with Image.open(folder / "out-triangle.png") as sheet, Image.open(folder / "out-path.png") as path:
        assert sheet.width > 7 * 64 and path.width > 5 * 64  # 2 k + 1 pictures for k steps


def test_long_rows_are_thinned_and_a_note_says_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert image2image.main(["in.png", "a", *COMMON, "--steps", "24", "-gt", "0.5,1"]) == 0
    assert (
        "note: the sheet shows every 3rd step, and the end of each row; -sd 1 shows them all" in capsys.readouterr().err
    )
    with Image.open(folder / "out-triangle.png") as sheet:
        assert 9 * 64 < sheet.width < 14 * 130
