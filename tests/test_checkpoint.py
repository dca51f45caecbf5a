"""Checkpoints load whole or not at all, and say what is wrong with them in one sentence."""

import gc
import json
import math
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten
from safetensors.numpy import load_file, save_file

from stable_diffusion import CheckpointError, StableDiffusion
from stable_diffusion.prompts.tokenizer import CLIPTokenizer
from stable_diffusion.weights.checkpoint import read_json, read_tokenizer, weight_files
from stable_diffusion.weights.nets import describe
from stable_diffusion.weights.tensors import load, tensors_of
from stable_diffusion.weights.vocabulary import openai_tokenizer

DATA = Path(__file__).parent / "data"
UNET = "unet/diffusion_pytorch_model.safetensors"
VAE = "vae/diffusion_pytorch_model.safetensors"
TEXT = "text_encoder/model.safetensors"

Tensors = dict[str, np.ndarray]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of a small SD 1.x checkpoint."""
    return Path(shutil.copytree(DATA / "sd1", tmp_path / "sd1", ignore=shutil.ignore_patterns("*.npz")))


def rewrite(file: Path, change: Callable[[Tensors], Tensors]) -> None:
    save_file(change(load_file(file)), file)


def without(name: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {key: value for key, value in tensors.items() if key != name}


def error_of(model: Path) -> str:
    """The one sentence with which a checkpoint is refused."""
    with pytest.raises(CheckpointError) as caught:
        StableDiffusion(str(model), float16=False)
    assert isinstance(caught.value, ValueError)
    message = str(caught.value)
    assert "\n" not in message
    return message


def parameters(net: nn.Module) -> dict[str, mx.array]:
    return dict(tree_flatten(net.parameters()))


def all_parameters(sd: StableDiffusion) -> dict[str, mx.array]:
    return {f"{name}.{key}": value for name, net in sd.nets.items() for key, value in parameters(net).items()}


def assert_same_weights(model: Path, other: Path = DATA / "sd1") -> None:
    ours, theirs = (all_parameters(StableDiffusion(str(path), float16=False)) for path in (model, other))
    assert ours.keys() == theirs.keys()
    different = {name for name in ours if not mx.array_equal(ours[name], theirs[name])}
    assert not different


# Strict


def test_a_missing_tensor_is_named(folder: Path) -> None:
    rewrite(folder / UNET, without("conv_in.bias"))
    message = error_of(folder)
    assert str(folder / UNET) in message and "lacks the tensor 'conv_in.bias' that" in message


def test_of_several_missing_tensors_the_first_is_named_and_the_rest_are_counted(folder: Path) -> None:
    rewrite(folder / UNET, lambda tensors: {k: v for k, v in tensors.items() if not k.startswith("conv_")})
    assert "'conv_in.bias' and 5 more that" in error_of(folder)


def test_a_tensor_too_many_is_named(folder: Path) -> None:
    rewrite(folder / VAE, lambda tensors: tensors | {"encoder.ornament": np.zeros(3, np.float32)})
    message = error_of(folder)
    assert str(folder / VAE) in message and "'encoder.ornament'" in message


def test_a_wrong_shape_is_named_as_the_file_has_it(folder: Path) -> None:
    O, I, H, W = load_file(folder / UNET)["conv_in.weight"].shape  # noqa: E741
    rewrite(folder / UNET, lambda tensors: tensors | {"conv_in.weight": np.zeros((O, I + 1, H, W), np.float32)})
    message = error_of(folder)
    assert f"{folder / UNET}: 'conv_in.weight' has shape {(O, I + 1, H, W)}" in message
    assert message.endswith(f"asks for {(O, I, H, W)}")


def test_a_config_of_another_size_is_found_out_by_the_shapes(folder: Path) -> None:
    config = read_json(folder / "text_encoder" / "config.json")
    (folder / "text_encoder" / "config.json").write_text(json.dumps(config | {"intermediate_size": 48}))
    message = error_of(folder)
    assert (
        str(folder / TEXT) in message
        and "layers.0.mlp.fc1.bias' has shape (32,)" in message
        and message.endswith("asks for (48,)")
    )


def test_a_tensor_under_an_old_and_a_new_name_is_refused(folder: Path) -> None:
    old, new = "encoder.mid_block.attentions.0.query.bias", "encoder.mid_block.attentions.0.to_q.bias"
    rewrite(folder / VAE, lambda tensors: tensors | {old: tensors[new]})
    assert "a second time" in error_of(folder)


def test_whole_numbers_are_refused_and_not_taken_for_weights(folder: Path) -> None:
    rewrite(folder / UNET, lambda tensors: tensors | {"conv_in.bias": tensors["conv_in.bias"].astype(np.uint8)})
    message = error_of(folder)
    assert str(folder / UNET) in message and "'conv_in.bias'" in message


def relabelled(file: Path, kind: str) -> None:
    """Call the bytes of a file's only array of whole numbers something else."""
    data = file.read_bytes()
    assert data.count(b'"dtype":"U8"') == 1
    n = struct.unpack("<Q", data[:8])[0]
    header = data[8 : 8 + n].replace(b'"dtype":"U8"', b'"dtype":"%s"' % kind.encode())
    file.write_bytes(struct.pack("<Q", len(header)) + header + data[8 + n :])


def test_eight_bit_floats_become_the_numbers_that_they_are(folder: Path) -> None:
    """MLX reads F8_E4M3 as uint8. 0x38 is 1, 0x40 2, 0xb8 -1, 0x7e 448, 0x01 2^-9 (Micikevicius et al. 2022)."""
    codes = np.array([0x38, 0x40, 0xB8, 0x7E, 0x01, 0x00, 0x80, 0x08], np.uint8)
    rewrite(folder / UNET, lambda tensors: tensors | {"conv_in.bias": codes})
    relabelled(folder / UNET, "F8_E4M3")
    bias = StableDiffusion(str(folder), float16=False).unet.conv_in.bias
    assert bias.tolist() == [1.0, 2.0, -1.0, 448.0, 2.0**-9, 0.0, 0.0, 2.0**-6]


def test_eight_bit_floats_of_the_other_kind_are_upper_halves_of_float16(folder: Path) -> None:
    codes = np.array([0x3C, 0x40, 0xBC, 0x7B, 0x01, 0x00, 0x80, 0x04], np.uint8)
    rewrite(folder / UNET, lambda tensors: tensors | {"conv_in.bias": codes})
    relabelled(folder / UNET, "F8_E5M2")
    bias = StableDiffusion(str(folder), float16=False).unet.conv_in.bias
    assert bias.tolist() == [1.0, 2.0, -1.0, 57344.0, 2.0**-16, 0.0, 0.0, 2.0**-14]


def test_eight_bit_floats_that_are_scales_are_refused_by_name(folder: Path) -> None:
    rewrite(folder / UNET, lambda tensors: tensors | {"conv_in.bias": tensors["conv_in.bias"].astype(np.uint8)})
    relabelled(folder / UNET, "F8_E8M0")
    assert f"{folder / UNET} holds numbers of kind F8_E8M0" in error_of(folder)


# Damaged and missing files


@pytest.mark.parametrize("keep", [0, 5, 200, 70_000, -1])
def test_a_truncated_file_is_named(folder: Path, keep: int) -> None:
    data = (folder / UNET).read_bytes()
    (folder / UNET).write_bytes(data[:keep])
    message = error_of(folder)
    assert message.startswith(f"{folder / UNET} is damaged or cut short (")
    assert message.endswith("): download it again")


@pytest.mark.parametrize(
    "garbage", [b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", b"<html>no</html>", bytes(999)]
)
def test_a_file_of_something_else_is_named(folder: Path, garbage: bytes) -> None:
    (folder / VAE).write_bytes(garbage)
    assert error_of(folder).startswith(f"{folder / VAE} is damaged or cut short (")


@pytest.mark.parametrize(
    ("begins", "said"),
    [
        (b"PK\x03\x04", "is a PyTorch file, which may run code when it is read: make a .safetensors file of it first"),
        (b"\x80\x02}q", "is a PyTorch file, which may run code when it is read: make a .safetensors file of it first"),
        (b"GGUF\x03", "is a GGUF file, which is not read here"),
        (b"\x89HDF\r\n", "is an HDF5 file, which is not read here"),
        (b"version https://git-lfs", "(it is a pointer of Git LFS): download the file itself"),
        (b"<!DOCTYPE html>", "(it is a page of the web): download it again, after a login where that is needed"),
    ],
)
def test_a_file_of_another_format_is_called_by_it(folder: Path, begins: bytes, said: str) -> None:
    (folder / VAE).write_bytes(begins + bytes(999))
    assert f"{folder / VAE} {said if said[0] != '(' else f'is damaged or cut short {said}'}" in error_of(folder)


@pytest.mark.parametrize(
    "name",
    [
        "model_index.json",
        "scheduler/scheduler_config.json",
        "unet/config.json",
        "vae/config.json",
        "text_encoder/config.json",
        "tokenizer/vocab.json",
        "tokenizer/merges.txt",
    ],
)
def test_a_missing_or_damaged_small_file_is_named(folder: Path, name: str) -> None:
    (folder / "tokenizer" / "tokenizer.json").unlink()
    content = (folder / name).read_bytes()
    for damaged in (content[: len(content) // 2], b"\xff\xfe\x00", b"<html>\nnot here\n</html>"):
        (folder / name).write_bytes(damaged)
        if name.endswith(".txt") and damaged in content:
            continue  # a list of merges that is cut at the end of a line is a shorter list
        assert error_of(folder).startswith(f"{folder / name} is damaged or cut short (")
    (folder / name).unlink()
    assert error_of(folder).startswith(f"{folder / name} is missing")


def test_a_json_file_without_an_object_is_named(folder: Path) -> None:
    (folder / "unet" / "config.json").write_text("[]")
    assert error_of(folder).startswith(f"{folder / 'unet' / 'config.json'} is damaged")


def test_a_tokenizer_json_without_a_vocabulary_is_named(folder: Path) -> None:
    tokenizer = folder / "tokenizer"
    (tokenizer / "vocab.json").unlink()
    for model in ("null", '{"vocab": {}}', '{"vocab": {}, "merges": ["a b c"]}', '{"vocab": [], "merges": []}'):
        (tokenizer / "tokenizer.json").write_text(f'{{"model": {model}}}')
        assert error_of(folder).startswith(f"{tokenizer / 'tokenizer.json'} is damaged")


def test_pickles_alone_are_refused_by_name(folder: Path) -> None:
    (folder / UNET).rename(folder / "unet" / "diffusion_pytorch_model.bin")
    message = error_of(folder)
    assert message.startswith(f"{folder / 'unet'} has no .safetensors file: only diffusion_pytorch_model.bin is there")


def test_a_folder_of_another_kind_is_called_by_it(folder: Path) -> None:
    index = read_json(folder / "model_index.json")
    other = {name: part for name, part in index.items() if name != "unet"} | {"_class_name": "FluxPipeline"}
    (folder / "model_index.json").write_text(json.dumps(other))
    assert f"{folder} is a FluxPipeline, without a UNet: name an SD 1.x, 2.x or XL" in error_of(folder)
    (folder / "unet" / "config.json").write_text(json.dumps({"_class_name": "ControlNetModel"}))
    assert f"{folder / 'unet'} holds one ControlNetModel alone" in error_of(folder / "unet")


def test_a_net_without_weights_and_an_empty_folder_are_named(folder: Path, tmp_path: Path) -> None:
    (folder / UNET).unlink()
    assert error_of(folder).startswith(f"{folder / 'unet'} has no .safetensors file")
    (tmp_path / "empty").mkdir()
    assert error_of(tmp_path / "empty").startswith(f"{tmp_path / 'empty' / 'model_index.json'} is missing")


# Shards and precisions


def shard(file: Path, variant: str = "") -> list[Path]:
    """Split a file into two shards and an index, as diffusers names them."""
    tensors = load_file(file)
    stem = file.name.removesuffix(".safetensors")
    names = [f"{stem}{variant}-{i:05d}-of-00002.safetensors" for i in (1, 2)]
    where = {name: names[i % 2] for i, name in enumerate(sorted(tensors))}
    for shard_name in names:
        save_file({k: v for k, v in tensors.items() if where[k] == shard_name}, file.parent / shard_name)
    index = file.parent / f"{stem}.safetensors.index{variant}.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": where}))
    file.unlink()
    return [file.parent / name for name in names]


@pytest.mark.parametrize("variant", ["", ".fp16"])
def test_shards_load_like_one_file(folder: Path, variant: str) -> None:
    shard(folder / UNET, variant)
    assert_same_weights(folder)


def test_a_missing_shard_is_named_and_a_damaged_index_too(folder: Path) -> None:
    _, second = shard(folder / UNET)
    second.unlink()
    assert error_of(folder).startswith(f"{second} is missing, and diffusion_pytorch_model.safetensors.index.json")
    index = folder / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text("{}")
    assert error_of(folder).startswith(f"{index} is damaged")


def test_a_tensor_in_no_shard_is_named_with_the_folder(folder: Path) -> None:
    first, _ = shard(folder / UNET)
    rewrite(first, without("conv_in.bias"))
    assert error_of(folder).startswith(f"{folder / 'unet'} lacks the tensor 'conv_in.bias'")


def test_the_wanted_precision_is_taken_where_both_are_there(tmp_path: Path) -> None:
    full, half = tmp_path / "model.safetensors", tmp_path / "model.fp16.safetensors"
    full.touch()
    assert weight_files(tmp_path, half=True) == weight_files(tmp_path, half=False) == [full]
    half.touch()
    assert weight_files(tmp_path, half=True) == [half]
    assert weight_files(tmp_path, half=False) == [full]
    full.unlink()
    assert weight_files(tmp_path, half=False) == [half]


# Old spellings


@pytest.mark.parametrize("convolutions", [False, True])
def test_old_names_of_the_autoencoders_attention_load_the_same(folder: Path, convolutions: bool) -> None:
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def renamed(tensors: Tensors) -> Tensors:
        result = {}
        for name, value in tensors.items():
            if ".attentions." in name:
                for new, before in old.items():
                    name = name.replace(f".{new}.", f".{before}.")
                if convolutions and value.ndim == 2:
                    value = value[:, :, None, None]
            result[name] = value
        return result

    rewrite(folder / VAE, renamed)
    assert sum(".proj_attn." in name for name in load_file(folder / VAE)) == 4
    assert_same_weights(folder)


def test_position_ids_are_left_aside(folder: Path) -> None:
    ids = {"text_model.embeddings.position_ids": np.arange(77)[None]}
    rewrite(folder / TEXT, lambda tensors: tensors | ids)
    assert_same_weights(folder)


# Lazy


@pytest.mark.parametrize("quantize", [None, 8])
def test_weights_are_not_read_before_they_are_needed(folder: Path, quantize: int | None) -> None:
    gc.collect()  # other tests' nets
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    sd = StableDiffusion(str(folder), float16=False, quantize=quantize)
    size = sum(value.nbytes for value in all_parameters(sd).values())
    assert mx.get_peak_memory() - before < 0.02 * size  # a few scalars of MLX's own, and no weights
    sd.ensure_models_are_loaded()
    assert mx.get_active_memory() - before >= size


def test_a_net_that_is_not_used_is_never_read(folder: Path) -> None:
    """The UNet's numbers are overwritten after the checkpoint was opened, and what is read later are the new ones."""
    sd = StableDiffusion(str(folder), float16=False)
    data = (folder / UNET).read_bytes()
    start = 8 + struct.unpack("<Q", data[:8])[0]
    with open(folder / UNET, "r+b") as file:
        file.seek(start)
        file.write(bytes(len(data) - start))
    sd.decode(sd.encode(mx.zeros((64, 64, 3))))
    assert all(mx.all(value == 0) for value in parameters(sd.unet).values())


# One module


def test_kernels_and_matrices_take_our_layout(tmp_path: Path) -> None:
    net = nn.Module()
    net.kernel, net.matrix, net.bias = mx.zeros((2, 3, 3, 5)), mx.zeros((2, 5)), mx.zeros(2)
    rng = np.random.default_rng(0)
    tensors: Tensors = {
        "kernel": rng.standard_normal((2, 5, 3, 3)).astype(np.float32),
        "matrix": rng.standard_normal((2, 5, 1, 1)).astype(np.float32),
        "bias": rng.standard_normal(2).astype(np.float16),
    }
    save_file(tensors, tmp_path / "model.safetensors")
    load(net, tensors_of([tmp_path / "model.safetensors"], ()), mx.float32)
    assert np.array_equal(np.array(net.kernel), tensors["kernel"].transpose(0, 2, 3, 1))
    assert np.array_equal(np.array(net.matrix), tensors["matrix"][:, :, 0, 0])
    assert net.bias.dtype == mx.float32 and np.array_equal(np.array(net.bias), tensors["bias"])


# Tokenizers


@pytest.mark.parametrize("family", ["sd1", "sd2"])
def test_a_tokenizer_json_alone_holds_the_same_vocabulary(tmp_path: Path, family: str) -> None:
    whole = read_tokenizer(DATA / family / "tokenizer")
    shutil.copytree(DATA / family / "tokenizer", tmp_path, dirs_exist_ok=True)
    (tmp_path / "vocab.json").unlink()
    (tmp_path / "merges.txt").unlink()
    assert read_tokenizer(tmp_path) == whole
    # Older files write a merge as one text, and may name the special tokens apart.
    content = read_json(tmp_path / "tokenizer.json")
    content["model"]["merges"] = [" ".join(pair) for pair in content["model"]["merges"]]
    for token in content["added_tokens"]:
        content["model"]["vocab"].pop(token["content"], None)
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    assert read_tokenizer(tmp_path) == whole


@pytest.mark.parametrize(
    ("config", "special", "pad"),
    [
        ({}, None, "<|endoftext|>"),
        ({"pad_token": "<|endoftext|>"}, {"pad_token": "!"}, "!"),  # SD 2.1's two files
        ({"pad_token": "<|endoftext|>"}, {"pad_token": {"content": "!"}}, "!"),
        ({"pad_token": "<|endoftext|>", "added_tokens_decoder": {}}, {"pad_token": "!"}, "<|endoftext|>"),
        ({"pad_token": "!"}, None, "!"),
    ],
)
def test_the_padding_is_the_one_that_transformers_takes(
    folder: Path, config: dict[str, object], special: dict[str, object] | None, pad: str
) -> None:
    tokenizer = folder / "tokenizer"
    (tokenizer / "tokenizer_config.json").write_text(json.dumps(config))
    if special is not None:
        (tokenizer / "special_tokens_map.json").write_text(json.dumps(special))
    assert read_tokenizer(tokenizer)[2] == pad


def test_openais_vocabulary_is_clips() -> None:
    """Ids of openai/clip-vit-large-patch14's vocab.json."""
    vocab, merges, pad = openai_tokenizer()
    assert len(vocab) == 49408 and len(merges) == 48894 and pad == "<|endoftext|>"
    assert sorted(vocab.values()) == list(range(49408))
    known = {"!": 0, "a": 64, "!</w>": 256, "a</w>": 320, "<|startoftext|>": 49406, "<|endoftext|>": 49407}
    assert {token: vocab[token] for token in known} == known
    ids, dropped = CLIPTokenizer(vocab, merges, pad)("a photo of a cat")
    assert ids == [49406, 320, 1125, 539, 320, 2368, *[49407] * 71] and not dropped


@pytest.mark.parametrize("where", ["added_tokens.json", "tokenizer_config.json", "tokenizer.json"])
def test_words_that_were_added_are_not_split(tmp_path: Path, where: str) -> None:
    folder = shutil.copytree(DATA / "sd1" / "tokenizer", tmp_path / "tokenizer")
    new = len(read_json(folder / "vocab.json"))
    plain = CLIPTokenizer(*read_tokenizer(folder))
    if where == "added_tokens.json":
        (folder / where).write_text(json.dumps({"<cat-toy>": new}))
    elif where == "tokenizer_config.json":
        config = read_json(folder / where)
        listed = {str(new): {"content": "<cat-toy>"}}
        (folder / where).write_text(json.dumps({**config, "added_tokens_decoder": listed}))
    else:
        (folder / "vocab.json").unlink()
        content = read_json(folder / where)
        content["added_tokens"].append({"id": new, "content": "<cat-toy>", "special": False, "normalized": True})
        (folder / where).write_text(json.dumps(content))
    ours = CLIPTokenizer(*read_tokenizer(folder))
    ids, _ = ours("a photo of <cat-toy>, and one of A <CAT-TOY>")
    assert ids.count(new) == 2 and new not in plain("a photo of <cat-toy>")[0]
    assert ours("a photo of a cat")[0] == plain("a photo of a cat")[0]


def test_a_tokenizer_can_be_longer_than_77(folder: Path) -> None:
    config = read_json(folder / "tokenizer" / "tokenizer_config.json")
    (folder / "tokenizer" / "tokenizer_config.json").write_text(json.dumps({**config, "model_max_length": 60}))
    ids, dropped = CLIPTokenizer(*read_tokenizer(folder / "tokenizer"))("house " * 100)
    assert len(ids) == 60 and dropped
    (folder / "tokenizer" / "tokenizer_config.json").write_text(json.dumps({**config, "model_max_length": 248}))
    assert len(CLIPTokenizer(*read_tokenizer(folder / "tokenizer"))("a house")[0]) == 248
    assert "texts of 248 tokens, and the text encoder takes 77" in error_of(folder)
    (folder / "tokenizer" / "tokenizer_config.json").write_text(json.dumps({**config, "model_max_length": 10**30}))
    assert len(CLIPTokenizer(*read_tokenizer(folder / "tokenizer"))("a house")[0]) == 77


@pytest.mark.parametrize("number", [10**6, -1, "5", None, 2.5, True])
def test_a_token_without_a_row_in_the_table_is_refused(folder: Path, number: object) -> None:
    """MLX would read behind the end of the table: another picture each time, or a crash."""
    (folder / "tokenizer" / "added_tokens.json").write_text(json.dumps({"<cat-toy>": number}))
    assert "'<cat-toy>'" in error_of(folder)


STRANGE: list[Any] = [
    None, True, -1, 0, 2.5, 10**9, 10**400, math.inf, math.nan, "", "x", [], ["x"], [1], [[1]], [0] * 100, {}, {"a": 1},
]  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        "model_index.json", "unet/config.json", "vae/config.json", "text_encoder/config.json",
        "scheduler/scheduler_config.json",
    ],
)  # fmt: skip
@pytest.mark.parametrize("family", ["sd1", "xl"])
def test_whatever_a_config_says_it_is_a_checkpoint_or_one_sentence(tmp_path: Path, family: str, name: str) -> None:
    folder = shutil.copytree(DATA / family, tmp_path / family)
    whole = read_json(folder / name)
    sentences = []
    for key in whole:
        for value in STRANGE:
            (folder / name).write_text(json.dumps({**whole, key: value}))
            try:
                description = describe(folder)
                assert description.schedule.sigma_max > 0
            except CheckpointError as error:
                sentences.append(str(error))
            except Exception as error:
                raise AssertionError(f"{key} = {value!r} gave {error!r}") from error
    assert len(sentences) > 10
    assert not [sentence for sentence in sentences if "\n" in sentence or len(sentence) > 600]


def test_numbers_of_64_bits_are_read_as_those_of_32(folder: Path) -> None:
    before = load_file(folder / UNET)
    rewrite(folder / UNET, lambda tensors: {k: v.astype(np.float64) for k, v in tensors.items()})
    assert_same_weights(folder)
    rewrite(folder / UNET, lambda tensors: before | {"conv_in.bias": tensors["conv_in.bias"] + 1e-12})
    assert_same_weights(folder)
