"""What both commands do around the library."""

import argparse
import contextlib
import warnings
from pathlib import Path

import mlx.core as mx
import pytest
from PIL import Image

from stable_diffusion import Settings, StableDiffusion
from stable_diffusion.cli.run import Output, decoded, multiple_of_8, parts, run, seed_of

SD1 = str(Path(__file__).parent / "data" / "sd1")
ARGS = argparse.Namespace(print_parser=False, verbose=False)
RED, BLUE = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")


@pytest.fixture(scope="module")
def sd() -> StableDiffusion:
    return StableDiffusion(SD1)


def raising(error: BaseException) -> int:
    def command(args: argparse.Namespace) -> None:
        raise error

    return run(command, ARGS)


def output(path: Path | str, n: int = 1, rows: int = 1, overwrite: bool = False) -> Output:
    args = argparse.Namespace(output=str(path), overwrite=overwrite, n_rows=rows)
    return Output(args, Settings(prompt="a", seed=7, n_images=n))


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (ValueError("strength is 2"), 1, "error: strength is 2"),
        (FloatingPointError("not a number"), 1, "error: not a number"),
        (OSError("disk full"), 1, "error: disk full"),
        (RuntimeError("[metal::malloc] too much"), 1, "error: [metal::malloc] too much"),
        (MemoryError(), 1, "error: there is not enough memory"),
        (KeyboardInterrupt(), 130, "stopped"),
    ],
)
def test_what_goes_wrong_is_one_sentence_and_a_status(
    error: BaseException, status: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert raising(error) == status
    out, err = capsys.readouterr()
    assert words in err and "Traceback" not in err and out == ""


def test_a_mistake_of_ours_is_not_hidden() -> None:
    with pytest.raises(TypeError):
        raising(TypeError("ours"))


def test_warnings_are_notes_and_only_while_it_runs(capsys: pytest.CaptureFixture[str]) -> None:
    def command(args: argparse.Namespace) -> None:
        warnings.warn("the prompt is too long", stacklevel=1)

    before = warnings.showwarning
    assert run(command, ARGS) == 0 and run(command, ARGS) == 0  # told each time
    assert capsys.readouterr().err.count("note: the prompt is too long\n") == 2
    assert warnings.showwarning is before


def test_a_new_seed_each_time_unless_one_is_named() -> None:
    assert seed_of(argparse.Namespace(seed=0)) == 0
    assert len({seed_of(argparse.Namespace(seed=None)) for _ in range(20)}) > 15


@pytest.mark.parametrize(
    ("side", "taken", "told"), [(None, None, ""), (64, 64, ""), (130, 128, "width 130"), (15, 8, "width 15")]
)
def test_a_side_is_taken_down_to_a_multiple_of_8_and_told(
    side: int | None, taken: int | None, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert multiple_of_8(side, "width") == taken
    err = capsys.readouterr().err
    assert told in err and bool(err) == bool(told)


@pytest.mark.parametrize("size", [None, 1, 2, 3, 5, 100])
def test_parts_are_the_same_pictures_in_batches(size: int | None) -> None:
    made = list(parts(Settings(prompt="a", seed=3, n_images=5), size))
    assert [p.seed + k for p in made for k in range(p.n_images)] == [3, 4, 5, 6, 7]
    assert all(p.n_images <= (size or 5) for p in made)


def test_pictures_are_decoded_a_few_at_a_time_with_the_same_result(sd: StableDiffusion) -> None:
    latents = mx.random.normal((3, 2, 4, 4), key=mx.random.key(0))
    alone = [p.tobytes() for p in decoded(sd, latents, 1)]
    assert len(alone) == 3
    for size in (2, 3, 10**30):
        together = list(decoded(sd, latents, size))
        assert [p.size for p in together] == [(32, 16)] * 3
        for one, other in zip(alone, together, strict=True):
            largest = max(abs(a - b) for a, b in zip(one, other.tobytes(), strict=True))
            assert largest <= 1, f"the largest difference is {largest}"


def test_one_picture_has_the_name_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with output(tmp_path / "a.png") as files:
        files.add(RED)
    assert names(tmp_path) == ["a.png"]
    assert capsys.readouterr().out == f"{tmp_path / 'a.png'}\n"


def test_several_pictures_are_written_as_they_come_and_then_a_sheet(tmp_path: Path) -> None:
    with output(tmp_path / "a.png", n=2) as files:
        files.add(RED)
        assert names(tmp_path) == ["a-seed7.png"]
        files.add(BLUE)
    assert names(tmp_path) == ["a-seed7.png", "a-seed8.png", "a.png"]


def test_what_was_finished_before_an_error_is_kept_with_its_sheet(tmp_path: Path) -> None:
    files = output(tmp_path / "a.png", n=3)
    with contextlib.suppress(KeyboardInterrupt), files:
        files.add(RED)
        raise KeyboardInterrupt
    assert names(tmp_path) == ["a-seed7.png", "a.png"]


def test_no_picture_no_sheet(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), output(tmp_path / "a.png", n=3):
        raise KeyboardInterrupt
    assert names(tmp_path) == []


def test_existing_files_are_kept_unless_told_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"mine")
    for overwrite in (False, True):
        with output(path, overwrite=overwrite) as files:
            files.add(RED)
        assert names(tmp_path) == ["a-1.png", "a.png"]
        assert (path.read_bytes() == b"mine") != overwrite


def test_a_file_that_another_run_has_made_meanwhile_is_kept(tmp_path: Path) -> None:
    with output(tmp_path / "a.png", n=2) as files:
        files.add(RED)
        (tmp_path / "a-seed8.png").write_bytes(b"theirs")
        (tmp_path / "a.png").write_bytes(b"theirs")
        files.add(BLUE)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "a-seed8.png").read_bytes() == b"theirs"
    assert names(tmp_path) == ["a-1.png", "a-seed7.png", "a-seed8-1.png", "a-seed8.png", "a.png"]


def test_a_name_without_ending_is_a_png(tmp_path: Path) -> None:
    with output(tmp_path / "a") as files:
        files.add(RED)
    assert names(tmp_path) == ["a.png"]


def test_a_folder_is_no_name_for_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub.png").mkdir()
    for name in ("", ".", "..", "/", str(tmp_path), "sub.png", "missing/"):
        with pytest.raises(ValueError, match="is a folder"):
            output(name, overwrite=True)
    assert names(tmp_path) == ["sub.png"]


@pytest.mark.parametrize("name", ["~nobody_at_all/a.png", "missing/a.png", "nu\0ll.png", "a" * 246 + ".png", "a.gifx"])
def test_a_name_that_cannot_be_written_is_told_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"folder|must end|written|null"):
        output(name, n=10_000)
    assert names(tmp_path) == []
