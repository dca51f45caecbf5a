"""What both commands do around the library."""

import argparse
import contextlib
import warnings
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image
from stable_diffusion.cli.run import Output, multiple_of_8, run

ARGS = argparse.Namespace(print_parser=False, verbose=False)
RED, BLUE = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")


def raising(error: BaseException) -> int:
    def command(args: argparse.Namespace) -> None:
        raise error

    return run(command, ARGS)


def output(path: Path | str, endings: Sequence[str] = ("",), overwrite: bool = False) -> Output:
    return Output(argparse.Namespace(output=str(path), overwrite=overwrite, save_prompt=True), endings)


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


@pytest.mark.parametrize(
    ("side", "taken", "told"), [(None, None, ""), (64, 64, ""), (130, 128, "width 130"), (15, 8, "width 15")]
)
def test_a_side_is_taken_down_to_a_multiple_of_8_and_told(
    side: int | None, taken: int | None, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert multiple_of_8(side, "width") == taken
    err = capsys.readouterr().err
    assert told in err and bool(err) == bool(told)


def test_a_picture_has_the_name_itself_or_with_its_ending(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = output(tmp_path / "a.png", ["", "-seed7"])
    files.write(RED, "")
    files.write(BLUE, "-seed7")
    assert names(tmp_path) == ["a-seed7.png", "a.png"]
    assert capsys.readouterr().out == f"{tmp_path / 'a.png'}\n{tmp_path / 'a-seed7.png'}\n"


def test_the_free_name_is_one_for_all_files_of_a_run(tmp_path: Path) -> None:
    (tmp_path / "a-seed8.png").write_bytes(b"theirs")
    files = output(tmp_path / "a.png", ["", "-seed7", "-seed8"])
    files.write(RED, "-seed7")
    assert names(tmp_path) == ["a-1-seed7.png", "a-seed8.png"]


def test_other_kinds_of_files_are_whole_or_not_there(tmp_path: Path) -> None:
    files = output(tmp_path / "a.png")
    with files.file(".safetensors") as path:
        path.write_bytes(b"latents")
    with contextlib.suppress(KeyboardInterrupt), files.file(".safetensors") as path:
        path.write_bytes(b"lat")
        raise KeyboardInterrupt
    assert names(tmp_path) == ["a.safetensors"]
    assert (tmp_path / "a.safetensors").read_bytes() == b"latents"


def test_files_that_keep_no_settings_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output(tmp_path / "a.png")
    assert capsys.readouterr().err == ""
    output(tmp_path / "a.jpg")
    assert "only .png files keep the settings: a.jpg" in capsys.readouterr().err


def test_existing_files_are_kept_unless_told_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"mine")
    for overwrite in (False, True):
        output(path, overwrite=overwrite).write(RED, "")
        assert names(tmp_path) == ["a-1.png", "a.png"]
        assert (path.read_bytes() == b"mine") != overwrite


def test_a_file_that_another_run_has_made_meanwhile_is_kept(tmp_path: Path) -> None:
    files = output(tmp_path / "a.png", ["-seed7", "-seed8"])
    files.write(RED, "-seed7")
    (tmp_path / "a-seed8.png").write_bytes(b"theirs")
    files.write(BLUE, "-seed8")
    assert (tmp_path / "a-seed8.png").read_bytes() == b"theirs"
    assert names(tmp_path) == ["a-seed7.png", "a-seed8-1.png", "a-seed8.png"]


def test_a_name_without_ending_is_a_png(tmp_path: Path) -> None:
    output(tmp_path / "a").write(RED, "")
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
        output(name, ["", "-seed1000"])
    assert names(tmp_path) == []
