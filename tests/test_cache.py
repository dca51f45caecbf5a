"""What is remembered from run to run: nothing depends on it, and nothing is spoilt by it."""

import json
import pwd
import sys
from pathlib import Path

import pytest

from stable_diffusion.cache import cache_folder, recall, remember


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder that is not there yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches" / "deep"))
    return tmp_path / "caches" / "deep" / "stable-diffusion-mlx"


def test_nothing_is_known_at_first_and_asking_writes_nothing(folder: Path) -> None:
    assert cache_folder() == folder
    assert recall("hashes") == {}
    assert not folder.exists()


def test_what_is_remembered_is_known(folder: Path) -> None:
    values = {"a ü 海": "x", "numbers": [[0.1, 1 / 3], [1e-300, -5]], "none": None}
    remember("things", values)
    assert recall("things") == values
    assert [path.name for path in folder.iterdir()] == ["things.json"]


def test_more_is_added_and_the_newest_holds(folder: Path) -> None:
    remember("hashes", {"a": 1, "b": 2})
    remember("hashes", {"b": 3, "c": 4})
    remember("hashes", {})
    assert recall("hashes") == {"a": 1, "b": 3, "c": 4}


def test_names_are_kept_apart(folder: Path) -> None:
    remember("hashes", {"a": 1})
    remember("previews", {"a": 2})
    assert (recall("hashes"), recall("previews"), recall("other")) == ({"a": 1}, {"a": 2}, {})


@pytest.mark.parametrize("content", [b"", b"{", b'{"a": 1', b"\xff\xfe", b"[1]", b"null", b"3", b'"a"', b"\0" * 100])
def test_a_damaged_cache_is_an_empty_one_and_is_mended(folder: Path, content: bytes) -> None:
    folder.mkdir(parents=True)
    (folder / "hashes.json").write_bytes(content)
    assert recall("hashes") == {}
    remember("hashes", {"b": 2})
    assert json.loads((folder / "hashes.json").read_text()) == {"b": 2}


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    remember("hashes", {"a": 1})
    assert recall("hashes") == {}
    assert (tmp_path / "file").read_text() == "not a folder"


def test_a_folder_in_a_files_place_is_no_error(folder: Path) -> None:
    (folder / "hashes.json").mkdir(parents=True)
    remember("hashes", {"a": 1})
    assert recall("hashes") == {}


@pytest.mark.parametrize("value", [None, ""])
@pytest.mark.parametrize(("system", "where"), [("linux", ".cache"), ("darwin", "Library/Caches")])
def test_without_a_choice_it_lies_where_the_system_keeps_its_caches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str, where: str, value: str | None
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if value is not None:
        monkeypatch.setenv("XDG_CACHE_HOME", value)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", system)
    assert cache_folder() == tmp_path / where / "stable-diffusion-mlx"


def test_nothing_half_written_stays_behind(folder: Path) -> None:
    (folder / "hashes.json").mkdir(parents=True)
    remember("hashes", {"a": 1})
    assert [path.name for path in folder.iterdir()] == ["hashes.json"]


@pytest.mark.parametrize("chosen", [True, False])
def test_somebody_without_a_home_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chosen: bool) -> None:
    def nobody(uid: int) -> None:  # as in a container that is run by a user whom it does not know
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.delenv("HOME")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if chosen:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    remember("hashes", {"a": 1})
    assert recall("hashes") == ({"a": 1} if chosen else {})


def test_a_cache_that_is_nested_without_end_is_an_empty_one(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "hashes.json").write_text("[" * 100_000)
    assert recall("hashes") == {}
