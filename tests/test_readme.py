"""Every command and every line of Python in the README and the documentation runs, as it stands there."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import image2image
import txt2image
from stable_diffusion import StableDiffusion, bench
from stable_diffusion.bench.tables import samplers
from stable_diffusion.cli.converting import convert
from stable_diffusion.jobs.recipe import RECIPE, Recipe
from stable_diffusion.pictures.metadata import read_attached
from stable_diffusion.presets import DEMO
from tests.ldm_files import small, vae, write
from tests.torch_files import whole_file

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in PAGES}
EVERYTHING = "\n".join(TEXTS.values())
COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "txt2image.py": txt2image.main,
    "image2image.py": image2image.main,
    "-m stable_diffusion.bench": bench.main,
    "-m stable_diffusion.convert": convert,
}


def blocks(language: str, text: str = EVERYTHING) -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [text for name, text in fenced if name == language]


def commands() -> list[list[tuple[str, list[str]]]]:
    """What is run by python, (name, words): the lines of a block together, and those in running text one by one."""
    texts = [block.splitlines() for block in blocks("bash")] + [
        [line] for line in re.findall(r"`(python [^`]*)`", EVERYTHING)
    ]
    found = []
    for lines in texts:
        asked = [(line, name) for line in lines for name in COMMANDS if f"python {name} " in line]
        if asked:
            found.append([(name, shlex.split(line.split(f"python {name} ", 1)[1])) for line, name in asked])
    return found


def _quick(name: str, words: list[str]) -> list[str]:
    """The same command with fewer steps: that it runs is tested here, what it paints elsewhere."""
    if name == "-m stable_diffusion.bench":
        quick = {"samplers": ["--points", "10"], "memory": ["--family", "demo", "--size", "64", "--only", "unet"]}
        nets = ["--family", "demo", "--runs", "1", "--only", "text"]
        return [*words, *next((more for page, more in quick.items() if page in words), nets)]
    if name == "-m stable_diffusion.convert":
        return words
    if "--model" in words and words[words.index("--model") + 1].endswith(".safetensors"):
        words = [*words, "--width", "64", "--height", "64"]
    if "--n_images" in words:
        words[words.index("--n_images") + 1] = "3"
    if "--steps" in words:
        words[words.index("--steps") + 1] = "2"
        return words
    return words if "--from" in words else [*words, "--steps", "2"]


def _own_files(folder: Path) -> None:
    """What a person has: a model in one file, a LoRA, an autoencoder, an embedding, and an old pickle."""
    rng = np.random.default_rng(0)
    model, stem = small("sd1"), "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
    write(folder / "dreamlike.safetensors", model)
    whole_file(folder / "old.ckpt", model)
    pair: dict[str, tuple[int, ...]] = {f"{stem}.lora_up.weight": (32, 4), f"{stem}.lora_down.weight": (4, 32)}
    shapes: dict[str, dict[str, tuple[int, ...]]] = {
        "ink": pair,
        "bad": {"emb_params": (2, 64)},
        "vae": vae((32, 32, 32, 32), 1),
    }
    for name, of in shapes.items():
        arrays = {n: rng.normal(size=shape).astype(np.float32) / 10 for n, shape in of.items()}
        write(folder / f"{name}.safetensors", arrays)


def test_the_readme_has_exactly_two_commands_for_a_fresh_machine() -> None:
    fresh = [line for block in blocks("bash", README) for line in block.splitlines() if "venv" in line]
    assert len(fresh) == 2
    assert all(line.startswith("python3 -m venv .venv && .venv/bin/pip install ") for line in fresh)
    assert "image2image.py" in fresh[0]
    assert fresh[1].endswith(".venv/bin/pytest")


@pytest.mark.parametrize("lines", commands(), ids=lambda lines: " ".join(lines[0][1])[:60])
def test_every_command_runs(
    lines: list[tuple[str, list[str]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stable_diffusion").mkdir()
    (tmp_path / "stable_diffusion" / "demo").symlink_to(DEMO)
    (tmp_path / "photo.jpg").symlink_to(DEMO / "sketch.png")
    if any(word.endswith(".safetensors") for _, words in lines for word in words):
        _own_files(tmp_path)
    monkeypatch.setattr(samplers, "TRUTH", 200)
    for name, words in lines:
        if "--against" in words:  # what it is measured against; .ci/run runs this test once more when it is there
            for peer in ("torch", "diffusers", "transformers"):
                pytest.importorskip(peer)
        words = words if "--plan" in words else _quick(name, words)
        if (
            "--model" in words and not Path(words[words.index("--model") + 1]).exists()
        ):  # a model that would be downloaded: the same with the one that is here
            words[words.index("--model") + 1] = "demo"
        before = set(tmp_path.iterdir())
        assert COMMANDS[name](words) == 0
        made = [path for path in set(tmp_path.iterdir()) - before if path.suffix == ".png"]
        said = capsys.readouterr().out.strip()
        assert bool(made) == (not name.startswith("-m") and "--plan" not in words)
        if "--plan" in words:
            shown = next(block for block in blocks("") if block.startswith(said[:12])).strip()
            assert said.startswith(shown.removesuffix("..."))


def test_its_pictures_were_made_by_the_commands_beside_them_with_the_demo_that_is_here() -> None:
    shown = re.findall(r"<!-- ([^>]*\.png) -->\n```bash\n(.*?)\n```", EVERYTHING, re.DOTALL)
    assert len(shown) >= 5
    identity = StableDiffusion("demo", float16=False).identity
    for names, lines in shown:
        prompt = shlex.split(lines.splitlines()[0].partition(".py ")[2])
        for name in names.split():
            recipe = Recipe.from_json(read_attached(ROOT / "demo" / name).texts[RECIPE])
            assert recipe.model.hash == identity, f"{name} was made with another checkpoint"
            assert recipe.settings.prompt in prompt, name
            assert f"--seed {recipe.settings.seed} " in lines, name


@pytest.mark.parametrize("page", [page for page, text in TEXTS.items() if blocks("python", text)])
def test_the_lines_of_python_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stable_diffusion").mkdir()
    (tmp_path / "stable_diffusion" / "demo").symlink_to(DEMO)
    names: dict[str, object] = {}
    for code in blocks("python", TEXTS[page]):
        assert code.count("steps=20") == 1
        exec(code.replace("steps=20", "steps=4"), names)
    if page == "README.md":
        assert (tmp_path / "painting.png").exists() and len(names["rows"]) == 3  # type: ignore[arg-type]
    else:
        assert tuple(names["pictures"].shape) == (2, 128, 128, 3)  # type: ignore[attr-defined]


def _anchors(text: str) -> set[str]:
    """The names by which the headings of a page are linked to."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", TEXTS)
def test_no_link_is_dead(page: str) -> None:
    for target, anchor in re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", TEXTS[page]):
        place = (ROOT / page).parent / target if target else ROOT / page
        assert place.exists(), target
        if anchor:
            assert anchor in _anchors(place.read_text(encoding="utf-8")), f"{target}#{anchor}"


def test_the_readme_is_short_and_python_comes_early() -> None:
    lines = README.splitlines()
    assert len(lines) <= 200 and lines.index("```python") < 80


def test_every_page_is_in_the_index() -> None:
    index = TEXTS["docs/README.md"]
    assert all(f"({path.name})" in index for path in (ROOT / "docs").glob("*.md") if path.name != "README.md")
