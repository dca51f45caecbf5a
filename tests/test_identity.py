"""One hash for one checkpoint, wherever it lies, and another for every other."""

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from stable_diffusion import StableDiffusion
from stable_diffusion.cache import recall
from stable_diffusion.weights import identity
from stable_diffusion.weights.identity import content_hash

SD1, SD2 = (Path(__file__).parent / "data" / name for name in ("sd1", "sd2"))
UNET, VAE = (f"{net}/diffusion_pytorch_model.safetensors" for net in ("unet", "vae"))
NEEDED = (
    "model_index.json", "scheduler/scheduler_config.json", "unet/config.json", "vae/config.json", UNET, VAE,
    "text_encoder/config.json", "text_encoder/model.safetensors", "tokenizer/vocab.json", "tokenizer/merges.txt",
)  # fmt: skip


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "stable-diffusion-mlx"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of a checkpoint."""
    return Path(shutil.copytree(SD1, tmp_path / "models" / "copy"))


def flip(path: Path, place: int = -1) -> None:
    """Change one bit, and neither size nor time."""
    about, data = path.stat(), bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


def test_a_copy_by_any_name_is_the_same(folder: Path) -> None:
    made = content_hash(SD1, False)
    assert len(made) == 64 and set(made) <= set("0123456789abcdef")
    assert content_hash(folder, False) == made
    assert content_hash(folder.rename(folder.with_name("ü 海")), False) == made
    (folder.parent / "link").symlink_to(folder.with_name("ü 海"))
    assert content_hash(folder.parent / "link", False) == made


def test_other_checkpoints_are_others() -> None:
    assert content_hash(SD1, False) != content_hash(SD2, False)


@pytest.mark.parametrize("name", NEEDED)
def test_one_bit_makes_it_another(folder: Path, name: str) -> None:
    flip(folder / name)
    assert content_hash(folder, False) != content_hash(SD1, False)


def test_one_bit_in_the_middle_of_the_weights_makes_it_another(folder: Path) -> None:
    flip(folder / UNET, place=(folder / UNET).stat().st_size // 2)
    assert content_hash(folder, False) != content_hash(SD1, False)


def test_a_missing_file_makes_it_another(folder: Path) -> None:
    (folder / VAE).unlink()
    assert content_hash(folder, False) != content_hash(SD1, False)


def test_it_matters_where_a_content_is(folder: Path) -> None:
    (folder / UNET).rename(folder / "swapped")
    (folder / VAE).rename(folder / UNET)
    (folder / "swapped").rename(folder / VAE)
    assert content_hash(folder, False) != content_hash(SD1, False)


def test_a_first_text_encoder_is_no_second(folder: Path) -> None:
    for name in ("text_encoder", "tokenizer"):
        (folder / name).rename(folder / f"{name}_2")
    assert content_hash(folder, False) != content_hash(SD1, False)


def test_files_that_loading_does_not_take_do_not_matter(folder: Path) -> None:
    (folder / "safety_checker").mkdir()
    for name in (
        "README.md", "picture.png", "outputs.npz", "v1-5-pruned.safetensors", "unet/diffusion_pytorch_model.bin",
        "safety_checker/model.safetensors", "unet/.hidden", "vae/notes.json",
    ):  # fmt: skip
        (folder / name).write_text("something else")
    assert content_hash(folder, False) == content_hash(SD1, False)


def test_half_precision_has_weights_of_its_own(folder: Path) -> None:
    shutil.copy(folder / VAE, folder / "unet" / "diffusion_pytorch_model.fp16.safetensors")
    assert content_hash(folder, False) == content_hash(SD1, False)
    assert content_hash(folder, True) != content_hash(SD1, True)
    assert content_hash(SD1, True) == content_hash(SD1, False)  # which has but one precision


def test_a_part_has_a_hash_of_its_own(folder: Path) -> None:
    parts = {name: content_hash(folder, False, (name,)) for name in ("unet", "vae", "text_encoder")}
    assert len({*parts.values(), content_hash(folder, False)}) == 4
    flip(folder / UNET)
    (folder / "model_index.json").unlink()
    for name, before in parts.items():
        assert (content_hash(folder, False, (name,)) == before) == (name != "unet")
    both = content_hash(folder, False, ("vae", "unet"))
    assert both == content_hash(folder, False, ("unet", "vae")) != content_hash(folder, False, ("vae",))


def test_a_models_identity_is_its_contents(folder: Path) -> None:
    models = [StableDiffusion(str(path), float16=False) for path in (SD1, folder)]
    assert models[0].identity == models[1].identity == content_hash(SD1, False)


# What is remembered


def test_a_large_files_hash_is_remembered_until_its_size_or_time_changes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "_LARGE", 100_000)
    made = content_hash(folder, False)
    assert made == content_hash(SD1, False)
    flip(folder / UNET)  # which nobody could notice but by reading it
    assert content_hash(folder, False) == made
    os.utime(folder / UNET)
    changed = content_hash(folder, False)
    assert changed != made
    about = (folder / UNET).stat()
    with (folder / UNET).open("ab") as file:
        file.write(b" ")
    os.utime(folder / UNET, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert content_hash(folder, False) not in (made, changed)


def test_only_large_files_are_remembered(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = content_hash(folder, False)
    assert not cache.exists()
    monkeypatch.setattr(identity, "_LARGE", (folder / UNET).stat().st_size)
    assert content_hash(folder, False) == made
    ((place, known),) = recall("hashes").items()
    assert place.startswith(str(folder / UNET))
    assert known == hashlib.sha256((folder / UNET).read_bytes()).hexdigest()
    flip(folder / VAE)
    assert content_hash(folder, False) != made


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff"])
def test_a_damaged_cache_changes_nothing(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setattr(identity, "_LARGE", 0)
    made = content_hash(folder, False)
    (cache / "hashes.json").write_bytes(content)
    assert content_hash(folder, False) == made
    assert recall("hashes")


def test_what_is_remembered_is_believed_only_if_it_is_a_text(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "_LARGE", 100_000)
    made = content_hash(folder, False)
    path = cache / "hashes.json"
    path.write_text(path.read_text().replace(f'"{hashlib.sha256((folder / UNET).read_bytes()).hexdigest()}"', "7"))
    assert content_hash(folder, False) == made


def test_a_cache_that_cannot_be_written_changes_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = content_hash(folder, False)
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(identity, "_LARGE", 0)
    assert content_hash(folder, False) == made
    flip(folder / UNET)
    assert content_hash(folder, False) != made


# The Hub's cache


def as_in_the_hubs_cache(folder: Path, repo: Path, large: int = 50_000) -> Path:
    """A snapshot of links to blobs: small files' are named by git's SHA-1, large ones' by their SHA-256."""
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        data = path.read_bytes()
        name = (hashlib.sha256 if len(data) >= large else hashlib.sha1)(data).hexdigest()
        blob, link = repo / "blobs" / name, repo / "snapshots" / "a1b2" / path.relative_to(folder)
        for file in (blob, link):
            file.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(data)
        link.symlink_to(os.path.relpath(blob, link.parent))
    return repo / "snapshots" / "a1b2"


def test_a_download_and_a_copy_of_it_are_the_same(tmp_path: Path) -> None:
    snapshot = as_in_the_hubs_cache(SD1, tmp_path / "models--a--b")
    assert (snapshot / UNET).is_symlink()
    assert content_hash(snapshot, False) == content_hash(SD1, False)
    assert content_hash(Path(shutil.copytree(snapshot, tmp_path / "copy")), False) == content_hash(SD1, False)


def test_a_large_blob_is_known_by_its_name_and_a_small_one_is_read(tmp_path: Path) -> None:
    snapshot = as_in_the_hubs_cache(SD1, tmp_path / "models--a--b")
    flip((snapshot / UNET).resolve())
    assert content_hash(snapshot, False) == content_hash(SD1, False)
    flip((snapshot / "unet" / "config.json").resolve())
    assert content_hash(snapshot, False) != content_hash(SD1, False)


def test_a_net_in_a_linked_folder_counts_too(folder: Path) -> None:
    (folder / "vae").rename(folder.parent / "shared vae")
    (folder / "vae").symlink_to(folder.parent / "shared vae")
    StableDiffusion(str(folder), float16=False).ensure_models_are_loaded()
    assert content_hash(folder, False) == content_hash(SD1, False)
    assert content_hash(folder, False, ("vae",)) == content_hash(SD1, False, ("vae",))
