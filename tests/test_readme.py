"""Every command and every line of Python in the README runs, as it stands there."""

import re
import shlex
from pathlib import Path

import pytest

import image2image
import txt2image
from stable_diffusion import bench
from stable_diffusion.presets import DEMO

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = {"txt2image.py": txt2image.main, "image2image.py": image2image.main, "-m stable_diffusion.bench": bench.main}


def blocks(language: str) -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    return [text for name, text in fenced if name == language]


def commands() -> list[tuple[str, list[str]]]:
    """What is run by python, in blocks and in running text: (name, words)."""
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    lines += re.findall(r"`(python [^`]*)`", README)
    found = []
    for line in lines:
        for name in COMMANDS:
            if f"python {name} " in line:
                found.append((name, shlex.split(line.split(f"python {name} ", 1)[1])))
    return found


def test_the_readme_has_exactly_two_commands_for_a_fresh_machine() -> None:
    fresh = [line for block in blocks("bash") for line in block.splitlines() if "venv" in line]
    assert len(fresh) == 2
    assert all(line.startswith("python3 -m venv .venv && .venv/bin/pip install ") for line in fresh)
    assert "image2image.py" in fresh[0]
    assert fresh[1].endswith(".venv/bin/pytest")


@pytest.mark.parametrize(("name", "words"), commands())
def test_every_command_runs(
    name: str, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stable_diffusion").mkdir()
    (tmp_path / "stable_diffusion" / "demo").symlink_to(DEMO)
    (tmp_path / "photo.jpg").symlink_to(DEMO / "sketch.png")
    if "--model" in words:  # a model that would be downloaded: the same with the one that is here
        words[words.index("--model") + 1] = "demo"
    assert COMMANDS[name](words) == 0
    made = [path for path in tmp_path.iterdir() if path.suffix == ".png"]
    assert bool(made) == ("--plan" not in words)
    if "--plan" in words:
        said = capsys.readouterr().out.strip()
        shown = next(block for block in blocks("") if block.startswith(said[:12])).strip()
        assert said.startswith(shown.removesuffix("..."))


def test_the_lines_of_python_run() -> None:
    (code,) = blocks("python")
    names: dict[str, object] = {}
    exec(code, names)
    assert tuple(names["pictures"].shape) == (2, 128, 128, 3)  # type: ignore[attr-defined]


def test_the_pictures_and_files_that_it_names_are_there() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
