"""LoRAs: names in every dialect, refusals, quantised nets, and what pictures' files say of them."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten
from PIL import Image

from stable_diffusion import CheckpointError, Settings, StableDiffusion
from stable_diffusion.jobs.model import LORA, Model
from stable_diffusion.pipeline import Planner
from stable_diffusion.weights.extras import LoRAUse
from stable_diffusion.weights.identity import file_hash
from tests.commands import SD1, made, same, txt
from tests.ldm_files import small, write

DATA = Path(__file__).parent / "data"
RNG = np.random.default_rng(0)
QUERY = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
CONTEXT = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
TEXT = "encoder.layers.1.self_attn.v_proj"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def loaded(model: str | Path = SD1, **more: object) -> StableDiffusion:
    return StableDiffusion(str(model), float16=False, **more)  # type: ignore[arg-type]


@cache
def plain_model() -> StableDiffusion:
    """Nothing is put on it."""
    return loaded()


def weight(sd: StableDiffusion, path: str, net: str = "unet") -> np.ndarray:
    return np.array(dict(tree_flatten(getattr(sd, net).parameters()))[f"{path}.weight"])


def pair(out: int, into: int, rank: int = 2) -> tuple[np.ndarray, np.ndarray]:
    up, down = RNG.normal(size=(out, rank)), RNG.normal(size=(rank, into))
    return up.astype(np.float32), down.astype(np.float32)


def refusal(file: Path, model: str | Path = SD1, **more: object) -> str:
    with pytest.raises(CheckpointError) as caught:
        loaded(model, loras=[file], **more)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Names

Names = Callable[[str], str]
UNDERSCORED = QUERY.replace(".", "_")
SPELLINGS: dict[str, tuple[str, str]] = {  # of up and down
    "kohya": (f"lora_unet_{UNDERSCORED}.lora_up.weight", f"lora_unet_{UNDERSCORED}.lora_down.weight"),
    "kohya, LDM's names": (
        "lora_unet_input_blocks_3_1_transformer_blocks_0_attn1_to_q.lora_up.weight",
        "lora_unet_input_blocks_3_1_transformer_blocks_0_attn1_to_q.lora_down.weight",
    ),
    "lycoris": (f"lycoris_{UNDERSCORED}.lora_up.weight", f"lycoris_{UNDERSCORED}.lora_down.weight"),
    "peft": (f"base_model.model.{QUERY}.lora_B.weight", f"base_model.model.{QUERY}.lora_A.weight"),
    "peft's adapters": (f"unet.{QUERY}.lora_B.default.weight", f"unet.{QUERY}.lora_A.default.weight"),
    "peft's adapters with names": (f"unet.{QUERY}.lora_B.style_1.weight", f"unet.{QUERY}.lora_A.style_1.weight"),
    "peft, in a pipeline": (
        f"unet.base_model.model.{QUERY}.lora_B.weight",
        f"unet.base_model.model.{QUERY}.lora_A.weight",
    ),
    "diffusers": (f"unet.{QUERY}.lora.up.weight", f"unet.{QUERY}.lora.down.weight"),
    "diffusers of 2023": (
        f"unet.{QUERY.replace('.to_q', '.processor.to_q')}_lora.up.weight",
        f"unet.{QUERY.replace('.to_q', '.processor.to_q')}_lora.down.weight",
    ),
    "diffusers, the UNet alone": (f"{QUERY}.lora_linear_layer.up.weight", f"{QUERY}.lora_linear_layer.down.weight"),
    "ComfyUI": (
        "diffusion_model.input_blocks.3.1.transformer_blocks.0.attn1.to_q.lora_B.weight",
        "diffusion_model.input_blocks.3.1.transformer_blocks.0.attn1.to_q.lora_A.weight",
    ),
}


@pytest.mark.parametrize("dialect", SPELLINGS)
def test_a_pair_changes_its_weight_by_its_product(dialect: str) -> None:
    plain = weight(plain_model(), QUERY)
    up, down = pair(*plain.shape)
    names = SPELLINGS[dialect]
    file = write(Path("a.safetensors"), dict(zip(names, (up, down), strict=True)))
    changed = loaded(loras=[(file, 0.5)])
    assert np.abs(weight(changed, QUERY) - (plain + 0.5 * up @ down)).max() < 1e-5
    assert np.array_equal(weight(changed, CONTEXT), weight(plain_model(), CONTEXT))


TEXTS = {
    "kohya": f"lora_te_text_model_{TEXT.replace('.', '_')}.lora_XX.weight",
    "diffusers": f"text_encoder.text_model.{TEXT}.lora.XX.weight",
    "old diffusers": f"text_encoder.text_model.{TEXT.replace('v_proj', 'to_v')}_lora.XX.weight",
    "old diffusers, in a layer": f"text_encoder.text_model.{TEXT}.lora_linear_layer.XX.weight",
    "ComfyUI": f"text_encoders.clip_l.transformer.text_model.{TEXT}.lora_XX.weight",
}


@pytest.mark.parametrize("dialect", TEXTS)
def test_text_encoders_have_a_scale_of_their_own(dialect: str) -> None:
    plain = weight(plain_model(), TEXT, "text_encoder")
    up, down = pair(*plain.shape)
    q = pair(*weight(plain_model(), QUERY).shape)
    tensors = {TEXTS[dialect].replace("XX", "up"): up, TEXTS[dialect].replace("XX", "down"): down}
    tensors |= dict(zip(SPELLINGS["kohya"], q, strict=True))
    changed = loaded(loras=[(write(Path("a.safetensors"), tensors), 0.8, 0.25)])
    assert np.abs(weight(changed, TEXT, "text_encoder") - (plain + 0.25 * up @ down)).max() < 1e-5
    assert np.abs(weight(changed, QUERY) - (weight(plain_model(), QUERY) + 0.8 * q[0] @ q[1])).max() < 1e-5


@pytest.mark.parametrize(("number", "net"), [("1", "text_encoder_1"), ("2", "text_encoder_2")])
def test_xls_text_encoders_are_told_apart(number: str, net: str) -> None:
    plain = weight(loaded(DATA / "xl"), TEXT, net)
    up, down = pair(*plain.shape)
    stem = f"lora_te{number}_text_model_{TEXT.replace('.', '_')}"
    file = write(Path("a.safetensors"), {f"{stem}.lora_up.weight": up, f"{stem}.lora_down.weight": down})
    changed = loaded(DATA / "xl", loras=[file])
    assert np.abs(weight(changed, TEXT, net) - (plain + up @ down)).max() < 1e-5
    other = "text_encoder_2" if net == "text_encoder_1" else "text_encoder_1"
    assert np.array_equal(weight(changed, TEXT, other), weight(loaded(DATA / "xl"), TEXT, other))


@pytest.mark.parametrize(("alpha", "scale"), [(None, 1.0), (2.0, 1.0), (1.0, 0.5), (0.0, 0.0)])
def test_alpha_is_over_the_rank_and_none_is_as_much_as_it(alpha: float | None, scale: float) -> None:
    plain = weight(plain_model(), QUERY)
    up, down = pair(*plain.shape)
    tensors = dict(zip(SPELLINGS["kohya"], (up, down), strict=True))
    if alpha is not None:
        tensors[f"lora_unet_{UNDERSCORED}.alpha"] = np.array(alpha, np.float32)
    changed = loaded(loras=[write(Path("a.safetensors"), tensors)])
    assert np.abs(weight(changed, QUERY) - (plain + scale * up @ down)).max() < 1e-5


def test_an_alpha_of_64_bits_is_read() -> None:
    plain = weight(plain_model(), QUERY)
    up, down = pair(*plain.shape)
    alpha = {f"lora_unet_{UNDERSCORED}.alpha": np.array(1.0)}  # NumPy's own kind of number
    changed = loaded(
        loras=[write(Path("a.safetensors"), dict(zip(SPELLINGS["kohya"], (up, down), strict=True)) | alpha)]
    )
    assert np.abs(weight(changed, QUERY) - (plain + 0.5 * up @ down)).max() < 1e-5


def test_an_alpha_of_0_switches_off_what_it_belongs_to_and_is_said() -> None:
    """As in diffusers, ComfyUI and A1111, which multiply by alpha / rank."""
    tensors = dict(zip(SPELLINGS["kohya"], pair(*weight(plain_model(), QUERY).shape), strict=True))
    off = {f"lora_unet_{UNDERSCORED}.alpha": np.array(0, np.float32)}
    sd = loaded(loras=[write(Path("a.safetensors"), tensors | off)])
    assert "a.safetensors does nothing: alpha is 0 in all of it, which switches it off, as in other tools" in sd.notes
    up, down = pair(*weight(plain_model(), CONTEXT).shape)
    stem = f"lora_unet_{CONTEXT.replace('.', '_')}"
    more = {f"{stem}.lora_up.weight": up, f"{stem}.lora_down.weight": down}
    sd = loaded(loras=[write(Path("b.safetensors"), tensors | off | more)])
    assert "alpha is 0 in 1 of 2 changes in b.safetensors, which switches them off" in sd.notes
    assert np.array_equal(weight(sd, QUERY), weight(plain_model(), QUERY))
    assert np.abs(weight(sd, CONTEXT) - (weight(plain_model(), CONTEXT) + up @ down)).max() < 1e-5
    assert not any("alpha" in note for note in loaded(loras=[write(Path("c.safetensors"), tensors)]).notes)


def test_a_convolution_that_is_a_matrix_here_takes_its_1x1_kernels() -> None:
    path = "down_blocks.1.attentions.0.proj_in"
    plain = weight(plain_model(), path)
    up, down = pair(*plain.shape)
    stem = f"lora_unet_{path.replace('.', '_')}"
    tensors = {f"{stem}.lora_up.weight": up[:, :, None, None], f"{stem}.lora_down.weight": down[:, :, None, None]}
    changed = loaded(loras=[write(Path("a.safetensors"), tensors)])
    assert np.abs(weight(changed, path) - (plain + up @ down)).max() < 1e-5


# What does not fit


def test_names_that_fit_nothing_are_an_error_unless_somebody_allows_it() -> None:
    q = pair(*weight(plain_model(), QUERY).shape)
    tensors = dict(zip(SPELLINGS["kohya"], q, strict=True))
    tensors |= {f"lora_unet_ornament_{i}.lora_up.weight": q[0] for i in range(4)}
    file = write(Path("a.safetensors"), tensors)
    assert refusal(file) == (
        "a.safetensors has 4 names that fit nothing in this model (lora_unet_ornament_0, lora_unet_ornament_1, "
        "lora_unet_ornament_2, ...): --lora-partial leaves those out"
    )
    sd = loaded(loras=[file], lora_partial=True)
    assert any("4 names" in note and note.endswith("are left out") for note in sd.notes)
    nothing = write(Path("b.safetensors"), {"lora_unet_ornament.lora_up.weight": q[0]})
    assert "has 1 name that fits nothing in this model (lora_unet_ornament)" in refusal(nothing, lora_partial=True)


def test_a_lora_for_another_family_is_refused_by_name() -> None:
    for width, name in ((768, "SD 1.x"), (1024, "SD 2.x"), (2048, "SD XL")):
        stem = f"lora_unet_{CONTEXT.replace('.', '_')}"
        tensors = {f"{stem}.lora_up.weight": np.zeros((8, 2), np.float32)}
        tensors[f"{stem}.lora_down.weight"] = np.zeros((2, width), np.float32)
        assert f"is a LoRA for {name}, whose texts are {width}" in refusal(write(Path("a.safetensors"), tensors))
    flux = {"lora_unet_double_blocks_0_img_attn_qkv.lora_up.weight": np.zeros((2, 2), np.float32)}
    assert "is a LoRA for Flux" in refusal(write(Path("f.safetensors"), flux))


def test_a_shape_that_does_not_fit_is_named() -> None:
    tensors = dict(zip(SPELLINGS["kohya"], pair(7, 5), strict=True))
    message = refusal(write(Path("a.safetensors"), tensors))
    assert f"'lora_unet_{UNDERSCORED}'" in message and "does not fit this model" in message
    assert "does not fit this model" in refusal(Path("a.safetensors"), quantize=8)


STEM = f"lora_unet_{UNDERSCORED}"
UP, DOWN = (array.astype(np.float32) for array in pair(16, 16))
KOHYA, PEFT = SPELLINGS["kohya"], SPELLINGS["peft"]
ODD: dict[str, tuple[dict[str, np.ndarray], str]] = {
    "an up without a down": ({KOHYA[0]: UP}, "has up, which are not one whole change"),
    "a down without an up": ({KOHYA[1]: DOWN}, "has down, which are not one whole change"),
    "an alpha alone": ({f"{STEM}.alpha": np.ones(())}, "has alpha, which are not one whole change"),
    "two kinds": ({KOHYA[0]: UP, KOHYA[1]: DOWN, f"{STEM}.diff": UP @ DOWN}, "has diff, down, up, which are not one"),
    "two dialects": (
        {KOHYA[0]: UP, KOHYA[1]: DOWN, PEFT[0]: UP, PEFT[1]: DOWN},
        f"changes '{STEM}' twice (down, up): name a file with one LoRA",
    ),
    "two adapters": (
        {f"{QUERY}.lora_{one}.default{n}.weight": a for one, a in (("A", DOWN), ("B", UP)) for n in ("", "_1")},
        f"changes '{QUERY}' twice",
    ),
    "rank 0": ({KOHYA[0]: UP[:, :0], KOHYA[1]: DOWN[:0]}, f"the down of '{STEM}' has shape (0, 16)"),
    "many alphas": ({KOHYA[0]: UP, KOHYA[1]: DOWN, f"{STEM}.alpha": np.ones(2)}, "the alpha of"),
    "NaN": ({KOHYA[0]: UP, KOHYA[1]: DOWN * np.nan}, f"the down of '{STEM}' holds a NaN or an infinite number"),
    "a NaN alpha": ({KOHYA[0]: UP, KOHYA[1]: DOWN, f"{STEM}.alpha": np.array(np.nan)}, "holds a NaN"),
    "whole numbers": ({KOHYA[0]: UP.astype(np.int32), KOHYA[1]: DOWN}, "holds whole numbers"),
    "a shape of as many numbers": ({KOHYA[0]: pair(32, 2)[0], KOHYA[1]: pair(2, 8)[1]}, "does not fit this model"),
    "a bias of another width": ({f"{STEM}.diff_b": np.ones(3)}, "does not fit this model"),
    "OFT": ({f"{STEM}.oft_blocks": np.ones((2, 8, 8))}, "is a LoRA of the kind OFT, which is not known here"),
    "IA3": ({f"{STEM}.weight": UP, f"{STEM}.on_input": np.ones(1)}, "is a LoRA of the kind IA3"),
    "XL's second encoder": (
        {f"lora_te2_text_model_{TEXT.replace('.', '_')}.lora_{one}.weight": UP for one in ("up", "down")},
        "is a LoRA for SD XL, which has two text encoders, and this model is SD 1.x",
    ),
    "another text encoder": (
        {f"text_encoder.text_model.{TEXT}.lora.{one}.weight": np.ones((1024, 1024)) for one in ("up", "down")},
        "is a LoRA for SD 2.x, whose text encoder is 1024 numbers wide and not 16",
    ),
    "LoKr of another family": (
        {f"lora_unet_{CONTEXT.replace('.', '_')}.lokr_w1": np.ones((2, 2)),
         f"lora_unet_{CONTEXT.replace('.', '_')}.lokr_w2": np.ones((8, 1024))},
        "is a LoRA for SD XL, whose texts are 2048 numbers wide and not 16",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", ODD)
def test_what_would_be_done_by_half_is_refused(what: str) -> None:
    tensors, said = ODD[what]
    floats = {name: array.astype(np.float32) if array.dtype == np.float64 else array for name, array in tensors.items()}
    message = refusal(write(Path("a.safetensors"), floats), lora_partial=True)
    assert message.startswith("a.safetensors") and said in message, message


def test_two_dialects_may_share_a_change() -> None:
    """As files do that were made of others: kohya's alpha beside peft's pair."""
    plain = weight(plain_model(), QUERY)
    up, down = pair(*plain.shape)
    tensors = {PEFT[0]: up, PEFT[1]: down, f"{STEM}.alpha": np.array(1, np.float32)}
    changed = loaded(loras=[write(Path("a.safetensors"), tensors)])
    assert np.abs(weight(changed, QUERY) - (plain + 0.5 * up @ down)).max() < 1e-5


@pytest.mark.parametrize(
    ("said", "scale"),
    [
        ({"unet.lora_alpha": 1}, 0.5),
        ({"lora_alpha": 1, "use_rslora": True}, 0.5**0.5),
        ({"unet.lora_alpha": 1, "unet.alpha_pattern": {"to_k": 8, r"attn1\.to_q": 4, "to_q": 6}}, 2.0),
        ({"unet.lora_alpha": 1, "unet.alpha_pattern": {"o_q": 4}}, 0.5),
    ],
)
def test_peft_says_alpha_in_the_metadata(said: dict[str, object], scale: float) -> None:
    """The first pattern that fits whole parts of the name, as in peft."""
    plain = weight(plain_model(), QUERY)
    up, down = pair(*plain.shape)
    tensors = {f"unet.{QUERY}.lora_B.weight": up, f"unet.{QUERY}.lora_A.weight": down}
    file = write(Path("a.safetensors"), tensors, lora_adapter_metadata=json.dumps(said))
    assert np.abs(weight(loaded(loras=[file]), QUERY) - (plain + scale * up @ down)).max() < 1e-5


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ("[1", "its lora_adapter_metadata is no JSON object"),
        ('{"lora_alpha": "2"}', "alpha is '2', and must be a number"),
        ('{"lora_alpha": NaN}', "alpha is nan, and must be a number"),
        ('{"alpha_pattern": [1]}', "alpha_pattern is [1], and must be a table"),
        ('{"alpha_pattern": {"(": 1}}', "alpha_pattern has '(', which is no pattern"),
        ('{"alpha_pattern": {"((.*)*)*x": 1}}', "which is no pattern (too wild)"),
    ],
)
def test_what_peft_says_has_to_be_understood(said: str, fault: str) -> None:
    tensors = {f"unet.{QUERY}.lora_B.weight": UP, f"unet.{QUERY}.lora_A.weight": DOWN}
    assert fault in refusal(write(Path("a.safetensors"), tensors, lora_adapter_metadata=said))


def test_other_files_are_no_loras() -> None:
    others = {
        "weight": "nothing that is known here: its tensors are called weight",
        "emb_params": "a textual inversion: name it with --embedding",
        "decoder.conv_in.weight": "an autoencoder: name it with --vae",
    }
    for name, what in others.items():
        file = write(Path("a.safetensors"), {name: np.zeros(2, np.float32)})
        assert f"is no LoRA, but {what}" in refusal(file)
    assert "an SD 1.x model: name it with --model" in refusal(write(Path("a.safetensors"), small("sd1")))
    assert "there is no file 'nowhere.safetensors', which is to be a LoRA" in refusal(Path("nowhere.safetensors"))
    Path("cut.safetensors").write_bytes(b"\x10")
    assert "damaged or cut short" in refusal(Path("cut.safetensors"))


def test_of_a_folder_the_one_file_is_taken() -> None:
    tensors = dict(zip(SPELLINGS["kohya"], pair(*weight(plain_model(), QUERY).shape), strict=True))
    for name in ("one", "two"):
        Path(name).mkdir()
    write(Path("one/a.safetensors"), tensors)
    assert not np.array_equal(weight(loaded(loras=["one"]), QUERY), weight(plain_model(), QUERY))
    write(Path("two/a.safetensors"), tensors)
    write(Path("two/b.safetensors"), tensors)
    assert "two has 2 files: name one of them, as in two/a.safetensors" in refusal(Path("two"))


# Quantised


@pytest.mark.parametrize("kind", [8, 4, "mxfp8"])
def test_on_a_quantised_net_nothing_of_it_is_lost(kind: int | str) -> None:
    """What it adds to the output is as it would be in full precision; so small a change would be lost in 4 bits."""
    file = write(Path("model.safetensors"), small("sd1"))
    one, two = "down_blocks.0.attentions.0.transformer_blocks.0.ff.net.2", "encoder.layers.0.mlp.fc1"
    plain = loaded(file, quantize=kind)
    tensors: dict[str, np.ndarray] = {}
    stems = (f"lora_unet_{one.replace('.', '_')}", f"lora_te_text_model_{two.replace('.', '_')}")
    shapes = ((32, 128), (256, 64))
    for stem, shape in zip(stems, shapes, strict=True):
        up, down = pair(*shape)
        tensors |= {f"{stem}.lora_up.weight": 1e-3 * up, f"{stem}.lora_down.weight": down}
    changed = loaded(file, quantize=kind, loras=[write(Path("a.safetensors"), tensors)])
    for net, path, stem, (_, width) in zip(("unet", "text_encoder"), (one, two), stems, shapes, strict=True):
        before, after = (dict(getattr(sd, net).named_modules())[path] for sd in (plain, changed))
        x = mx.array(RNG.normal(size=(3, width)).astype(np.float32))
        added = np.array(x) @ (tensors[f"{stem}.lora_up.weight"] @ tensors[f"{stem}.lora_down.weight"]).T
        assert np.abs(np.array(after(x) - before(x)) - added).max() < 1e-4 * np.abs(added).max() + 1e-5


def test_a_first_layer_for_fewer_channels_is_left_out_if_somebody_allows_it() -> None:
    """A LoRA that changes conv_in, made without a mask, on a UNet that is also told of one."""
    model = DATA / "inpainting"
    O, H, W, I = weight(loaded(model), "conv_in").shape  # noqa: E741
    assert I == 9
    query = pair(*weight(loaded(model), QUERY).shape)
    tensors = dict(zip(SPELLINGS["kohya"], query, strict=True))
    first = {"lora_unet_conv_in.lora_up.weight": RNG.normal(size=(O, 2, 1, 1)).astype(np.float32),
             "lora_unet_conv_in.lora_down.weight": RNG.normal(size=(2, 4, H, W)).astype(np.float32)}  # fmt: skip
    file = write(Path("a.safetensors"), tensors | first)
    said = "a.safetensors changes the UNet's first layer (conv_in) for 4 channels, and this model's has 9"
    assert refusal(file, model) == f"{said}: --lora-partial leaves those out"
    sd = loaded(model, loras=[file], lora_partial=True)
    assert f"{said}, and is left out" in sd.notes
    assert np.array_equal(weight(sd, "conv_in"), weight(loaded(model), "conv_in"))
    assert not np.array_equal(weight(sd, QUERY), weight(loaded(model), QUERY))
    whole = {"lora_unet_conv_in.diff": RNG.normal(size=(O, 9, H, W)).astype(np.float32)}
    assert not np.array_equal(weight(loaded(model, loras=[write(Path("b.safetensors"), whole)]), "conv_in"),
                              weight(loaded(model), "conv_in"))  # fmt: skip


# The first dialect, which counts layers


COUNTED = [  # of the small checkpoint: blocks of its way down, of its way up, and of its middle
    *(f"down_blocks.{i}.attentions.0.transformer_blocks.0" for i in range(3)),
    *(f"up_blocks.{i}.attentions.{j}.transformer_blocks.0" for i in range(1, 4) for j in range(2)),
    "mid_block.attentions.0.transformer_blocks.0",
]
ONE, TWO = ([f"attn{n}.{leaf}" for leaf in ("to_q", "to_k", "to_v", "to_out.0")] for n in (1, 2))
CLASSES = {"unet": '["CrossAttention", "Attention", "GEGLU"]', "text_encoder": '["CLIPAttention"]'}


def counted(leaves: list[str]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """A LoRA's tensors, and what it adds to each layer of the UNet."""
    sd = plain_model()
    tensors: dict[str, np.ndarray] = {}
    added: dict[str, np.ndarray] = {}
    for i, path in enumerate(f"{block}.{leaf}" for block in COUNTED for leaf in leaves):
        out, into = weight(sd, path).shape
        up, down = pair(out, into, 1)
        tensors |= {f"unet:{i}:up": up, f"unet:{i}:down": down}
        added[path] = up @ down
    return tensors, added


@pytest.mark.parametrize("said", [True, False])
@pytest.mark.parametrize("gated", [True, False])
def test_layers_may_be_counted_in_pytorchs_order(gated: bool, said: bool) -> None:
    """Down, up, middle; in a block attn1, GEGLU, attn2; which classes were changed is said, or told by their number."""
    tensors, added = counted([*ONE, *["ff.net.0.proj"] * gated, *TWO])
    metadata = {"unet": CLASSES["unet"] if gated else '["CrossAttention", "Attention"]'} if said else {}
    sd = loaded(loras=[(write(Path("a.safetensors"), tensors, **metadata), 0.5)])
    for path, array in added.items():
        assert np.abs(weight(sd, path) - (weight(plain_model(), path) + 0.5 * array)).max() < 1e-5, path


def test_a_text_encoders_layers_are_counted_k_v_q_out() -> None:
    sd = plain_model()
    tensors: dict[str, np.ndarray] = {}
    added: dict[str, np.ndarray] = {}
    layers = sd.text_encoder.config.num_hidden_layers
    paths = [f"encoder.layers.{n}.self_attn.{one}_proj" for n in range(layers) for one in ("k", "v", "q", "out")]
    for i, path in enumerate(paths):
        out, into = weight(sd, path, "text_encoder").shape
        up, down = pair(out, into, 1)
        tensors |= {f"text_encoder:{i}:up": up, f"text_encoder:{i}:down": down}
        added[path] = up @ down
    changed = loaded(loras=[write(Path("a.safetensors"), tensors, **CLASSES)])
    for path, array in added.items():
        plain = weight(plain_model(), path, "text_encoder")
        assert np.abs(weight(changed, path, "text_encoder") - (plain + array)).max() < 1e-5, path


def test_words_lie_beside_counted_layers() -> None:
    tensors, _ = counted([*ONE, "ff.net.0.proj", *TWO])
    width = plain_model().text_encoder.config.hidden_size
    file = write(
        Path("a.safetensors"), tensors | {"<s1>": np.ones(width, np.float32)}, **CLASSES, **{"<s1>": "<embed>"}
    )
    assert "words that were taught: <s1>" in loaded(loras=[file]).notes


def test_other_counts_and_classes_are_refused() -> None:
    tensors, _ = counted([*ONE, "ff.net.0.proj", *TWO])
    fewer = {name: array for name, array in tensors.items() if not name.startswith("unet:7:")}
    message = refusal(write(Path("a.safetensors"), fewer, **CLASSES))
    assert "is a LoRA for 89 layers of the unet, and this model (SD 1.x) has 90: was it made for another?" in message
    convolutions = {"unet": '["ResnetBlock2D", "CrossAttention", "Attention", "GEGLU"]'}
    assert "is a LoRA that changes" in (said := refusal(write(Path("b.safetensors"), tensors, **convolutions)))
    assert "ResnetBlock2D" in said


# Grids: worn and taken off


def test_what_is_worn_comes_off_to_the_bit() -> None:
    path = "mid_block.resnets.0.conv1"
    tensors = dict(zip(SPELLINGS["kohya"], pair(*weight(plain_model(), QUERY).shape), strict=True))
    stem = f"lora_unet_{path.replace('.', '_')}"
    O, H, W, I = weight(plain_model(), path).shape  # noqa: E741
    tensors[f"{stem}.diff"] = RNG.normal(size=(O, I, H, W)).astype(np.float32)
    tensors[f"{stem}.diff_b"] = np.ones(tensors[f"{stem}.diff"].shape[0], np.float32)
    file = write(Path("a.safetensors"), tensors)
    for quantize in (None, 8):
        sd, fused = loaded(quantize=quantize), loaded(quantize=quantize, loras=[(file, 0.3)])
        before = dict(tree_flatten(sd.unet.parameters()))
        for use in (LoRAUse(str(file), 0.3, 0.3), LoRAUse(str(file), 0.9, 0.9), LoRAUse(str(file), 0.3, 0.3)):
            sd.wear(use)
        worn = dict(tree_flatten(sd.unet.parameters()))
        wanted = dict(tree_flatten(fused.unet.parameters()))
        assert all(mx.array_equal(worn[k], wanted[k]) for k in wanted)
        sd.wear(None)
        after = dict(tree_flatten(sd.unet.parameters()))
        assert before.keys() == after.keys() and all(mx.array_equal(before[k], after[k]) for k in before)


@pytest.fixture
def lora() -> Path:
    """One that changes a picture visibly."""
    sd = loaded()
    tensors: dict[str, np.ndarray] = {}
    for path in (QUERY, CONTEXT, "mid_block.resnets.0.time_emb_proj", "up_blocks.1.resnets.0.time_emb_proj"):
        up, down = pair(*weight(sd, path).shape)
        stem = f"lora_unet_{path.replace('.', '_')}"
        tensors |= {f"{stem}.lora_up.weight": up, f"{stem}.lora_down.weight": down}
    return write(Path("a.safetensors"), tensors)


def test_a_grid_of_loras_is_the_pictures_of_each_alone(lora: Path) -> None:
    assert txt("a house", "--seed", "1", "--grid", "lora=a.safetensors:0,a.safetensors:0.5", "--batch-size", "1",
               "-o", "g.png") == 0  # fmt: skip
    for scale in ("0", "0.5"):
        assert txt("a house", "--seed", "1", "--lora", f"a.safetensors:{scale}", "-o", f"{scale}.png") == 0
    assert same("g-column1.png", "0.png") and same("g-column2.png", "0.5.png") and not same("0.png", "0.5.png")
    assert txt("--from", "g-column2.png", "-o", "again.png") == 0
    assert same("again.png", "g-column2.png")
    assert txt("--from", "g-grid.png", "-o", "sheet.png") == 0
    assert same("sheet-grid.png", "g-grid.png")


def test_a_grid_crosses_loras_with_a_setting(lora: Path) -> None:
    assert (
        txt("a house", "--seed", "1", "--grid", "cfg=1,5", "lora=a.safetensors,a.safetensors:0.5:0", "-o", "g.png") == 0
    )
    assert (
        txt("a house", "--seed", "1", "--grid", "lora=a.safetensors,a.safetensors:0.5:0", "cfg=1,5", "-o", "h.png") == 0
    )
    for i, j in ((1, 1), (1, 2), (2, 1), (2, 2)):
        assert np.abs(pixels_of(f"g-row{i}-column{j}.png") - pixels_of(f"h-row{j}-column{i}.png")).max() <= 1


def pixels_of(name: str) -> np.ndarray:
    with Image.open(name) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


# What a picture's file says


def test_a_picture_says_its_loras_and_is_made_again(lora: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert txt("a house", "--seed", "1", "--lora", "a.safetensors:0.7:0.2", "-o", "one.png") == 0
    with Image.open("one.png") as picture:
        recipe = json.loads(picture.text["stable-diffusion-mlx"])
        assert f"Lora hashes: a: {file_hash(lora)[:12]}" in picture.text["parameters"].replace('"', "")
    assert recipe["model"]["loras"] == [["a.safetensors", 0.7, 0.2, file_hash(lora)]]
    assert txt("--from", "one.png", "-o", "again.png") == 0
    assert same("one.png", "again.png")
    assert txt("--from", "one.png", "--lora", "a.safetensors:0", "-o", "plain.png") == 0
    assert not same("one.png", "plain.png")
    write(lora, dict(zip(SPELLINGS["kohya"], pair(*weight(plain_model(), QUERY).shape), strict=True)))
    capsys.readouterr()
    assert txt("--from", "one.png", "-o", "other.png") == 0
    assert "the LoRA a.safetensors is not what it was when one.png was made" in capsys.readouterr().err


def test_older_files_say_nothing_of_loras() -> None:
    old = {"name": "demo", "hash": None, "float16": False, "quantize": None}
    assert Model.from_json(old) == Model("demo", None, False, None)
    assert Model.from_json(Model("a", loras=(("p", 0.5, 1.0, "ab"),)).as_json()).loras == (("p", 0.5, 1.0, "ab"),)


@pytest.mark.parametrize(
    ("words", "entry"),
    [
        ("a.safetensors", ("a.safetensors", 1.0, 1.0, None)),
        ("a.safetensors:0.8", ("a.safetensors", 0.8, 0.8, None)),
        ("a:b.safetensors:0.8:-0.5", ("a:b.safetensors", 0.8, -0.5, None)),
        ("owner/repo/file.safetensors:0", ("owner/repo/file.safetensors", 0.0, 0.0, None)),
    ],
)
def test_a_lora_is_written_with_its_scales(words: str, entry: tuple[object, ...]) -> None:
    assert LORA.read(words) == entry


@pytest.mark.parametrize("words", ["", ":0.5", "a:nan", "a:inf:1"])
def test_what_is_no_lora_cannot_be_read(words: str) -> None:
    with pytest.raises(ValueError, match="is not PATH"):
        LORA.read(words)


# Few steps


@pytest.mark.parametrize(
    ("name", "metadata", "sampler", "steps"),
    [
        ("Hyper-SDXL-8steps-lora.safetensors", {}, "tcd", 8),
        ("lcm-lora-sdv1-5.safetensors", {}, "lcm", 4),
        ("sdxl_lightning_8step_lora.safetensors", {}, "euler", 8),
        ("Hyper-SD15-2steps-lora.safetensors", {}, "tcd", 2),
        ("x.safetensors", {"ss_output_name": "LCM_LoRA"}, "lcm", 4),
    ],
)
def test_loras_for_few_steps_bring_their_defaults_and_say_so(
    name: str, metadata: dict[str, str], sampler: str, steps: int
) -> None:
    tensors = dict(zip(SPELLINGS["kohya"], pair(*weight(plain_model(), QUERY).shape), strict=True))
    file = write(Path(name), tensors, **metadata)
    planner = Planner.of(SD1, loras=(LoRAUse(str(file)),))
    completed = planner.completed(Settings())
    assert (completed.sampler, completed.steps, completed.cfg) == (sampler, steps, 1.0)
    assert any("with this LoRA" in note and f"{steps} steps of {sampler}" in note for note in planner.notes)
    assert planner.completed(Settings(steps=9)).steps == 9
    assert made() == [name]


def test_one_that_keeps_guidance_keeps_it_and_the_others_say_what_a_negative_prompt_does() -> None:
    tensors = dict(zip(SPELLINGS["kohya"], pair(*weight(plain_model(), QUERY).shape), strict=True))

    def planner(name: str) -> Planner:
        return Planner.of(SD1, loras=(LoRAUse(str(write(Path(name), tensors))),))

    keeps = planner("Hyper-SD15-12steps-CFG-lora.safetensors")
    s = keeps.completed(Settings())
    assert (s.sampler, s.spacing, s.steps, s.cfg) == ("ddim", "trailing", 12, 5.0)
    assert keeps.notes[-1].endswith("the defaults are 12 steps of ddim, trailing, cfg 5")
    assert (
        planner("Hyper-SD15-8steps-lora.safetensors")
        .notes[-1]
        .endswith("cfg 1, at which a negative prompt does nothing")
    )


def test_one_step_starts_where_its_authors_start_it() -> None:
    tensors = dict(zip(SPELLINGS["kohya"], pair(*weight(plain_model(), QUERY).shape), strict=True))
    planner = Planner.of(SD1, loras=(LoRAUse(str(write(Path("Hyper-SD15-1step-lora.safetensors"), tensors))),))
    sigma = planner.schedule.sigma(800)
    for settings in (Settings(), Settings(steps=1)):
        assert planner.completed(settings).sigmas == (sigma, 0.0)
        assert planner.run(settings).plan.sigmas == (sigma, 0.0)
    assert "1 step of tcd, from time 800, cfg 1" in planner.notes[-1]
    assert planner.completed(Settings(steps=4)).sigmas is None
    assert planner.completed(Settings(spacing="trailing")).sigmas is None
    assert planner.completed(Settings(times=(999.0,))).sigmas == (planner.schedule.sigma(999), 0.0)


@pytest.mark.parametrize("name", ["hyperrealistic_v2", "thunder_lightning", "hyper_detail_xl", "turbo_car", "calcms"])
def test_other_words_that_begin_so_bring_nothing(name: str) -> None:
    tensors = dict(zip(SPELLINGS["kohya"], pair(*weight(plain_model(), QUERY).shape), strict=True))
    planner = Planner.of(SD1, loras=(LoRAUse(str(write(Path(f"{name}.safetensors"), tensors))),))
    assert planner.completed(Settings()) == Planner.of(SD1).completed(Settings())
