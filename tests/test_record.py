"""All steps of many runs in one file: they come back bit for bit, or the file is refused in one sentence."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import mlx.core as mx
import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from stable_diffusion.diffusion.samplers import Step
from stable_diffusion.diffusion.steps import FrameKind
from stable_diffusion.jobs.model import Model
from stable_diffusion.jobs.originals import Originals
from stable_diffusion.jobs.recipe import Recipe
from stable_diffusion.jobs.record import VERSION, KeptStep, Record, Row, load_record, save_record
from stable_diffusion.jobs.view import View
from tests.plans import complete

DATA = Path(__file__).parent / "data"
SETTINGS = complete(prompt="a house", width=64, height=48, steps=2)
RNG = np.random.default_rng(0)


def latents() -> mx.array:
    """Any bits at all, among them infinities, -0 and the smallest numbers."""
    bits = RNG.integers(0, 2**32, (1, 6, 8, 4), dtype=np.uint32)
    values = np.nan_to_num(bits.view(np.float32), nan=1.0)
    values.flat[:4] = -0.0, np.inf, 1e-45, np.float32(0.1)
    return mx.array(values)


def picture() -> Image.Image:
    return Image.fromarray(RNG.integers(0, 256, (48, 64, 3), dtype=np.uint8))


def row(heading: str, strength: float, *sigmas: float, frames: tuple[tuple[int, FrameKind], ...] = ()) -> Row:
    steps = [Step(i - 1, sigma, latents(), latents()) for i, sigma in enumerate(sigmas)]
    kept = [KeptStep(step.index, step.sigma, step) for step in steps]
    for i, kind in frames:
        kept[i].pictures[kind] = picture()
    return Row(heading, f"-{heading}", strength=strength, steps=kept)


RECORD = Record(
    recipe=Recipe(
        SETTINGS, Model("sd1.5", "ab" * 32, False), view=View(highlight=0.5, triangle_align="right", show_denoising=2)
    ),
    kind="triangle",
    rows=[
        row("strength 1", 1.0, 14.614641, 1 / 3, 0.0, frames=((1, "clean"), (1, "noisy"))),
        row("Stärke ½", 0.5, 0.1 + 0.2, 0.0, frames=((0, "noisy"),)),
        row("", 0.0, 5.0),
    ],
    sheet="-triangle",
    originals=Originals(picture(), picture().convert("L"), "ü.png"),
)
ONE_ROW = replace(RECORD, kind="pictures", rows=[replace(RECORD.rows[1], strength=None)], sheet=None, originals=None)
GRID = Record(
    recipe=RECORD.recipe,
    kind="grid",
    rows=[replace(r, strength=None, label=f"label {i}") for i, r in enumerate((*RECORD.rows, Row("", "")))],
    sheet="-grid",
    lines=("cfg 1", "cfg 3"),
    columns=("seed 1", "seed 2"),
)


def bits(array: mx.array) -> np.ndarray:
    """What is stored, whatever it stands for."""
    return np.array(array).view(np.uint32)


def pixels(originals: Originals | None) -> list[bytes]:
    both = () if originals is None else (originals.picture, originals.mask)
    return [picture.tobytes() for picture in both if picture is not None]


def assert_same(one: Record, other: Record) -> None:
    for name in ("recipe", "kind", "sheet", "lines", "columns"):
        assert getattr(one, name) == getattr(other, name), name
    assert pixels(one.originals) == pixels(other.originals)
    for a, b in zip(one.rows, other.rows, strict=True):
        assert (a.heading, a.ending, a.strength) == (b.heading, b.ending, b.strength)
        for ours, theirs in zip(a.steps, b.steps, strict=True):
            assert (ours.index, ours.sigma) == (theirs.index, theirs.sigma)
            assert ours.latents is not None and theirs.latents is not None
            for name in ("x", "clean"):
                assert np.array_equal(bits(getattr(ours.latents, name)), bits(getattr(theirs.latents, name)))
            shown = [{kind: p.tobytes() for kind, p in step.pictures.items()} for step in (ours, theirs)]
            assert shown[0] == shown[1]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with a record."""
    save_record(RECORD, tmp_path / "a.safetensors")
    return tmp_path / "a.safetensors"


def rewritten(path: Path, metadata: dict[str, str | None], arrays: dict[str, mx.array | None] | None = None) -> Path:
    """The file with other metadata or arrays; what is None is left out."""
    kept, about = cast(tuple[dict[str, Any], dict[str, Any]], mx.load(str(path), return_metadata=True))
    mx.eval(kept)
    merged = [
        {k: v for k, v in {**a, **b}.items() if v is not None} for a, b in ((kept, arrays or {}), (about, metadata))
    ]
    mx.save_safetensors(str(path), *merged)
    return path


def about_with(path: Path, **changes: Any) -> Path:
    """The file with something else in what it says of itself."""
    with safe_open(path, "np") as file:
        about = json.loads(file.metadata()["record"])
    return rewritten(path, {"record": json.dumps({**about, **changes})})


def refusal(path: Path, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        load_record(path)
    assert repr(str(path)) in str(caught.value)
    assert "\n" not in str(caught.value)


# There and back


@pytest.mark.parametrize("record", [RECORD, ONE_ROW, GRID], ids=["triangle", "one row", "grid with an empty place"])
def test_a_record_comes_back_bit_for_bit(tmp_path: Path, record: Record) -> None:
    save_record(record, tmp_path / "ü a.safetensors")
    assert_same(load_record(tmp_path / "ü a.safetensors"), record)


def test_rows_that_never_came_are_not_in_the_file(tmp_path: Path) -> None:
    save_record(replace(RECORD, rows=[*RECORD.rows, Row("strength 0.9", "", strength=0.9)]), tmp_path / "a.safetensors")
    assert_same(load_record(tmp_path / "a.safetensors"), RECORD)


def test_a_grid_that_was_stopped_keeps_its_places(tmp_path: Path) -> None:
    first, second, third, _ = GRID.rows
    save_record(replace(GRID, rows=[first, Row("", ""), second, third]), tmp_path / "a.safetensors")
    assert [row.label for row in load_record(tmp_path / "a.safetensors").rows] == ["label 0", "", "label 1", "label 2"]


def test_a_record_can_be_written_again(path: Path) -> None:
    loaded = load_record(path)
    save_record(loaded, path.with_name("b.safetensors"))
    assert_same(load_record(path.with_name("b.safetensors")), RECORD)


def test_other_programs_find_the_arrays_under_their_names(path: Path) -> None:
    with safe_open(path, "np") as file:
        assert set(file.keys()) == {
            *(f"row{r}.{name}" for r in range(3) for name in ("x", "clean")),
            "row0.frame1.clean", "row0.frame1.noisy", "row1.frame0.noisy", "original", "mask",
        }  # fmt: skip
        x = file.get_tensor("row0.x")
        assert (x.shape, x.dtype) == ((3, 1, 6, 8, 4), np.float32)
        assert np.array_equal(x[1].view(np.uint32), bits(RECORD.rows[0].steps[1].latents.x))  # type: ignore[union-attr]
        assert file.get_tensor("row0.frame1.clean").shape == (48, 64, 3)
        assert Recipe.from_json(file.metadata()["stable-diffusion-mlx"]) == RECORD.recipe
        assert json.loads(file.metadata()["record"])["steps"][1] == [[-1, 0.1 + 0.2], [0, 0.0]]


def test_a_record_that_was_cut_off_by_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = mx.save_safetensors

    def half(name: str, *rest: Any) -> None:
        whole(name, *rest)
        Path(name).write_bytes(Path(name).read_bytes()[:500])

    monkeypatch.setattr(mx, "save_safetensors", half)
    with pytest.raises(OSError, match="is the disk full"):
        save_record(RECORD, tmp_path / "a.safetensors")


# What is no record


def test_a_missing_file_and_a_folder_are_no_record(tmp_path: Path) -> None:
    refusal(tmp_path / "missing.safetensors", "there is no file")
    refusal(tmp_path, "there is no file")


def test_the_weights_of_a_net_are_no_record() -> None:
    refusal(DATA / "sd1" / "unet" / "diffusion_pytorch_model.safetensors", "was not written by --save-latents")


@pytest.mark.parametrize("content", [b"", b"text", b"\xff" * 64, b"\x89PNG\r\n\x1a\n" + bytes(100)])
def test_another_file_is_no_record(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.safetensors").write_bytes(content)
    refusal(tmp_path / "a.safetensors", "is damaged, or no file of latents")


def test_a_file_that_was_cut_off_is_damaged(path: Path) -> None:
    whole = path.read_bytes()
    for n in (7, 8, 9, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:n])
        refusal(path, "is damaged")


def test_damage_to_its_head_is_one_sentence_or_a_record(path: Path) -> None:
    whole, rng, sentences = path.read_bytes(), np.random.default_rng(1), []
    head = 8 + int.from_bytes(whole[:8], "little")
    for _ in range(200):
        damaged = bytearray(whole)
        for place in rng.integers(0, head, 3):
            damaged[place] = rng.integers(0, 256)
        path.write_bytes(damaged)
        try:
            assert isinstance(load_record(path), Record)
        except ValueError as error:
            sentences.append(str(error))
    assert len(sentences) > 50
    assert not [sentence for sentence in sentences if "\n" in sentence]


@pytest.mark.parametrize("version", [VERSION + 1, "1", None])
def test_a_record_of_another_version_is_not_guessed_at(path: Path, version: Any) -> None:
    refusal(
        about_with(path, version=version), f"of version {version!r}, and {VERSION} is known here: update this package"
    )


def test_a_recipe_of_a_newer_version_says_so_too(path: Path) -> None:
    refusal(rewritten(path, {"stable-diffusion-mlx": '{"version": 99}'}), "version 99.*update this package")


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"record": None}, "was not written by --save-latents"),
        ({"record": "{"}, "is damaged"),
        ({"stable-diffusion-mlx": None}, "is damaged"),
        ({"stable-diffusion-mlx": "{"}, "its settings are damaged"),
    ],
)
def test_metadata_that_are_damaged_are_told(path: Path, metadata: dict[str, str | None], words: str) -> None:
    refusal(rewritten(path, metadata), words)


@pytest.mark.parametrize("steps", [None, 3, [3], [[3]], [[[1]]], [[[1, 2.0, 3]]], [[[0, 1.0]]] * 4])
def test_steps_that_are_damaged_are_told(path: Path, steps: Any) -> None:
    refusal(about_with(path, steps=steps), "is damaged")


PIXELS = mx.zeros((8, 8, 3), mx.uint8)


@pytest.mark.parametrize(
    "arrays",
    [
        {"row0.clean": None},
        {"row2.x": mx.array(1.0)},
        {"row0.frameA.noisy": PIXELS},
        {"x.frame1.y": PIXELS},
        {"row1.frame0.noisy": mx.zeros((4, 4))},
        {"row1.frame9.noisy": PIXELS},
        {"row-1.frame0.noisy": PIXELS},
        {"row1.frame-1.noisy": PIXELS},
        {"original": mx.zeros((3,))},
    ],
)
def test_arrays_that_are_damaged_are_told(path: Path, arrays: dict[str, mx.array | None]) -> None:
    refusal(rewritten(path, {}, arrays), "is damaged")


@pytest.mark.parametrize("record", ["[]", "3", "null", '"text"'])
def test_metadata_of_another_kind_are_damaged(path: Path, record: str) -> None:
    refusal(rewritten(path, {"record": record}), "is damaged")


def test_more_steps_than_there_are_arrays_of_are_damage(path: Path) -> None:
    refusal(rewritten(path, {}, {"row0.x": mx.zeros((1, 1, 6, 8, 4))}), "is damaged")


@pytest.mark.parametrize(
    "changes", [{"kind": 3}, {"kind": "circle"}, {"headings": 5}, {"headings": ["one of three"]}, {"view": [1]}]
)
def test_what_a_record_says_of_itself_is_checked(path: Path, changes: dict[str, Any]) -> None:
    refusal(about_with(path, **changes), "is damaged")
