"""Checkpoints that are written: fused, quantised, in either form; and pickles, which are read without being run."""

import json
import os
import zipfile
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten
from safetensors.numpy import load_file

from stable_diffusion import CheckpointError, Settings, StableDiffusion
from stable_diffusion.cli.converting import convert
from stable_diffusion.weights import pickles, saving
from stable_diffusion.weights.manifest import KEY
from stable_diffusion.weights.pickles import read_pickle
from stable_diffusion.weights.quantize import FLOATS
from stable_diffusion.weights.single import single_checkpoint
from stable_diffusion.weights.tensors import read_header
from stable_diffusion.whole import unfinished_name
from tests.ldm_files import small, write
from tests.torch_files import Module, Named, Storage, tensor, torch_file, whole_file

DATA = Path(__file__).parent / "data"
SETTINGS = Settings(prompt="a house", steps=2, width=32, height=32, seed=3)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {name: write(folder / f"{name}.safetensors", small(name)) for name in ("sd1", "sd2", "xl", "inpainting")}


def parameters(sd: StableDiffusion) -> dict[str, mx.array]:
    flat: dict[str, dict[str, mx.array]] = {n: dict(tree_flatten(net.parameters())) for n, net in sd.nets.items()}
    return {f"{name}.{k}": v for name, arrays in flat.items() for k, v in arrays.items()}


def assert_same(one: StableDiffusion, other: StableDiffusion) -> None:
    a, b = parameters(one), parameters(other)
    assert a.keys() == b.keys()
    assert not [name for name in a if not mx.array_equal(a[name], b[name])]
    assert one.schedule == other.schedule


def opened(place: Path | str, **more: Any) -> StableDiffusion:
    return StableDiffusion(str(place), float16=False, **more)


@pytest.mark.parametrize("family", ["sd1", "sd2", "xl", "inpainting"])
def test_there_and_back_again(family: str, files: dict[str, Path], tmp_path: Path) -> None:
    first = opened(files[family])
    first.save(tmp_path / "folder")
    second = opened(tmp_path / "folder")
    assert_same(first, second)
    second.save(tmp_path / "file.safetensors")
    third = opened(tmp_path / "file.safetensors")
    assert_same(first, third)
    assert third.texts.tokenizers[0]("a house, 海")[0] == first.texts.tokenizers[0]("a house, 海")[0]


@pytest.mark.parametrize("family", ["sd1", "sd2", "xl", "inpainting"])
def test_a_folder_that_diffusers_saved_is_saved_again(family: str, tmp_path: Path) -> None:
    """Nets that are too small for a file, whose heads and groups follow from their family."""
    first = opened(DATA / family)
    first.save(tmp_path / "folder")
    again = opened(tmp_path / "folder")
    assert_same(first, again)
    assert mx.array_equal(first.txt2img(SETTINGS), again.txt2img(SETTINGS))


@pytest.fixture(scope="module")
def plain_size(files: dict[str, Path]) -> int:
    """Bytes of a whole UNet."""
    return sum(v.nbytes for n, v in parameters(opened(files["sd1"])).items() if n.startswith("unet."))


@pytest.mark.parametrize("kind", [8, 4, *FLOATS])
def test_a_quantised_folder_says_so_and_loads_by_itself(
    kind: int | str, files: dict[str, Path], plain_size: int, tmp_path: Path
) -> None:
    first = opened(files["sd1"], quantize=kind)
    first.save(tmp_path / "q")
    again = opened(tmp_path / "q")
    assert_same(first, again)
    said = json.loads((tmp_path / "q/unet/config.json").read_text())["mlx_quantization"]
    assert said["kind"] == kind and "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q" in said["layers"]
    assert sum(f.stat().st_size for f in (tmp_path / "q" / "unet").iterdir()) < plain_size
    with pytest.raises(CheckpointError, match="has no form in one file"):
        first.save(tmp_path / "q.safetensors")


def test_loras_are_fused_and_lie_beside_what_is_quantised(files: dict[str, Path], tmp_path: Path) -> None:
    stem, rng = "lora_unet_mid_block_resnets_0_time_emb_proj", np.random.default_rng(1)
    other = "lora_unet_mid_block_resnets_1_time_emb_proj"
    tensors = {
        f"{stem}.lora_up.weight": rng.normal(size=(64, 2)),
        f"{stem}.lora_down.weight": rng.normal(size=(2, 128)),
        f"{other}.diff": rng.normal(size=(64, 128)),
        f"{other}.diff_b": rng.normal(size=(64,)),
    }
    lora = write(tmp_path / "l.safetensors", {name: a.astype(np.float32) for name, a in tensors.items()})
    for quantize in (None, 8):
        first = opened(files["sd1"], quantize=quantize, loras=[(lora, 0.5)])
        first.save(tmp_path / f"{quantize}")
        again = opened(tmp_path / f"{quantize}")
        assert_same(first, again)
        assert not mx.allclose(first.txt2img(SETTINGS), opened(files["sd1"], quantize=quantize).txt2img(SETTINGS))


def test_numbers_are_written_as_they_are_asked_for(files: dict[str, Path], tmp_path: Path) -> None:
    opened(files["sd1"]).save(tmp_path / "half", dtype=mx.float16)
    full, half = parameters(opened(files["sd1"])), parameters(opened(tmp_path / "half"))
    assert all(mx.array_equal(half[name], full[name].astype(mx.float16).astype(mx.float32)) for name in full)
    sizes = [sum(f.stat().st_size for f in p.rglob("*.safetensors")) for p in (tmp_path / "half", files["sd1"].parent)]
    assert sizes[0] < sizes[1]


@pytest.mark.parametrize("form", ["folder", "file.safetensors"])
def test_the_command_writes_numbers_as_they_were(form: str, files: dict[str, Path], tmp_path: Path) -> None:
    """Also of a file whose nets are of different kinds."""
    tensors = {
        name: array.astype(np.float16) if name.startswith("model.") and array.dtype == np.float32 else array
        for name, array in load_file(files["sd1"]).items()
    }
    source = write(tmp_path / "half.safetensors", tensors)
    assert convert([str(source), str(tmp_path / form)]) == 0
    written = sorted(tmp_path.joinpath(form).rglob("*.safetensors")) or [tmp_path / form]
    kinds: dict[str, set[str]] = {}
    for file in written:
        for name, array in load_file(file).items():
            net = file.parent.name if form == "folder" else "unet" if name.startswith("model.") else "vae"
            kinds.setdefault(net, set()).add(array.dtype.name)
    assert kinds["unet"] == {"float16"} and kinds["vae"] == {"float32"}
    assert_same(opened(tmp_path / form), opened(source))


def test_a_folder_is_written_whole_or_not_at_all(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sd = opened(files["sd1"])

    def full(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("stable_diffusion.weights.saving._write_tokenizer", full)
    with pytest.raises(OSError, match="the disk is full"):
        sd.save(tmp_path / "folder")
    assert os.listdir(tmp_path) == []


def test_words_that_were_taught_are_in_no_checkpoint(files: dict[str, Path], tmp_path: Path) -> None:
    """Neither those of an embedding, nor those that a LoRA brings."""
    vectors, stem = np.ones((2, 64), np.float32), "lora_unet_time_embedding_linear_1"
    pair = {f"{stem}.lora_up.weight": np.ones((128, 1)), f"{stem}.lora_down.weight": np.ones((1, 32))}
    tensors = {name: array.astype(np.float32) for name, array in pair.items()}
    bringing = write(tmp_path / "l.safetensors", tensors | {"bundle_emb.thing.emb_params": vectors})
    alone = write(tmp_path / "e.safetensors", {"emb_params": vectors})
    for more in ({"loras": [bringing]}, {"embeddings": [alone]}):
        with pytest.raises(CheckpointError, match="holds no words that were taught"):
            opened(files["sd1"], **more).save(tmp_path / "folder")


def test_layers_that_all_else_goes_through_stay_whole(files: dict[str, Path]) -> None:
    sd = opened(files["xl"], quantize=4)
    modules = {f"{net}.{path}": m for net, one in sd.nets.items() for path, m in one.named_modules()}
    whole = {path for path, module in modules.items() if isinstance(module, nn.Linear)}
    few = {path for path, module in modules.items() if isinstance(module, nn.QuantizedLinear)}
    assert {"unet.time_embedding.linear_1", "unet.add_embedding.linear_2", "text_encoder_2.text_projection"} <= whole
    assert all(path in whole for path in modules if path.endswith(("proj_in", "proj_out")))
    assert {"unet.mid_block.resnets.0.time_emb_proj", "text_encoder_1.encoder.layers.0.mlp.fc1"} <= few
    assert not [path for path in modules if path.endswith((".to_q", ".to_k", ".to_v")) and path in whole
                and not path.startswith("autoencoder")]  # fmt: skip


def test_what_is_quantised_is_not_quantised_again(files: dict[str, Path], tmp_path: Path) -> None:
    opened(files["sd1"], quantize=8).save(tmp_path / "q")
    with pytest.raises(CheckpointError, match=r"is quantised already \(8\): leave --quantize out"):
        opened(tmp_path / "q", quantize=4)


def test_what_can_not_be_written_is_refused(files: dict[str, Path], tmp_path: Path) -> None:
    sd = opened(files["sd1"])
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "x").write_text("mine")
    for place in (tmp_path / "there", files["sd1"]):
        with pytest.raises(CheckpointError, match="is there already"):
            sd.save(place)
    assert (tmp_path / "there" / "x").read_text() == "mine"


def test_a_prediction_that_was_named_is_written(files: dict[str, Path], tmp_path: Path) -> None:
    for form in ("folder", "file.safetensors"):
        opened(files["xl"], prediction="v_prediction").save(tmp_path / form)
        assert opened(tmp_path / form).schedule.prediction_type == "v_prediction"


# The command


def test_the_command_makes_a_folder_and_a_file(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert convert([str(files["sd1"]), str(tmp_path / "folder"), "--dtype", "bfloat16"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "folder")
    assert convert([str(tmp_path / "folder"), str(tmp_path / "back.safetensors")]) == 0
    back, first = parameters(opened(tmp_path / "back.safetensors")), parameters(opened(files["sd1"]))
    assert all(mx.array_equal(back[n], first[n].astype(mx.bfloat16).astype(mx.float32)) for n in first)
    assert convert([str(files["sd1"]), str(tmp_path / "folder")]) == 1
    assert "is there already" in capsys.readouterr().err
    assert convert([str(files["sd1"]), str(tmp_path / "new.ckpt")]) == 1
    assert convert([str(tmp_path / "nowhere.ckpt"), str(tmp_path / "x")]) == 1
    assert "there is no file" in capsys.readouterr().err and not (tmp_path / "x").exists()


# Pickles


X = np.arange(12, dtype=np.float32).reshape(3, 4)


def test_a_pickles_tensors_are_read_with_their_strides(tmp_path: Path) -> None:
    half = np.array([1.5, -2], np.float16)
    brain = np.array([0x3FC0, 0xC000], np.uint16)  # 1.5 and -2 as bfloat16
    table = OrderedDict(
        a=tensor("0", X),
        b=tensor("0", X.T),
        c=tensor("0", X[1:], offset=4),
        d=tensor("1", half, "HalfStorage"),
        e=tensor("2", brain, "BFloat16Storage"),
        f=tensor("3", X.astype(np.float64), "DoubleStorage"),
    )
    content = {"state_dict": table, "epoch": 3}
    members = {
        "data/0": X.tobytes(),
        "data/1": half.tobytes(),
        "data/2": brain.tobytes(),
        "data/3": X.astype("f8").tobytes(),
    }
    file = torch_file(tmp_path / "m.ckpt", content, {f"model/{k}": v for k, v in members.items()})
    found = read_pickle(file)
    assert sorted(found) == list("abcdef")
    for name, wanted in {"a": X, "b": X.T, "c": X[1:], "f": X}.items():
        assert np.array_equal(np.array(found[name]), wanted)
    assert found["d"].tolist() == [1.5, -2] and found["e"].dtype == mx.bfloat16 and found["e"].tolist() == [1.5, -2]


def test_lightnings_callbacks_are_nothing(tmp_path: Path) -> None:
    callback = Named("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint")
    content = {"state_dict": {"a": tensor("0", X)}, "callbacks": {"x": callback}}
    assert list(read_pickle(torch_file(tmp_path / "m.ckpt", content, {"model/data/0": X.tobytes()}))) == ["a"]


@pytest.mark.parametrize(
    ("module", "name"),
    [("os", "system"), ("posix", "system"), ("builtins", "eval"), ("builtins", "getattr"), ("subprocess", "Popen"),
     ("torch", "load"), ("torch.hub", "load"), ("numpy", "load"), ("pytorch_lightning", "Trainer"),
     ("collections", "namedtuple"), ("stable_diffusion.weights.pickles", "os")],
)  # fmt: skip
def test_whatever_else_a_pickle_asks_for_is_refused_by_name(module: str, name: str, tmp_path: Path) -> None:
    attack = Named(module, name, f"touch {tmp_path / 'harm'}")
    file = torch_file(
        tmp_path / "m.ckpt", {"state_dict": {"a": tensor("0", X), "b": attack}}, {"model/data/0": X.tobytes()}
    )
    with pytest.raises(CheckpointError, match=rf"it asks for {module}\.{name}, which no model needs"):
        read_pickle(file)
    assert not (tmp_path / "harm").exists()


def test_damaged_pickles_are_refused(tmp_path: Path) -> None:
    file = torch_file(tmp_path / "m.ckpt", {"a": tensor("0", X)}, {"model/data/0": X.tobytes()[:40]})
    with pytest.raises(CheckpointError, match="reaches beyond its storage"):
        read_pickle(file)
    huge = torch_file(tmp_path / "n.ckpt", {"a": tensor("0", X, offset=-1)}, {"model/data/0": X.tobytes()})
    with pytest.raises(CheckpointError, match="reaches beyond"):
        read_pickle(huge)
    for bad in ("../evil", "model/data/../x", "model/code/run.py"):
        odd = torch_file(tmp_path / "o.ckpt", {"a": 1}, {bad: b""})
        with pytest.raises(CheckpointError, match="is no PyTorch file"):
            read_pickle(odd)
    data = file.read_bytes()
    for keep in (0, 10, len(data) // 2):
        (tmp_path / "cut.ckpt").write_bytes(data[:keep])
        with pytest.raises(CheckpointError, match="is no zip file"):
            read_pickle(tmp_path / "cut.ckpt")
    with zipfile.ZipFile(tmp_path / "p.ckpt", "w") as archive:
        archive.writestr("model/data.pkl", b"\x80\x02garbage")
    with pytest.raises(CheckpointError, match=r"is damaged or cut short|is refused"):
        read_pickle(tmp_path / "p.ckpt")


def test_numbers_that_would_not_fit_into_memory_are_refused(tmp_path: Path) -> None:
    """One number that is repeated without end, and a file that is packed."""
    repeated = Named("torch._utils", "_rebuild_tensor_v2", Storage("FloatStorage", "0"), 0, (10**9, 10**9), (0, 0))
    file = torch_file(tmp_path / "m.ckpt", {"a": repeated}, {"model/data/0": X.tobytes()})
    with pytest.raises(CheckpointError, match="reaches beyond its storage"):
        read_pickle(file)
    with zipfile.ZipFile(tmp_path / "z.ckpt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model/data.pkl", b"N." + b"0" * 10**6)
    with pytest.raises(CheckpointError, match="is packed"):
        read_pickle(tmp_path / "z.ckpt")


def test_a_pickle_changes_nothing_that_the_next_one_is_given(tmp_path: Path) -> None:
    """BUILD sets attributes of functions too."""
    program = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(N}X\x04\x00\x00\x00harmX\x01\x00\x00\x00xstb."
    with zipfile.ZipFile(tmp_path / "m.ckpt", "w") as archive:
        archive.writestr("model/data.pkl", program)
    with pytest.raises(CheckpointError):
        read_pickle(tmp_path / "m.ckpt")
    assert not hasattr(pickles._tensor, "harm") and not vars(pickles._tensor)


def test_an_enormous_program_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = torch_file(tmp_path / "m.ckpt", {"a": "x" * 1000}, {})
    monkeypatch.setattr(pickles, "MOST_PICKLE", 100)
    with pytest.raises(CheckpointError, match="of a reasonable size"):
        read_pickle(file)


def test_a_file_of_a_whole_model_is_converted(files: dict[str, Path], tmp_path: Path) -> None:
    file = whole_file(tmp_path / "old.ckpt", load_file(files["sd1"]))
    assert convert([str(file), str(tmp_path / "new.safetensors")]) == 0
    assert_same(opened(tmp_path / "new.safetensors"), opened(files["sd1"]))
    assert sorted(os.listdir(tmp_path)) == ["new.safetensors", "old.ckpt"]


@pytest.mark.parametrize("what", ["autoencoder", "LoRA", "textual inversion"])
def test_a_pickle_of_something_else_becomes_a_file_of_the_same_tensors(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {
        "autoencoder": "decoder.conv_in.weight",
        "LoRA": "lora_unet_mid_block_attentions_0_proj_in.lora_up.weight",
        "textual inversion": "<cat-toy>",
    }
    array = np.ones((1, 768), np.float32)
    file = torch_file(tmp_path / "a.pt", {names[what]: tensor("0", array)}, {"model/data/0": array.tobytes()})
    assert convert([str(file), str(tmp_path / "a.safetensors"), "--dtype", "float16"]) == 0
    assert f"a.pt is a{'n' * (what[0] == 'a')} {what}" in capsys.readouterr().err
    found = load_file(tmp_path / "a.safetensors")
    assert list(found) == [names[what]] and found[names[what]].dtype == np.float16
    assert convert([str(file), str(tmp_path / "folder")]) == 1
    assert "is no whole model, and has no form as a folder" in capsys.readouterr().err
    assert convert([str(file), str(tmp_path / "b.safetensors"), "-q", "4"]) == 1
    assert "leave --quantize out" in capsys.readouterr().err and not (tmp_path / "b.safetensors").exists()


def test_an_embedding_may_lie_in_a_module_of_pytorchs(files: dict[str, Path], tmp_path: Path) -> None:
    """As A1111 saved them: `string_to_param` is a ParameterDict."""
    vectors = np.ones((2, 64), np.float32)
    parameter = Named("torch._utils", "_rebuild_parameter", tensor("0", vectors), True, OrderedDict())
    state = {"training": True, "_parameters": {"*": parameter}, "_buffers": {}, "_keys": {"*": None},
             "_non_persistent_buffers_set": Named("__builtin__", "set", [])}  # fmt: skip
    module = Module("torch.nn.modules.container", "ParameterDict", state)
    content = {"string_to_token": {"*": 265}, "string_to_param": module, "name": "easy", "step": 500}
    file = torch_file(tmp_path / "easy.pt", content, {"model/data/0": vectors.tobytes()})
    assert convert([str(file), str(tmp_path / "easy.safetensors")]) == 0
    assert list(load_file(tmp_path / "easy.safetensors")) == ["emb_params"]
    sd = opened(files["sd1"], embeddings=[tmp_path / "easy.safetensors"])
    assert sd.texts.tokenizers[0]("easy")[0][1:3] == [49408, 49409]


def test_an_embeddings_pickle_becomes_a_file_that_is_taught(files: dict[str, Path], tmp_path: Path) -> None:
    vectors = np.ones((2, 64), np.float32)
    content = {"string_to_token": {"*": 265}, "string_to_param": {"*": tensor("0", vectors)}, "name": "easy"}
    file = torch_file(tmp_path / "easy.pt", content, {"model/data/0": vectors.tobytes()})
    assert convert([str(file), str(tmp_path / "easy.safetensors")]) == 0
    sd = opened(files["sd1"], embeddings=[tmp_path / "easy.safetensors"])
    assert sd.texts.tokenizers[0]("easy")[0][1:3] == [49408, 49409]


# What one file does not say


def test_one_file_says_what_no_other_tool_could_guess(tmp_path: Path) -> None:
    sd = StableDiffusion(str(DATA / "sd1"), float16=False)
    lost = sd.save(file := tmp_path / "one.safetensors")
    assert any("num_attention_heads" in one for one in lost) and any("vocabulary" in one for one in lost)
    again = StableDiffusion(str(file), float16=False)
    was, now = sd.description, again.description
    assert (was.unet, was.vae, was.texts, was.schedule) == (now.unet, now.vae, now.texts, now.schedule)
    asked = Settings(prompt="a house by the sea", negative_prompt="fog", seed=1, steps=2, width=64, height=64)
    asked = replace(asked, sampler="euler", spacing="trailing", cfg=3.0)
    assert mx.array_equal(sd.txt2img(asked), again.txt2img(asked))


def test_a_file_that_others_read_alike_says_nothing_more(tmp_path: Path) -> None:
    source = write(tmp_path / "was.safetensors", small("sd1"))
    sd = StableDiffusion(str(source), float16=False)
    assert sd.save(file := tmp_path / "now.safetensors") == ()
    assert KEY not in read_header(file).metadata


@pytest.mark.parametrize("said", ["", "[]", "{}", '{"configs": 3}', '{"tokenizers": [{}], "configs": {}}', "[" * 9999])
def test_a_damaged_description_is_one_sentence(tmp_path: Path, said: str) -> None:
    file = tmp_path / "one.safetensors"
    tensors = {name: mx.array(array) for name, array in small("sd1").items()}
    mx.save_safetensors(str(file), tensors, {KEY: said})
    with pytest.raises(CheckpointError, match="is wrong"):
        single_checkpoint(file)


@pytest.mark.parametrize("target", ["one.safetensors", "folder"])
def test_a_target_that_somebody_else_made_meanwhile_is_theirs(
    tmp_path: Path, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, check = tmp_path / target, saving._differences

    def meanwhile(was: Any, now: Any) -> Any:
        if place.suffix:
            place.write_bytes(b"theirs")
        else:
            place.mkdir(exist_ok=True)
            (place / "theirs").write_bytes(b"theirs")
        return check(now, now)

    monkeypatch.setattr(saving, "_differences", meanwhile)
    with pytest.raises(CheckpointError, match="is there already: name another"):
        StableDiffusion(str(DATA / "sd1"), float16=False).save(place)
    assert (place if place.suffix else place / "theirs").read_bytes() == b"theirs"
    assert [path.name for path in tmp_path.iterdir()] == [target]


def test_what_a_killed_process_left_is_cleared_by_the_next(tmp_path: Path) -> None:
    gone = unfinished_name(tmp_path / "x.safetensors").name.replace(f"-{os.getpid()}-", "-999999-")
    (tmp_path / gone).write_bytes(b"half")
    (tmp_path / gone.replace(".safetensors", "")).mkdir()
    (tmp_path / gone.replace(".safetensors", "") / "part").write_bytes(b"half")
    StableDiffusion(str(DATA / "sd1"), float16=False).save(tmp_path / "one.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["one.safetensors"]
