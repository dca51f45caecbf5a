"""Whatever the files of models, LoRAs and embeddings hold, they are taken or one sentence names them, and soon."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlx.utils import tree_flatten

from stable_diffusion import StableDiffusion
from stable_diffusion.weights.autoencoders import autoencoder_part
from stable_diffusion.weights.checkpoint import CheckpointError
from stable_diffusion.weights.embeddings import read_embedding
from stable_diffusion.weights.extras import LoRAUse, distilled, read_fitting
from stable_diffusion.weights.fuse import fuse
from stable_diffusion.weights.nets import describe
from stable_diffusion.weights.pickles import read_pickle
from stable_diffusion.weights.quantize import prepare, quantize, said_of
from tests import ldm_files
from tests.ldm_files import SD1_TEXT, XL_TEXTS, Names, clip, open_clip, sparse, under, unet, vae, write
from tests.sentences import check_sentence
from tests.test_properties import JSON, often
from tests.test_properties_of_files import CUTS, LENGTHS, lies, lying, mutated
from tests.torch_files import tensor, torch_file

SD1 = Path(__file__).parent / "data" / "sd1"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One place for all examples: each overwrites what the last one has left."""
    return tmp_path_factory.mktemp("files")


# Single files, by their headers

_VAE = under("first_stage_model.", vae((32, 32), 1))
WHOLE: dict[str, Names] = {
    "sd1": under("model.diffusion_model.", unet((32, 64), (1, 0), context=64, blocks=1))
    | _VAE
    | under(SD1_TEXT, clip(64, 1)),
    "xl": under("model.diffusion_model.", unet((64, 64), (0, 2), 2, 128, linear=True, label=1600, blocks=1))
    | _VAE
    | under(XL_TEXTS[0], clip(64, 1))
    | under(XL_TEXTS[1], open_clip(64, 2)),
}
OTHER = st.sampled_from(
    ["model_ema.x", "edm_mean", "v_pred", "joint_blocks.0.x", "lora_unet_x.lora_up.weight", "emb_params", "x", "",
     "model.diffusion_model.input_blocks.7.0.op.weight", "model.diffusion_model.input_blocks.0.0.weight",
     "model.diffusion_model.output_blocks.99999999999999999999.0.x", "first_stage_model.encoder.down.9.block.x",
     "first_stage_model.encoder.down.x.block", "first_stage_model.encoder.down.", "conditioner.embedders.0.model.x",
     "cond_stage_model.transformer.encoder.layers.", "cond_stage_model.transformer.encoder.layers.99.x",
     "conditioner.embedders.1.model.transformer.resblocks.x.y", "control_model.x", "0.weight", "3.conv.0.weight"]
)  # fmt: skip
SHAPE = st.lists(st.sampled_from([0, 1, 2, 3, 4, 5, 7, 8, 9, 32, 64, 768, 1280, 2048]), max_size=4).map(tuple)


def altered(names: Names) -> st.SearchStrategy[Names]:
    """The same with up to three tensors left out, called otherwise, or of another shape."""
    which = st.sampled_from(sorted(names))
    change = st.one_of(
        st.tuples(st.just("without"), which, st.none()),
        st.tuples(st.just("shape"), which, SHAPE),
        st.tuples(st.just("more"), OTHER, SHAPE),
        st.tuples(
            st.just("kept"), st.sampled_from(["model.", "first_stage_model.", "cond", "conditioner."]), st.none()
        ),
    )

    def made(changes: list[tuple[str, str, Any]]) -> Names:
        found = dict(names)
        for kind, name, shape in changes:
            if kind == "without":
                found.pop(name, None)
            elif kind == "kept":
                found = {n: s for n, s in found.items() if n.startswith(name)}
            else:
                found[name] = shape
        return found

    return st.lists(change, max_size=3).map(made)


@often
@given(st.sampled_from(sorted(WHOLE)).flatmap(lambda family: altered(WHOLE[family])))
def test_any_names_are_a_model_or_one_sentence(folder: Path, names: Names) -> None:
    file = sparse(folder / "model.safetensors", names)
    try:
        found = describe(file)
        assert found.unet.block_out_channels and found.notes
    except CheckpointError as error:
        check_sentence(str(error), str(file))


@often
@given(st.sampled_from([_VAE, vae((32, 32), 1)]).flatmap(altered))
def test_any_names_are_an_autoencoder_or_one_sentence(folder: Path, names: Names) -> None:
    file = sparse(folder / "vae.safetensors", names)
    try:
        part = autoencoder_part(file, {"scaling_factor": 0.18215, "force_upcast": False})
        assert part.config
    except CheckpointError as error:
        check_sentence(str(error), str(file))


# LoRAs


@pytest.fixture(scope="module")
def sd() -> StableDiffusion:
    return StableDiffusion(str(SD1), float16=False)


QUERY = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
STEMS = [
    f"lora_unet_{QUERY.replace('.', '_')}", f"unet.{QUERY}", "lora_unet_conv_in", "lora_unet_mid_block_resnets_0_norm1",
    "lora_te_text_model_encoder_layers_0_mlp_fc1", "lora_te2_x", "lora_unet_x_attn2_to_k", "bundle_emb.x", "x",
]  # fmt: skip
LEAVES = [
    "lora_up.weight", "lora_down.weight", "lora_mid.weight", "lora_A.weight", "lora_B.weight", "lora_B.bias", "alpha",
    "dora_scale", "lora_magnitude_vector", "hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "lokr_w1",
    "lokr_w1_a", "lokr_w2", "lokr_w2_b", "diff", "diff_b", "w_norm", "emb_params", "string_to_param.*", "oft_blocks",
    "",
]  # fmt: skip
WIDTHS = st.lists(st.sampled_from([0, 1, 2, 3, 4, 8, 16, 64]), max_size=5).map(tuple)
NUMBERS = st.sampled_from([0.0, 1.0, -1e38, float("nan"), float("inf")])


def lora_or_sentence(sd: StableDiffusion, file: Path, partial: bool = True) -> None:
    """Taken, and taken back to the bit; or one sentence, and nothing is changed."""
    nets: dict[str, nn.Module] = {"unet": sd.unet, "text_encoder": sd.text_encoder}
    before = [dict(tree_flatten(net.parameters())) for net in nets.values()]
    try:
        use = LoRAUse(str(file))
        assert distilled([use]) is None
        read, notes = read_fitting(use, nets, "SD 1.x", partial)
        assert read.changes and not any("\n" in note for note in notes)
        fuse(nets, read, 0.5, 0.5, mx.float32)()
    except CheckpointError as error:
        check_sentence(str(error), str(file))
    after = [dict(tree_flatten(net.parameters())) for net in nets.values()]
    for one, other in zip(before, after, strict=True):
        assert one.keys() == other.keys() and all(one[name] is other[name] for name in one)


@often
@given(
    st.dictionaries(st.tuples(st.sampled_from(STEMS), st.sampled_from(LEAVES)), st.tuples(WIDTHS, NUMBERS), max_size=6)
)
def test_any_factors_are_a_lora_or_one_sentence(
    folder: Path, sd: StableDiffusion, given_: Mapping[tuple[str, str], tuple[tuple[int, ...], float]]
) -> None:
    tensors = {f"{s}.{leaf}": np.full(shape, number, np.float32) for (s, leaf), (shape, number) in given_.items()}
    lora_or_sentence(sd, write(folder / "l.safetensors", tensors))


WHOLE_LORA = {f"{STEMS[0]}.lora_up.weight": np.ones((16, 2)), f"{STEMS[0]}.lora_down.weight": np.ones((2, 16))}
ABOUT = JSON | st.dictionaries(st.just("lora_adapter_metadata"), st.text(max_size=8), max_size=1)


@often
@given(lies([*WHOLE_LORA, "x"], ABOUT), st.lists(st.sampled_from([*WHOLE_LORA]), max_size=1), LENGTHS, CUTS)
def test_any_header_is_a_lora_or_one_sentence(
    folder: Path, sd: StableDiffusion, told: Any, twice: list[str], length: int | None, cut: int | None
) -> None:
    good = write(folder / "good.safetensors", {n: a.astype(np.float32) for n, a in WHOLE_LORA.items()}).read_bytes()
    file = folder / "h.safetensors"
    file.write_bytes(lying(good, told, twice, length, cut))
    lora_or_sentence(sd, file)


PAIR = {"up": np.ones((8, 2)), "down": np.ones((2, 8))}
KOHYA = {f"{STEMS[0]}.lora_{one}.weight": array for one, array in PAIR.items()}
DIALECTS: dict[str, tuple[dict[str, np.ndarray], dict[str, str]]] = {
    "kohya": (KOHYA | {f"{STEMS[0]}.alpha": np.array(2.0)}, {}),
    "peft": (
        {f"unet.{QUERY}.lora_B.style.weight": PAIR["up"], f"unet.{QUERY}.lora_A.style.weight": PAIR["down"]},
        {"lora_adapter_metadata": '{"r": 2, "lora_alpha": 4}'},
    ),
    "loha": ({f"{STEMS[0]}.hada_w{i}_{'ab'[j]}": a for i in (1, 2) for j, a in enumerate(PAIR.values())}, {}),
    "lokr": ({f"{STEMS[0]}.lokr_w1": np.ones((4, 4)), f"{STEMS[0]}.lokr_w2": np.ones((2, 2))}, {}),
    "differences": ({f"{STEMS[0]}.diff": np.ones((8, 8)), "lora_unet_conv_in.diff_b": np.ones(8)}, {}),
    "dora": (KOHYA | {f"{STEMS[0]}.dora_scale": np.ones(8)}, {}),
    "counted": (
        {f"text_encoder:{i}:{one}": np.ones((16, 16)) for i in range(12) for one in PAIR} | {"<s1>": np.ones(16)},
        {"text_encoder": '["CLIPAttention"]', "<s1>": "<embed>"},
    ),
    "embedding inside": (KOHYA | {"bundle_emb.x.emb_params": np.ones((1, 16))}, {}),
}
BITS = st.sampled_from(
    ["", ".", "_", ":", "lora_unet_", "lora_te2_", "unet.", "unet:0", ":up", "lora_A", "lora_B.x", ".alpha", ".weight",
     ".weight_scale", ".comfy_quant", "scaled_fp8", "double_blocks.", "ip_adapter.", "conv_in", "bundle_emb..", "<s2>",
     "9" * 30, "\u2028", "x" * 1000]
)  # fmt: skip
RENAMED = st.tuples(st.integers(0, 10**6), st.integers(0, 60), st.integers(0, 60), BITS)
METADATA = st.dictionaries(
    st.sampled_from(["lora_adapter_metadata", "unet", "<s1>", "_quantization_metadata", "ss_output_name", "format"]),
    st.sampled_from(["{}", "[]", "[1]", '["GEGLU"]', '["X"]', "<embed>", '{"r": 0}', '{"lora_alpha": 0}', "nul", "",
                     '{"layers": {"x": {}}}', "[" * 100_000]),
    max_size=2,
)  # fmt: skip


def respelled(name: str, start: int, end: int, bit: str) -> str:
    """A name with a piece of it put otherwise."""
    start, end = sorted((start % (len(name) + 1), end % (len(name) + 1)))
    return name[:start] + bit + name[end:]


@often
@given(
    st.data(), st.sampled_from(sorted(DIALECTS)), st.lists(RENAMED, max_size=2), METADATA, LENGTHS, CUTS, st.booleans()
)
def test_any_header_in_any_dialect_is_a_lora_or_one_sentence(
    folder: Path,
    sd: StableDiffusion,
    data: st.DataObject,
    dialect: str,
    renamed: list[tuple[int, int, int, str]],
    said: dict[str, str],
    length: int | None,
    cut: int | None,
    partial: bool,
) -> None:
    tensors, metadata = DIALECTS[dialect]
    names = {name: name for name in tensors}
    for which, start, end, bit in renamed:
        name = sorted(tensors)[which % len(tensors)]
        names[name] = respelled(name, start, end, bit)
    whole = {names[name]: array.astype(np.float32) for name, array in tensors.items()}
    good = write(folder / "good.safetensors", whole, **(metadata | said)).read_bytes()
    told = data.draw(lies(sorted(whole)[:6], ABOUT))
    if data.draw(st.booleans()):  # else a file that lies hides all the rest
        told, length, cut = [], None, None
    file = folder / "h.safetensors"
    file.write_bytes(lying(good, told, [], length, cut))
    lora_or_sentence(sd, file, partial)


SAID = {
    "r": 2, "lora_alpha": 4, "alpha_pattern": {"to_q": 3}, "rank_pattern": {"mid.*": 2}, "use_rslora": True,
    "unet.lora_alpha": 2, "unet.alpha_pattern": {"attn1.to_q|x": 5},
}  # fmt: skip


@often
@given(mutated(SAID))
def test_whatever_peft_says_is_understood_or_refused(folder: Path, sd: StableDiffusion, said: Any) -> None:
    import json

    file = write(
        folder / "p.safetensors",
        {f"unet.{QUERY}.lora_B.weight": np.ones((16, 2), np.float32),
         f"unet.{QUERY}.lora_A.weight": np.ones((2, 16), np.float32)},
        lora_adapter_metadata=json.dumps(said),
    )  # fmt: skip
    lora_or_sentence(sd, file)


# Embeddings

FORMS = ["emb_params", "string_to_param.*", "clip_l", "clip_g", "<cat>", "two words", "", "x"]


@often
@given(
    st.dictionaries(st.sampled_from(FORMS), st.tuples(WIDTHS, NUMBERS), max_size=3),
    st.sampled_from([(16,), (16, 64)]),
    st.none() | st.text(max_size=4),
)
def test_any_vectors_are_an_embedding_or_one_sentence(
    folder: Path, given_: Mapping[str, tuple[tuple[int, ...], float]], widths: tuple[int, ...], word: str | None
) -> None:
    tensors = {name: np.full(shape, number, np.float32) for name, (shape, number) in given_.items()}
    file = write(folder / "thing.safetensors", tensors)
    try:
        found = read_embedding(file, word, widths, "SD 1.x")
        assert [v.shape[1] for v in found.vectors] == list(widths) and found.word
        assert all(mx.isfinite(v).all() for v in found.vectors)
    except CheckpointError as error:
        check_sentence(str(error), str(file))


# Pickles


@pytest.fixture(scope="module")
def program(folder: Path) -> bytes:
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    content = {"state_dict": {"a": tensor("0", x), "b": tensor("0", x.T)}, "epoch": 3}
    with zipfile.ZipFile(torch_file(folder / "good.ckpt", content, {"model/data/0": x.tobytes()})) as archive:
        return archive.read("model/data.pkl")


@often
@given(st.lists(st.tuples(st.integers(0, 600), st.binary(min_size=1, max_size=3)), max_size=4), st.integers(0, 40))
def test_any_program_gives_arrays_or_one_sentence(
    folder: Path, program: bytes, changes: list[tuple[int, bytes]], cut: int
) -> None:
    data = bytearray(program)
    for at, new in changes:
        data[at % len(data) : at % len(data) + len(new)] = new
    file = folder / "m.ckpt"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("model/data.pkl", bytes(data[: len(data) - cut]))
        archive.writestr("model/data/0", bytes(24))
    try:
        found = read_pickle(file)
        assert all(isinstance(array, mx.array) and array.size <= 24 for array in found.values())
    except CheckpointError as error:
        check_sentence(str(error), str(file))


# Quantised folders


def _net() -> nn.Module:
    made = nn.Module()
    made.one, made.two, made.kernel = nn.Linear(32, 32), nn.Linear(32, 64), nn.Conv2d(4, 4, 1)
    return made


_QUANTISED = _net()
quantize(_QUANTISED, 4)
QUANTIZATION = {**(said_of(_QUANTISED) or {}), "beside": {"one": {"ranks": [2], "difference": True, "shift": False}}}


@often
@given(mutated(QUANTIZATION))
def test_whatever_a_config_says_of_bits_is_done_or_refused(folder: Path, said: Any) -> None:
    file = folder / "config.json"
    try:
        prepare(_net(), {"mlx_quantization": said}, file)
    except CheckpointError as error:
        check_sentence(str(error), str(file))


def test_the_whole_ones_are_taken(folder: Path, sd: StableDiffusion, program: bytes) -> None:
    """What the examples above are made of, so that they say something."""
    for names in WHOLE.values():
        describe(sparse(folder / "model.safetensors", names))
    assert autoencoder_part(
        sparse(folder / "v.safetensors", ldm_files.vae((32, 32), 1)), sd.description.checkpoint.latents
    )
    nets: dict[str, nn.Module] = {"unet": sd.unet, "text_encoder": sd.text_encoder}
    for tensors, metadata in DIALECTS.values():
        file = write(folder / "l.safetensors", {n: a.astype(np.float32) for n, a in tensors.items()}, **metadata)
        read, notes = read_fitting(LoRAUse(str(file)), nets, "SD 1.x")
        assert read.changes and not notes
        fuse(nets, read, 0.5, 0.5, mx.float32)()
    net = _net()
    prepare(net, {"mlx_quantization": QUANTIZATION}, folder)
    assert said_of(net) == QUANTIZATION
