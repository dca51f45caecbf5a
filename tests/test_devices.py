"""Devices and pipes, which might never end: refused wherever a file is named, and where one lies in a folder."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import image2image
import txt2image
from stable_diffusion.cli.parser import Parser
from stable_diffusion.devices import is_device
from tests.commands import SD1
from tests.sentences import check_sentence

WRITTEN = {"output", "animate", "html"}
FOLDERS = {"lora_dir"}
TXT, IMG = txt2image.main, image2image.main
Command = Callable[[list[str]], int]
# Of each option that names a file to be read, a command with it.
READ: dict[str, tuple[Command, list[str]]] = {
    "model": (TXT, ["a", "--model", "{}"]),
    "loras": (TXT, ["a", "--model", SD1, "--lora", "{}:0.5"]),
    "vae": (TXT, ["a", "--model", SD1, "--vae", "{}"]),
    "embeddings": (TXT, ["a", "--model", SD1, "--embedding", "{}"]),
    "prompts": (TXT, ["--model", SD1, "--prompts", "{}"]),
    "replay": (TXT, ["--from", "{}"]),
    "redraw": (TXT, ["--redraw", "{}"]),
    "mask": (IMG, ["in.png", "a", "--model", SD1, "--mask", "{}"]),
    "image": (IMG, ["{}", "a", "--model", SD1]),
}
NAMES = ("/dev/zero", "pipe.png", "pipe.safetensors", "pipe")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (32, 32)).save("in.png")
    for name in NAMES[1:]:
        os.mkfifo(name)


def refused(main: Command, words: list[str], path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 1
    (said,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert f"{path}' is no file, but a device or a pipe" in said or f"{path} is no file, but a device" in said
    check_sentence(said)


def test_a_device_is_neither_a_file_nor_a_folder() -> None:
    assert [is_device(path) for path in (*NAMES, "in.png", ".", "none", "nu\0ll")] == [True] * 4 + [False] * 4
    Path("link").symlink_to("/dev/zero")
    assert is_device("link")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("option", READ)
def test_every_option_that_reads_a_file_refuses_them(
    option: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main, words = READ[option]
    refused(main, [word.replace("{}", name) for word in words], name, capsys)


def test_no_option_that_names_a_file_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    found: set[str] = set()

    def parsed(self: Parser, *_: Any) -> None:
        named = [a.dest for a in self._actions if str(a.metavar).startswith(("FILE", "PNG", "PATH", "FOLDER", "MASK"))]
        found.update(named)
        raise SystemExit

    monkeypatch.setattr(Parser, "parse_args", parsed)
    for main in (TXT, IMG):
        with pytest.raises(SystemExit):
            main([])
    assert found == (READ.keys() | WRITTEN | FOLDERS) - {"model", "image"}


@pytest.mark.parametrize(
    "file",
    ["model_index.json", "unet/config.json", "tokenizer/vocab.json", "tokenizer/merges.txt", "unet/*.safetensors"],
)
def test_one_in_a_checkpoint_is_refused(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(SD1, "sd")
    (path,) = Path("sd").glob(file)
    path.unlink()
    os.mkfifo(path)
    refused(TXT, ["a", "--model", "sd", "--steps", "1"], str(path), capsys)


def test_one_in_a_folder_of_loras_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Path("loras").mkdir()
    os.mkfifo("loras/red.safetensors")
    refused(TXT, ["a", "--model", SD1, "--lora", "loras"], "loras/red.safetensors", capsys)
    words = ["a <lora:red:1>", "--model", SD1, "--prompt-syntax", "a1111", "--lora-dir", "loras"]
    refused(TXT, words, "loras/red.safetensors", capsys)
