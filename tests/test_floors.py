"""The floors of the package: who may import whom, and the one home of each library."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "stable_diffusion"
SCRIPTS = [ROOT / "txt2image.py", ROOT / "image2image.py"]
FILES = [*sorted(PACKAGE.rglob("*.py")), *SCRIPTS]

# From the ground up; what stands on one floor is strangers to one another.
FLOORS: list[set[str]] = [
    {"values"},
    {"config", "settings", "backend", "cache", "devices", "start", "version", "whole"},
    {"compute", "prompts", "diffusion", "pictures"},
    {"presets", "models"},
    {"weights", "exchange"},
    {"pipeline"},
    {"jobs"},
    {"cli"},
    {"txt2image", "image2image", "bench", "convert", "__init__"},
    {"__main__"},
]

# Where a library may be imported. The others belong to Python, or are MLX, which is everywhere.
HOMES = {
    "PIL": ("stable_diffusion/pictures/",),
    "shtab": ("stable_diffusion/cli/parser.py",),
    "imageio_ffmpeg": ("stable_diffusion/pictures/animation.py",),
    "pillow_heif": ("stable_diffusion/pictures/reading.py",),
    "huggingface_hub": ("stable_diffusion/weights/hub.py",),
    "safetensors": ("stable_diffusion/weights/",),
    "numpy": (
        "stable_diffusion/pictures/",
        "stable_diffusion/weights/",
        "stable_diffusion/diffusion/generators.py",  # another tool's random numbers
    ),
    "tokenizers": ("stable_diffusion/prompts/tokenizer.py",),
    "tqdm": ("stable_diffusion/cli/", "stable_diffusion/pipeline/notebook.py"),
    "argparse": ("stable_diffusion/cli/", "stable_diffusion/bench/"),
    # One program that other people's nets are measured by: see test_nothing_imports_the_program_that_knows_torch.
    **dict.fromkeys(("torch", "diffusers", "transformers", "resident"), ("stable_diffusion/bench/torch_side.py",)),
    "mlx": ("stable_diffusion/",),
    "txt2image": ("image2image.py",),  # how a command is started stands outside of the package, whose import takes long
}


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> Iterator[str]:
    """The full names of the modules that a file imports, wherever in the file."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (above, node.module)))
            if module == "stable_diffusion":  # `from .. import backend` names a module, and not the package
                yield from (f"{module}.{alias.name}" for alias in node.names)
            else:
                yield module


def part_of(path: Path) -> str:
    """The file or folder of the package that a file belongs to."""
    return path.stem if path.parent in (ROOT, PACKAGE) else path.relative_to(PACKAGE).parts[0]


def floor_of(part: str) -> int:
    return next(level for level, parts in enumerate(FLOORS) if part in parts)


def test_the_page_on_architecture_shows_the_floors_as_they_are() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    drawn = {
        int(level): set(re.findall(r"`(\w+)`", rooms))
        for level, rooms in re.findall(r"^\| (\d+) \| (.*) \|$", page, re.M)
    }
    assert drawn == dict(enumerate(FLOORS))


def test_every_file_stands_on_a_floor() -> None:
    homeless = [named(path) for path in FILES if not any(part_of(path) in parts for parts in FLOORS)]
    assert not homeless, f"{homeless} are on no floor of docs/architecture.md"


def test_a_file_imports_its_own_folder_and_lower_floors() -> None:
    for path in FILES:
        own = part_of(path)
        for module in imports(path):
            if module.startswith("stable_diffusion."):
                part = module.split(".")[1]
                if part != own:
                    assert floor_of(part) < floor_of(own), f"{named(path)} imports {module}"


def test_no_imports_go_in_a_circle() -> None:
    """Neither those that Python follows nor those for types alone."""
    names = {path: ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in FILES}
    graph = {names[path]: {m for m in imports(path) if m in names.values()} - {names[path]} for path in FILES}
    while free := [name for name, needs in graph.items() if not needs & graph.keys()]:
        for name in free:
            del graph[name]
    assert not graph, f"these import each other: {sorted(graph)}"


def test_every_library_has_its_home() -> None:
    for path in FILES:
        for module in imports(path):
            library = module.split(".")[0]
            if library == "stable_diffusion" or (library in sys.stdlib_module_names and library not in HOMES):
                continue
            assert library in HOMES, f"{named(path)} imports {library}, which is no dependency"
            assert named(path).startswith(HOMES[library]), f"{named(path)} imports {library}"


def test_prompts_are_read_without_nets() -> None:
    for path in (PACKAGE / "prompts").glob("*.py"):
        assert not [module for module in imports(path) if module.startswith("mlx")], named(path)


def test_nets_are_architecture_alone() -> None:
    """How arrays are computed, on which device and in what pieces, is compute's: a net names the rows, and no more."""
    for path in (PACKAGE / "models").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").endswith("compute.streams"):
                assert {alias.name for alias in node.names} == {"by_rows"}, named(path)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "mx":
                assert node.attr not in {"cpu", "gpu", "cuda", "metal", "stream", "eval", "compile"}, named(path)


def test_nothing_imports_the_program_that_knows_torch() -> None:
    """It is run by its path, in a process of its own, where somebody asks for a comparison."""
    program = PACKAGE / "bench" / "torch_side.py"
    assert "torch" in set(imports(program))
    for path in FILES:
        assert not any(module.endswith("torch_side") for module in imports(path)), named(path)
    assert not any(module.startswith("stable_diffusion") for module in imports(program))


def test_only_the_command_line_prints() -> None:
    for path in FILES:
        if path in SCRIPTS or part_of(path) in ("cli", "bench", "start", "__main__"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id != "print", f"{named(path)}, line {node.lineno} prints"


def test_every_module_is_a_noun_that_says_what_it_is() -> None:
    nothing = {"utils", "util", "common", "helpers", "helper", "base", "misc", "manager"}
    for path in PACKAGE.rglob("*"):
        assert not nothing & {path.stem, *path.stem.split("_")}, named(path)


def test_the_imports_of_a_file_are_found() -> None:
    """The reader of imports itself: relative ones, those inside functions, and those of a module by its package."""
    found = set(imports(PACKAGE / "cli" / "terminal.py"))
    assert {"stable_diffusion.backend", "stable_diffusion.jobs.events", "mlx.core", "tqdm"} <= found
    assert "stable_diffusion.cli.command" in set(imports(ROOT / "txt2image.py"))
