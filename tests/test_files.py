"""The files of a job: free names, whole files or none."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from stable_diffusion.jobs.files import Output

RED, BLUE = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")


def output(path: Path | str, endings: Sequence[str] = ("",), overwrite: bool = False) -> Output:
    files = Output(str(path), overwrite)
    files.claim(endings)
    return files


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_picture_has_the_name_itself_or_with_its_ending(tmp_path: Path) -> None:
    files = output(tmp_path / "a.png", ["", "-seed7"])
    written = [files.write(RED, ""), files.write(BLUE, "-seed7")]
    assert names(tmp_path) == ["a-seed7.png", "a.png"]
    assert [event.path for event in written] == [tmp_path / "a.png", tmp_path / "a-seed7.png"]


def test_the_free_name_is_one_for_all_files_of_a_run(tmp_path: Path) -> None:
    (tmp_path / "a-seed8.png").write_bytes(b"theirs")
    files = output(tmp_path / "a.png", ["", "-seed7", "-seed8"])
    files.write(RED, "-seed7")
    assert names(tmp_path) == ["a-1-seed7.png", "a-seed8.png"]


def test_other_kinds_of_files_are_whole_or_not_there(tmp_path: Path) -> None:
    files = output(tmp_path / "a.png")

    def finished(at: Path) -> None:
        at.write_bytes(b"latents")

    written = files.write_file(".safetensors", finished)
    assert written.path == tmp_path / "a.safetensors"

    def interrupted(at: Path) -> None:
        at.write_bytes(b"lat")
        raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt):
        files.write_file(".safetensors", interrupted)
    assert names(tmp_path) == ["a.safetensors"]
    assert (tmp_path / "a.safetensors").read_bytes() == b"latents"


def test_some_kinds_of_files_keep_settings(tmp_path: Path) -> None:
    for ending in ("png", "PNG", "jpg", "JPEG", "webp"):
        assert output(tmp_path / f"a.{ending}").keeps_settings, ending
    for ending in ("tif", "bmp"):
        assert not output(tmp_path / f"a.{ending}").keeps_settings, ending


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


def test_a_folder_takes_the_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub.png").mkdir()
    for name in (".", str(tmp_path), "sub.png", "missing/", "missing/deep/"):
        assert output(name).path == Path(name) / "out.png"
    assert names(tmp_path) == ["sub.png"]  # nothing is made before there is a picture
    output("missing/deep/").write(RED, "")
    assert (tmp_path / "missing" / "deep" / "out.png").exists()


def test_an_empty_name_is_none() -> None:
    with pytest.raises(ValueError, match="is empty"):
        output("")


@pytest.mark.parametrize("name", ["~nobody_at_all/a.png", "nu\0ll.png", "a" * 246 + ".png", "a.gifx"])
def test_a_name_that_cannot_be_written_is_told_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"folder|must end|written|null"):
        output(name, ["", "-seed1000"])
    assert names(tmp_path) == []
