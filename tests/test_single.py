"""Single files: known by their header, loaded whole or refused by what they are."""

import json
import struct
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from stable_diffusion import CheckpointError, StableDiffusion
from stable_diffusion.config import VAEConfig
from stable_diffusion.pipeline import Planner
from stable_diffusion.weights.nets import describe
from tests import ldm_files
from tests.ldm_files import Names, full_size, small, sparse, under, unet, write

FULL = full_size()
UNET = "model.diffusion_model."


def parameters(net: nn.Module) -> dict[str, mx.array]:
    return dict(tree_flatten(net.parameters()))


def refusal(file: Path, **more: str) -> str:
    with pytest.raises(CheckpointError) as caught:
        StableDiffusion(str(file), float16=False, **more)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


# What it is


@pytest.mark.parametrize("family", FULL)
def test_full_size_files_have_every_tensor_and_none_too_many(family: str, tmp_path: Path) -> None:
    """Loading is strict: a name missing, left over or of another shape would be an error. Nothing is read."""
    before = mx.get_active_memory()
    sd = StableDiffusion(str(sparse(tmp_path / "model.safetensors", FULL[family])), float16=True)
    assert sd.unet.conv_in.weight.shape[-1] == (9 if "inpainting" in family else 4)
    assert sd.description.xl == (family in ("xl", "xl-inpainting", "ssd-1b", "vega"))
    assert mx.get_active_memory() - before < 100e6


@pytest.mark.parametrize(
    ("family", "said"),
    [
        ("sd1", "an SD 1.x model, 512 x 512 (fp16), by its header"),
        ("sd1-inpainting", "an SD 1.x model, for repainting under a mask, 512 x 512"),
        ("sd2", "an SD 2.x model, 512 x 512 (fp16), by its header"),
        ("xl", "an SD XL model, 1024 x 1024 (fp16), by its header"),
        ("ssd-1b", "an SD XL model, distilled to fewer layers, 1024 x 1024"),
        ("bk-sdm-small", "an SD 1.x model, distilled to fewer layers, 512 x 512"),
    ],
)
def test_what_a_file_is_taken_for_is_said_in_one_line(family: str, said: str, tmp_path: Path) -> None:
    (note,) = describe(sparse(tmp_path / "dreamlike.safetensors", FULL[family])).notes
    assert note.startswith(f"dreamlike.safetensors is {said}")


def test_real_shapes_give_real_configs(tmp_path: Path) -> None:
    """As the config.json of the folders: heads, depths, scaling factors, activations, padding."""
    one, two, xl = (describe(sparse(tmp_path / f"{f}.safetensors", FULL[f])) for f in ("sd1", "sd2", "xl"))
    assert one.unet.num_attention_heads == (8, 8, 8, 8) and two.unet.num_attention_heads == (5, 10, 20, 20)
    assert xl.unet.num_attention_heads == (5, 10, 20) and xl.unet.transformer_layers_per_block == (1, 2, 10)
    assert (one.vae.scaling_factor, xl.vae.scaling_factor) == (0.18215, 0.13025)  # type: ignore[union-attr]
    assert [t.hidden_act for t in (*one.texts, *two.texts, *xl.texts)] == ["quick_gelu", "gelu", "quick_gelu", "gelu"]
    assert [t.num_hidden_layers for t in (*one.texts, *two.texts, *xl.texts)] == [12, 23, 12, 32]
    assert [t.num_attention_heads for t in (*one.texts, *two.texts, *xl.texts)] == [12, 16, 12, 20]
    assert xl.texts[1].projection_dim == 1280 and two.texts[0].projection_dim is None
    paddings = [t.read().pad_token for t in (*one.checkpoint.tokenizers, *xl.checkpoint.tokenizers)]
    assert paddings == ["<|endoftext|>", "<|endoftext|>", "!"]


def test_ssd_1b_has_the_layers_that_it_was_left(tmp_path: Path) -> None:
    net = describe(sparse(tmp_path / "ssd.safetensors", FULL["ssd-1b"])).unet
    assert [net.depths(level, up=False) for level in range(3)] == [(0, 0), (2, 2), (4, 4)]
    assert [net.depths(level, up=True) for level in range(3)] == [(0, 0, 0), (2, 1, 1), (4, 4, 10)]
    assert net.has_mid_block and not net.mid_block_attends


def test_blocks_may_be_counted_with_gaps(tmp_path: Path) -> None:
    """As converters write nets of one layer a level: input blocks 1, 3, 4, 6, ... and output blocks 0, 1, 3, 4, ..."""
    names = {}
    for name, shape in FULL["bk-sdm-small"].items():
        side, _, rest = name.removeprefix(UNET).partition(".")
        if side in ("input_blocks", "output_blocks") and name.startswith(UNET):
            n, _, leaf = rest.partition(".")
            i = int(n)
            gapped = (
                (0 if i == 0 else 3 * ((i - 1) // 2) + 1 + 2 * ((i - 1) % 2))
                if side[0] == "i"
                else 3 * (i // 2) + i % 2
            )
            name = f"{UNET}{side}.{gapped}.{leaf}"
        names[name] = shape
    StableDiffusion(str(sparse(tmp_path / "gaps.safetensors", names)), float16=False)


# What it predicts


def test_a_file_says_that_it_predicts_v_and_ends_in_noise(tmp_path: Path) -> None:
    names = FULL["xl"]
    v = describe(sparse(tmp_path / "v.safetensors", {**names, "v_pred": (0,)})).schedule
    zero = describe(sparse(tmp_path / "z.safetensors", {**names, "v_pred": (0,), "ztsnr": (0,)})).schedule
    assert (v.prediction_type, v.zero_terminal_snr) == ("v_prediction", False)
    assert (zero.prediction_type, zero.zero_terminal_snr) == ("v_prediction", True)
    said = describe(sparse(tmp_path / "m.safetensors", names, metadata={"modelspec.prediction_type": "v"})).schedule
    assert said.prediction_type == "v_prediction"


SAYS = {
    "nothing": ({}, {}, None, "; it is taken to predict the noise, as nearly all do"),
    "v, by a tensor": ({"v_pred": (0,)}, {}, None, ", by its header, and predicts v"),
    "v, in its description": ({}, {"modelspec.prediction_type": "v"}, None, ", by its header, and predicts v"),
    "x0, in its description": ({}, {"modelspec.prediction_type": "sample"}, None, "predicts the clean picture"),
    "nothing, and a person something": ({}, {}, "sample", "; --prediction says that it predicts the clean picture"),
    "v, and a person the noise": ({"v_pred": (0,)}, {}, "epsilon", "; --prediction says that it predicts the noise"),
}


@pytest.mark.parametrize("what", SAYS)
def test_by_what_it_is_known_what_a_net_predicts_is_said(what: str, tmp_path: Path) -> None:
    more, metadata, prediction, said = SAYS[what]
    (note,) = describe(sparse(tmp_path / "m.safetensors", {**FULL["xl"], **more}, metadata=metadata), prediction).notes
    assert note.endswith(said), note


@pytest.mark.parametrize(
    ("name", "predicted"),
    [
        ("sdxl_lightning_1step_x0", "sample"),
        ("SDXL-Lightning-1step-x0", "sample"),
        ("sdxl_lightning_4step", "epsilon"),
        ("x0_style", "epsilon"),
        ("sdxl_lightning_x01", "epsilon"),
    ],
)
def test_a_name_says_that_the_clean_picture_is_predicted(name: str, predicted: str, tmp_path: Path) -> None:
    file = sparse(tmp_path / f"{name}.safetensors", FULL["xl"])
    found = describe(file)
    assert found.schedule.prediction_type == predicted
    assert ("by its name it predicts the clean picture" in found.notes[0]) == (predicted == "sample")
    assert describe(file, "v_prediction").schedule.prediction_type == "v_prediction"


def test_sd2_shows_by_a_bias_what_it_predicts(tmp_path: Path) -> None:
    """ComfyUI's sign: the spread of one bias, above 0.09 in nets that predict v."""
    sign = f"{UNET}output_blocks.11.1.transformer_blocks.0.norm1.bias"
    found = []
    for spread in (0.05, 0.2):
        names = under(UNET, unet((64, 64, 64, 64), context=128, linear=True))
        tensors = {n: np.zeros(s, np.float32) for n, s in names.items()}
        tensors[sign] = spread * np.random.default_rng(0).normal(size=64).astype(np.float32)
        more = {n: a for n, a in small("sd2").items() if not n.startswith(UNET)}
        file = write(tmp_path / f"{spread}.safetensors", tensors | more)
        found.append(describe(file))
    assert [d.schedule.prediction_type for d in found] == ["epsilon", "v_prediction"]
    assert [d.unet.sample_size for d in found] == [(64, 64), (96, 96)]
    assert "; by its weights it predicts v" in found[1].notes[0]


def test_a_persons_own_word_overrides(tmp_path: Path) -> None:
    file = sparse(tmp_path / "z.safetensors", {**FULL["xl"], "v_pred": (0,), "ztsnr": (0,)})
    assert describe(file, "epsilon").schedule.prediction_type == "epsilon"
    assert not describe(file, "epsilon").schedule.zero_terminal_snr
    assert describe(sparse(tmp_path / "e.safetensors", FULL["sd1"]), "v_prediction").schedule.prediction_type == (
        "v_prediction"
    )


# Loading


@pytest.mark.parametrize("family", ["sd1", "inpainting", "sd2", "xl"])
def test_every_number_arrives(family: str, tmp_path: Path) -> None:
    """All of a file's numbers are somewhere in the nets, none twice: the sums of squares are the same."""
    tensors = small(family, 3)
    sd = StableDiffusion(str(write(tmp_path / "model.safetensors", tensors)), float16=False)
    ours = sum(
        float(np.square(np.array(p)).sum(dtype=np.float64))
        for net in sd.nets.values()
        for p in parameters(net).values()
    )
    used = {
        n: a for n, a in tensors.items() if "position_ids" not in n and "logit_scale" not in n and a.dtype == np.float32
    }
    if family == "sd2":  # neither its last layer nor its projection is used
        used = {n: a for n, a in used.items() if "resblocks.23." not in n and "text_projection" not in n}
    theirs = sum(float(np.square(a).sum(dtype=np.float64)) for a in used.values())
    assert ours == pytest.approx(theirs, rel=1e-12)


def test_open_clips_projection_is_turned_and_its_rows_are_q_k_and_v(tmp_path: Path) -> None:
    tensors = small("xl")
    prefix = ldm_files.XL_TEXTS[1]
    sd = StableDiffusion(str(write(tmp_path / "xl.safetensors", tensors)), float16=False)
    assert np.array_equal(np.array(sd.text_encoder_2.text_projection.weight), tensors[f"{prefix}text_projection"].T)
    rows = tensors[f"{prefix}transformer.resblocks.1.attn.in_proj_weight"]
    attention = sd.text_encoder_2.encoder.layers[1].self_attn
    for i, one in enumerate((attention.q_proj, attention.k_proj, attention.v_proj)):
        assert np.array_equal(np.array(one.weight), rows[64 * i : 64 * (i + 1)])
    plain = dict(tensors)
    plain[f"{prefix}text_projection.weight"] = plain.pop(f"{prefix}text_projection").T
    other = StableDiffusion(str(write(tmp_path / "linear.safetensors", plain)), float16=False)
    assert mx.array_equal(other.text_encoder_2.text_projection.weight, sd.text_encoder_2.text_projection.weight)


def test_old_merges_lack_a_word_and_have_other_shapes(tmp_path: Path) -> None:
    tensors = small("sd1")
    old = {name.replace("text_model.", ""): array for name, array in tensors.items()}
    q = "first_stage_model.encoder.mid.attn_1.q.weight"
    old[q] = old[q][:, :, :, 0]
    old["cond_stage_model.transformer.text_projection.weight"] = np.zeros((64, 64), np.float32)
    old["model_ema.decay"] = np.zeros((), np.float32)
    old["alphas_cumprod"] = np.zeros(1000, np.float32)
    files = (write(tmp_path / "new.safetensors", tensors), write(tmp_path / "old.safetensors", old))
    one, other = (StableDiffusion(str(file), float16=False) for file in files)
    for name, net in one.nets.items():
        for path, array in parameters(net).items():
            assert mx.array_equal(array, parameters(other.nets[name])[path]), path
    assert len(other.notes) == 1


def test_what_is_not_used_is_said(tmp_path: Path) -> None:
    tensors = small("sd1")
    tensors |= {f"model_ema.diffusion_modelx{i}": np.zeros(1, np.float32) for i in range(101)}
    tensors |= {f"ornament.{i}": np.zeros(1, np.float32) for i in range(4)}
    notes = describe(write(tmp_path / "m.safetensors", tensors)).notes
    assert notes[1] == "m.safetensors also has averaged weights (EMA), which are not used"
    assert notes[2] == (
        "m.safetensors has tensors that are not used: ornament.0, ornament.1, ornament.2, ... (4 in all)"
    )


LOSS = {"loss.logvar": np.zeros(1, np.float32), "loss.discriminator.main.0.weight": np.zeros((4, 3, 4, 4), np.float32)}
AVERAGES = {"model_ema.decay": np.zeros((), np.float32), "model_ema.num_updates": np.zeros((), np.int32)}


def test_what_an_autoencoder_was_trained_against_is_left_out_and_said(tmp_path: Path) -> None:
    tensors, prefix = small("sd1"), "first_stage_model."
    plain = StableDiffusion(str(write(tmp_path / "plain.safetensors", tensors)), float16=False)
    extra = {prefix + name: array for name, array in (LOSS | AVERAGES).items()}
    own = StableDiffusion(str(write(tmp_path / "own.safetensors", tensors | extra)), float16=False)
    vae = {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}
    alone = write(tmp_path / "vae.safetensors", vae | LOSS | AVERAGES)
    other = StableDiffusion(str(tmp_path / "plain.safetensors"), float16=False, vae=str(alone))
    wanted = parameters(plain.autoencoder)
    for sd, file in ((own, "own.safetensors"), (other, "vae.safetensors")):
        assert all(mx.array_equal(array, wanted[path]) for path, array in parameters(sd.autoencoder).items())
        assert any(f"{file} has tensors that are not used: " in note and "loss.logvar" in note for note in sd.notes)


def test_a_tensor_too_many_or_too_few_in_a_net_is_named(tmp_path: Path) -> None:
    tensors = small("sd1")
    extra = tensors | {f"{UNET}input_blocks.1.0.ornament": np.zeros(3, np.float32)}
    assert "ornament' that an SD 1.x model knows nothing of" in refusal(write(tmp_path / "a.safetensors", extra))
    missing = {n: a for n, a in tensors.items() if n != f"{UNET}out.2.bias"}
    assert "lacks the tensor 'conv_out.bias' that an SD 1.x model asks for" in refusal(
        write(tmp_path / "b.safetensors", missing)
    )


def test_bfloat16_and_8_bit_files_load(tmp_path: Path) -> None:
    for kind, size in (("BF16", 2), ("F8_E4M3", 1), ("F32", 4)):
        names = {n: s for n, s in FULL["sd1"].items() if "position_ids" not in n}
        sd = StableDiffusion(str(sparse(tmp_path / f"{kind}.safetensors", names, kind, size)), float16=True)
        assert sd.unet.conv_in.weight.dtype == mx.float16
    assert "(fp8, read as half precision)" in describe(tmp_path / "F8_E4M3.safetensors").notes[0]


def test_a_file_paints(tmp_path: Path) -> None:
    from stable_diffusion import Settings

    sd = StableDiffusion(str(write(tmp_path / "model.safetensors", small("sd1"))), float16=False)
    pictures = sd.txt2img(Settings(prompt="a house", steps=2, width=32, height=32))
    assert pictures.shape == (1, 32, 32, 3) and mx.isfinite(pictures).all()
    assert Planner.of(str(tmp_path / "model.safetensors")).size == (512, 512)


# Another autoencoder


def autoencoder_alone(file: Path, family: str, **metadata: str) -> Path:
    names = {n: a for n, a in small(family).items() if n.startswith("first_stage_model.")}
    return write(file, names, **metadata)


def without_autoencoder(file: Path, family: str) -> Path:
    return write(file, {n: a for n, a in small(family).items() if not n.startswith("first_stage_model.")})


def test_a_file_without_an_autoencoder_scales_latents_as_its_family_does(tmp_path: Path) -> None:
    for family, scaling in (("sd1", 0.18215), ("xl", 0.13025)):
        model = without_autoencoder(tmp_path / f"{family}.safetensors", family)
        vae = autoencoder_alone(tmp_path / "vae.safetensors", family)
        found = StableDiffusion(str(model), float16=False, vae=str(vae)).description.vae
        assert isinstance(found, VAEConfig) and found.scaling_factor == scaling
        assert found.force_upcast == (family == "xl")


def test_an_autoencoder_of_another_family_is_refused(tmp_path: Path) -> None:
    """Its shapes are the same, its pictures would be wrong: known by the file's UNet, its description, its folder."""
    one, other = (write(tmp_path / f"{family}.safetensors", small(family)) for family in ("sd1", "xl"))
    said = "is for latents that are scaled by 0.13025, as another family's are, and this model's are by 0.18215"
    assert said in refusal(one, vae=str(other))
    StableDiffusion(str(other), float16=False).save(tmp_path / "folder")
    assert said in refusal(one, vae=str(tmp_path / "folder"))
    described = {"modelspec.architecture": "stable-diffusion-xl-v1-base/vae"}
    assert said in refusal(one, vae=str(autoencoder_alone(tmp_path / "vae.safetensors", "xl", **described)))
    StableDiffusion(str(other), float16=False, vae=str(tmp_path / "vae.safetensors"))


# What it is not


REFUSED: dict[str, tuple[Names, str]] = {
    "refiner": (
        {f"{UNET}input_blocks.0.0.weight": (384, 4, 3, 3),
         f"{UNET}input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight": (768, 1280),
         "conditioner.embedders.0.model.ln_final.weight": (1280,)},
        "is XL's refiner",
    ),
    "pix2pix": ({**FULL["sd1"], f"{UNET}input_blocks.0.0.weight": (320, 8, 3, 3)}, "is a pix2pix model"),
    "depth": ({**FULL["sd2"], f"{UNET}input_blocks.0.0.weight": (320, 5, 3, 3)}, "is a depth model"),
    "upscaler": ({**FULL["sd2"], f"{UNET}input_blocks.0.0.weight": (320, 7, 3, 3)}, "is the upscaler"),
    "sd3": ({"model.diffusion_model.joint_blocks.0.x.weight": (2, 2)}, "is a Stable Diffusion 3 model"),
    "flux": ({"double_blocks.0.img_attn.qkv.weight": (2, 2)}, "is a Flux model"),
    "playground": ({**FULL["xl"], "edm_mean": (4,)}, "is Playground 2.5"),
    "cosxl": ({**FULL["xl"], "edm_vpred.sigma_max": (1,)}, "is CosXL"),
    "unet": (under(UNET, unet()), "is the UNet of an SD 1.x alone"),
    "bare": (unet(), "is a UNet of an SD 1.x alone"),
    "no-vae": (
        {n: s for n, s in FULL["sd1"].items() if "first_stage" not in n}, "has no autoencoder: name one with --vae"
    ),
    "vae": (ldm_files.vae(), "is an autoencoder: name it with --vae"),
    "lora": ({"lora_unet_mid_block_attentions_0_proj_in.lora_up.weight": (4, 4)}, "is a LoRA: name it with --lora"),
    "embedding": ({"emb_params": (2, 768)}, "is a textual inversion: name it with --embedding"),
    "text": (ldm_files.clip(), "is a text encoder alone"),
    "controlnet": ({"control_model.input_hint_block.0.weight": (4,)}, "is a ControlNet"),
    "nothing": ({}, "is empty: it has no tensors"),
    "anything": ({"weight": (3,)}, "is nothing that is known here: its tensors are called weight"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_other_files_are_refused_by_what_they_are(what: str, tmp_path: Path) -> None:
    names, said = REFUSED[what]
    assert said in refusal(sparse(tmp_path / "f.safetensors", names))


def test_files_that_lie_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "good.safetensors", small("sd1"))
    data = file.read_bytes()
    n = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + n])
    names = sorted(name for name in header if name != "__metadata__")

    def with_header(text: bytes) -> Path:
        bad = tmp_path / "bad.safetensors"
        bad.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + n :])
        return bad

    overlapping = json.loads(json.dumps(header))
    overlapping[names[0]]["data_offsets"] = overlapping[names[1]]["data_offsets"]
    longer = json.loads(json.dumps(header))
    longer[names[0]]["shape"] = [10**9]
    twice = json.dumps(header).replace(json.dumps(names[0]), json.dumps(names[1])).encode()
    for text in (json.dumps(overlapping).encode(), json.dumps(longer).encode(), twice, b"{}", b"[]", b"{" * 10**5, b""):
        assert "is damaged or cut short" in refusal(with_header(text)) or "is empty" in refusal(with_header(text))
    (tmp_path / "bad.safetensors").write_bytes(struct.pack("<Q", 2**63) + data[8:])
    assert "is damaged or cut short" in refusal(tmp_path / "bad.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(struct.pack("<Q", 101 * 10**6) + b" " * 101 * 10**6)
    assert "is damaged or cut short" in refusal(tmp_path / "bad.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"")
    assert "is damaged or cut short" in refusal(tmp_path / "bad.safetensors")


def test_a_pickle_is_for_conversion_alone(tmp_path: Path) -> None:
    (tmp_path / "model.ckpt").write_bytes(b"PK")
    assert "python -m stable_diffusion.convert" in refusal(tmp_path / "model.ckpt")
