"""Files as people have them: diffusers' own folders in one file, other autoencoders, TAESD, textual inversions."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    DDIMScheduler,
    EulerDiscreteScheduler,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLInpaintPipeline,
    StableDiffusionXLPipeline,
)
from families import CROSS_DOWN, CROSS_UP, DOWN, SD_BETAS, UP, lively, unet
from mlx.utils import tree_flatten
from PIL import Image
from safetensors.torch import load_file, save_file
from test_pipeline import given_noise, noise_for, ours, picture, quiet, theirs  # noqa: F401
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from stable_diffusion import Settings, StableDiffusion
from stable_diffusion.weights.vocabulary import openai_tokenizer
from tests.nets import relative_error

Tensors = dict[str, torch.Tensor]
SETTINGS = Settings(prompt="a house by the sea", negative_prompt="fog", cfg=4.0, steps=5, sampler="euler", width=64,
                    height=48, n_images=2)  # fmt: skip
TEXT = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 1}
ENDS = {"bos_token_id": 49406, "eos_token_id": 49407}


def vocabulary(folder: Path, pad: str) -> CLIPTokenizer:
    import json

    vocab, merges, _ = openai_tokenizer()
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps(vocab))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(map(" ".join, merges)) + "\n", encoding="utf-8")
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    config = {**special, "pad_token": pad, "model_max_length": 77, "tokenizer_class": "CLIPTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return CLIPTokenizer.from_pretrained(folder)


def autoencoder(seed: int, **more: Any) -> AutoencoderKL:
    levels = 4
    shape = {"block_out_channels": [32] * levels, "norm_num_groups": 32, "layers_per_block": 1, "force_upcast": False}
    kinds = {"down_block_types": ["DownEncoderBlock2D"] * levels, "up_block_types": ["UpDecoderBlock2D"] * levels}
    return lively(AutoencoderKL(**{**shape, **kinds, **more}), seed)


def pipeline_of(family: str, folder: Path, prediction: str = "epsilon") -> Any:
    """A small checkpoint with the heads, groups and vocabulary that files of its family have, saved by diffusers."""
    net = {
        "norm_num_groups": 32,
        "block_out_channels": (64, 64, 64, 128),
        "layers_per_block": 2,
        "cross_attention_dim": 64,
    }
    common = {"scheduler": DDIMScheduler(**SD_BETAS, clip_sample=False, set_alpha_to_one=False, steps_offset=1,
                                         prediction_type=prediction)}  # fmt: skip
    plain = {**common, "safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    if family == "xl":
        net |= {"block_out_channels": (64, 64, 128), "down_block_types": (DOWN, CROSS_DOWN, CROSS_DOWN),
                "up_block_types": (CROSS_UP, CROSS_UP, UP), "attention_head_dim": (1, 1, 2), "cross_attention_dim": 128,
                "transformer_layers_per_block": (1, 2, 3), "use_linear_projection": True,
                "addition_embed_type": "text_time", "addition_time_embed_dim": 256,
                "projection_class_embeddings_input_dim": 64 + 6 * 256}  # fmt: skip
        second = CLIPTextConfig(**TEXT, **ENDS, hidden_act="gelu", projection_dim=64)
        made = StableDiffusionXLPipeline(
            unet=unet(1, **net), vae=autoencoder(2, scaling_factor=0.13025),
            text_encoder=lively(CLIPTextModel(CLIPTextConfig(**TEXT, **ENDS)), 3),
            text_encoder_2=lively(CLIPTextModelWithProjection(second), 4),
            tokenizer=vocabulary(folder / "tokenizer", "<|endoftext|>"),
            tokenizer_2=vocabulary(folder / "tokenizer_2", "!"), add_watermarker=False, **common,
        )  # fmt: skip
    else:
        two = family == "sd2"
        net |= {"attention_head_dim": (1, 1, 1, 2), "use_linear_projection": True} if two else {"attention_head_dim": 8}
        net |= {"in_channels": 9} if family == "inpainting" else {}
        config = CLIPTextConfig(**TEXT, **ENDS, hidden_act="gelu" if two else "quick_gelu")
        made = StableDiffusionPipeline(
            unet=unet(1, **net), vae=autoencoder(2), text_encoder=lively(CLIPTextModel(config), 3),
            tokenizer=vocabulary(folder / "tokenizer", "!" if two else "<|endoftext|>"), **plain,
        )  # fmt: skip
    made.save_pretrained(folder)
    return quiet(made)


# diffusers' names to LDM's, written from the layout of the original code, piece by piece

LEAVES = {"norm1": "in_layers.0", "conv1": "in_layers.2", "norm2": "out_layers.0", "conv2": "out_layers.3",
          "time_emb_proj": "emb_layers.1", "conv_shortcut": "skip_connection"}  # fmt: skip
STEMS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}


def ldm_unet(name: str) -> str:
    for ours_, other in STEMS.items():
        if name.startswith(ours_ + "."):
            return other + name[len(ours_) :]
    side, *rest = name.split(".")
    if side == "mid_block":
        kind, j, *leaf = rest
        if kind == "attentions":
            return ".".join(["middle_block.1", *leaf])
        return ".".join([f"middle_block.{2 * int(j)}", LEAVES[leaf[0]], *leaf[1:]])
    level, kind, j, *leaf = rest
    down = side == "down_blocks"
    if kind == "downsamplers":
        return f"input_blocks.{3 * int(level) + 3}.0.op.{leaf[-1]}"
    n = 3 * int(level) + int(j) + 1 if down else 3 * int(level) + int(j)
    block = f"{'input' if down else 'output'}_blocks.{n}"
    if kind == "resnets":
        return ".".join([block, "0", LEAVES[leaf[0]], *leaf[1:]])
    if kind == "attentions":
        return ".".join([block, "1", *leaf])
    return f"output_blocks.{3 * int(level) + 2}.UP.conv.{leaf[-1]}"


def ldm_vae(name: str, levels: int = 4) -> str:
    name = re.sub(r"down_blocks\.(\d)\.resnets\.(\d)", r"down.\1.block.\2", name)
    name = re.sub(r"up_blocks\.(\d)\.resnets\.(\d)", lambda m: f"up.{levels - 1 - int(m[1])}.block.{m[2]}", name)
    name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
    name = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{levels - 1 - int(m[1])}.upsample", name)
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    for a, b in (("group_norm", "norm"), ("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out.0", "proj_out")):
        name = name.replace(f"mid_block.attentions.0.{a}.", f"mid.attn_1.{b}.")
    return name.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")


def open_clip(state: Tensors) -> Tensors:
    made: Tensors = {}
    names = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
             "self_attn.out_proj": "attn.out_proj"}  # fmt: skip
    for name, tensor in state.items():
        name = name.removeprefix("text_model.")
        if name == "embeddings.token_embedding.weight":
            made["token_embedding.weight"] = tensor
        elif name == "embeddings.position_embedding.weight":
            made["positional_embedding"] = tensor
        elif name.startswith("final_layer_norm"):
            made[name.replace("final_layer_norm", "ln_final")] = tensor
        elif name == "text_projection.weight":
            made["text_projection"] = tensor.T
        elif found := re.fullmatch(r"encoder\.layers\.(\d+)\.self_attn\.q_proj\.(weight|bias)", name):
            same = f"layers.{found[1]}.self_attn."
            q, k, v = (next(t for n, t in state.items() if n.endswith(f"{same}{one}_proj.{found[2]}")) for one in "qkv")
            made[f"transformer.resblocks.{found[1]}.attn.in_proj_{found[2]}"] = torch.cat([q, k, v])
        elif (found := re.fullmatch(r"encoder\.layers\.(\d+)\.(.+)\.(weight|bias)", name)) and found[2] in names:
            made[f"transformer.resblocks.{found[1]}.{names[found[2]]}.{found[3]}"] = tensor
    return made


def single(pipeline: Any, family: str, file: Path) -> Path:
    """The file that the original code would have written."""
    made: Tensors = {}
    state = pipeline.unet.state_dict()
    attends = {n.split(".")[1] for n in state if n.startswith("up_blocks.") and ".attentions." in n}
    for name, tensor in state.items():
        up = name.split(".")[1] if name.startswith("up_blocks.") else ""
        made["model.diffusion_model." + ldm_unet(name).replace("UP", "2" if up in attends else "1")] = tensor
    for name, tensor in pipeline.vae.state_dict().items():
        square = ".attentions.0.to_" in name and tensor.ndim == 2
        made["first_stage_model." + ldm_vae(name)] = tensor[:, :, None, None] if square else tensor
    text = pipeline.text_encoder.state_dict()
    text = {n if n.startswith("text_model.") else f"text_model.{n}": t for n, t in text.items()}
    if family == "xl":
        made |= {f"conditioner.embedders.0.transformer.{n}": t for n, t in text.items()}
        made |= {
            f"conditioner.embedders.1.model.{n}": t for n, t in open_clip(pipeline.text_encoder_2.state_dict()).items()
        }
    elif family == "sd2":
        made |= {f"cond_stage_model.model.{n}": t for n, t in open_clip(text).items()}
    else:
        made |= {f"cond_stage_model.transformer.{n}": t for n, t in text.items()}
    save_file({n: t.contiguous().clone() for n, t in made.items()}, file)
    return file


FAMILIES = ["sd1", "sd2", "xl", "inpainting"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Each family's pipeline, folder and file, made once."""
    known: dict[str, tuple[Any, Path, Path]] = {}

    def get(family: str) -> tuple[Any, Path, Path]:
        if family not in known:
            place = tmp_path_factory.mktemp(family)
            pipeline = pipeline_of(family, place / "folder")
            known[family] = pipeline, place / "folder", single(pipeline, family, place / "model.safetensors")
        return known[family]

    return get


def parameters(sd: StableDiffusion) -> dict[str, mx.array]:
    return {f"{net}.{k}": v for net, module in sd.nets.items() for k, v in tree_flatten(module.parameters())}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_folder_and_its_file_are_the_same_bits(family: str, made: Any) -> None:
    _, folder, file = made(family)
    one, other = (parameters(StableDiffusion(str(place), float16=False)) for place in (folder, file))
    assert one.keys() == other.keys()
    assert not [name for name in one if not mx.array_equal(one[name], other[name])]


# Family, prediction, and whether the highest level is noise alone.
CASES = [
    ("sd1", "epsilon", False),
    ("sd1", "v_prediction", False),
    ("sd2", "epsilon", False),
    ("sd2", "v_prediction", False),
    ("sd2", "v_prediction", True),
    ("xl", "epsilon", False),
    ("xl", "v_prediction", False),
    ("xl", "v_prediction", True),
]
WAYS: dict[str, tuple[Any, Any]] = {
    "image-to-image": (StableDiffusionImg2ImgPipeline, StableDiffusionXLImg2ImgPipeline),
    "inpainting": (StableDiffusionInpaintPipeline, StableDiffusionXLInpaintPipeline),
}
MASK = np.zeros((48, 64), dtype=np.uint8)
MASK[8:40, 24:] = 255


def told(file: Path, prediction: str, zero: bool, to: Path) -> Path:
    """The same file, which says itself what it predicts."""
    says = {"v_pred": torch.zeros(0)} if prediction == "v_prediction" else {}
    tensors = load_file(file) | says | ({"ztsnr": torch.zeros(0)} if zero else {})
    save_file(tensors, to, {"modelspec.prediction_type": "epsilon"} if prediction == "epsilon" else None)
    return to


def scheduled(pipeline: Any, prediction: str, zero: bool) -> Any:
    pipeline.scheduler = EulerDiscreteScheduler.from_config(
        pipeline.scheduler.config,
        timestep_spacing="trailing",
        prediction_type=prediction,
        rescale_betas_zero_snr=zero,
    )
    return pipeline


@pytest.mark.parametrize(("family", "prediction", "zero"), CASES)
def test_a_file_ends_where_diffusers_ends(family: str, prediction: str, zero: bool, made: Any, tmp_path: Path) -> None:
    pipeline, _, file = made(family)
    noise = noise_for()
    sd = StableDiffusion(str(told(file, prediction, zero, tmp_path / "told.safetensors")), float16=False)
    assert (sd.schedule.prediction_type, sd.schedule.zero_terminal_snr) == (prediction, zero)
    *_, last = sd.sample(replace(SETTINGS, spacing="trailing", cfg_rescale=0.0), noise=mx.array(noise))
    wanted = theirs(scheduled(pipeline, prediction, zero), SETTINGS, noise)
    assert relative_error(np.array(last.x), wanted) < 1e-3


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("family", "prediction", "zero"), [*CASES, ("inpainting", "epsilon", False)])
def test_from_a_picture_a_file_ends_where_diffusers_ends(
    way: str,
    family: str,
    prediction: str,
    zero: bool,
    made: Any,
    tmp_path: Path,
    given_noise: np.ndarray,  # noqa: F811
) -> None:
    if family == "inpainting" and way == "image-to-image":
        pytest.skip("diffusers has no image-to-image for nine channels")
    pipeline, _, file = made(family)
    kind = WAYS[way][family == "xl"]
    other = quiet(kind(**scheduled(pipeline, prediction, zero).components))
    masked = way == "inpainting"
    wanted = other(
        prompt=SETTINGS.prompt,
        negative_prompt=SETTINGS.negative_prompt,
        image=Image.fromarray(picture()),
        strength=0.7,
        num_inference_steps=SETTINGS.steps,
        guidance_scale=SETTINGS.cfg,
        output_type="latent",
        **({"mask_image": Image.fromarray(MASK), "width": 64, "height": 48} if masked else {}),
    ).images.permute(0, 2, 3, 1)
    sd = StableDiffusion(str(told(file, prediction, zero, tmp_path / "told.safetensors")), float16=False)
    settings = replace(SETTINGS, n_images=1, spacing="trailing", strength=0.7, strength_mode="skip", cfg_rescale=0.0)
    image = mx.array(picture().astype(np.float32) / 127.5 - 1)
    mask = mx.array(MASK / 255).astype(mx.float32) if masked else None
    *_, last = sd.sample(settings, image, mask, noise=mx.array(given_noise))
    assert relative_error(np.array(last.x), wanted.numpy()) < 1e-3


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("form", ["folder", "model.safetensors"])
def test_what_is_saved_is_what_was_read_and_diffusers_loads_it(
    family: str, form: str, made: Any, tmp_path: Path
) -> None:
    pipeline, _, file = made(family)
    first = StableDiffusion(str(file), float16=False)
    first.save(tmp_path / form)
    again = StableDiffusion(str(tmp_path / form), float16=False)
    one, other = parameters(first), parameters(again)
    assert one.keys() == other.keys() and not [name for name in one if not mx.array_equal(one[name], other[name])]
    assert again.schedule == first.schedule and again.description.unet == first.description.unet
    if form == "model.safetensors":
        written, theirs_ = load_file(tmp_path / form), load_file(file)
        assert written.keys() - {"v_pred"} == theirs_.keys()
        assert not [name for name, t in theirs_.items() if not torch.equal(t, written[name])]
    else:
        loaded = type(pipeline).from_pretrained(tmp_path / form)
        for part in ("unet", "vae", "text_encoder", "text_encoder_2"):
            if (net := getattr(pipeline, part, None)) is not None:
                found = getattr(loaded, part).state_dict()
                assert found.keys() == net.state_dict().keys()
                assert not [n for n, t in net.state_dict().items() if not torch.equal(t, found[n])]
        noise = noise_for()
        settings = replace(SETTINGS, steps=3, cfg_rescale=0.0)
        if family != "inpainting":
            one, other = (theirs(scheduled(p, "epsilon", False), settings, noise) for p in (pipeline, quiet(loaded)))
            assert np.array_equal(one, other)
        words = "the sea, 海 at 7 o'clock"
        assert loaded.tokenizer(words).input_ids == pipeline.tokenizer(words).input_ids


def test_a_pickle_of_torch_is_converted(made: Any, tmp_path: Path) -> None:
    from stable_diffusion.cli.converting import convert

    _, _, file = made("sd1")
    state = load_file(file)
    state["model_ema.decay"] = torch.zeros((), dtype=torch.float64)
    state["model.diffusion_model.out.2.weight"] = (
        state["model.diffusion_model.out.2.weight"].permute(3, 0, 1, 2).permute(1, 2, 3, 0)
    )
    torch.save({"state_dict": state, "global_step": 7}, tmp_path / "model.ckpt")
    assert convert([str(tmp_path / "model.ckpt"), str(tmp_path / "folder")]) == 0
    one, other = (parameters(StableDiffusion(str(p), float16=False)) for p in (file, tmp_path / "folder"))
    assert not [name for name in one if not mx.array_equal(one[name], other[name])]
    torch.save({"string_to_param": {"*": torch.nn.Parameter(vectors(1, 2))}, "name": "easy"}, tmp_path / "easy.pt")
    assert convert([str(tmp_path / "easy.pt"), str(tmp_path / "easy.safetensors")]) == 0
    assert torch.equal(load_file(tmp_path / "easy.safetensors")["emb_params"], vectors(1, 2))


# Autoencoders


def decoded(vae: Any, latents: np.ndarray, scaling: float) -> np.ndarray:
    with torch.no_grad():
        z = torch.from_numpy(latents).permute(0, 3, 1, 2) / scaling
        return (vae.decode(z).sample.permute(0, 2, 3, 1).numpy() / 2 + 0.5).clip(0, 1)


LATENTS = np.random.default_rng(1).normal(size=(1, 6, 8, 4)).astype(np.float32)
IMAGE = np.random.default_rng(2).uniform(-1, 1, size=(48, 64, 3)).astype(np.float32)


@pytest.mark.parametrize("form", ["folder", "in a folder", "diffusers file", "LDM file", "LDM file with prefix"])
def test_another_autoencoder(form: str, made: Any, tmp_path: Path) -> None:
    _, folder, _ = made("sd1")
    vae = autoencoder(77)
    vae.save_pretrained(tmp_path / "pipe" / "vae")
    state = {n: t.contiguous() for n, t in vae.state_dict().items()}
    ldm = {ldm_vae(n): t for n, t in state.items()}
    save_file(ldm, tmp_path / "ldm.safetensors")
    save_file({f"first_stage_model.{n}": t for n, t in ldm.items()}, tmp_path / "prefix.safetensors")
    place = {"folder": "pipe/vae", "in a folder": "pipe", "LDM file": "ldm.safetensors",
             "diffusers file": "pipe/vae/diffusion_pytorch_model.safetensors",
             "LDM file with prefix": "prefix.safetensors"}[form]  # fmt: skip
    sd = StableDiffusion(str(folder), float16=False, vae=str(tmp_path / place))
    assert sd.identity != StableDiffusion(str(folder), float16=False).identity
    assert np.abs(np.array(sd.decode(mx.array(LATENTS))) - decoded(vae, LATENTS, 0.18215)).max() < 1e-4
    with torch.no_grad():
        mean = vae.encode(torch.from_numpy(IMAGE[None]).permute(0, 3, 1, 2)).latent_dist.mean * 0.18215
    assert relative_error(np.array(sd.encode(mx.array(IMAGE))), mean.permute(0, 2, 3, 1).numpy()) < 1e-4


@pytest.mark.parametrize("form", ["folder", "diffusers file", "the authors' files"])
def test_taesd(form: str, made: Any, tmp_path: Path) -> None:
    _, folder, _ = made("sd1")
    tiny = lively(AutoencoderTiny(), 5)
    tiny.save_pretrained(tmp_path / "taesd")
    for side, shift in (("encoder", 0), ("decoder", 1)):  # the decoder's clamp is its layer 0 there
        own = {}
        for name, tensor in getattr(tiny, side).layers.state_dict().items():
            n, _, rest = name.partition(".")
            own[f"{int(n) + shift}.{rest}"] = tensor.contiguous()
        save_file(own, tmp_path / f"taesd_{side}.safetensors")
    place = {"folder": "taesd", "diffusers file": "taesd/diffusion_pytorch_model.safetensors",
             "the authors' files": "taesd_decoder.safetensors"}[form]  # fmt: skip
    sd = StableDiffusion(str(folder), float16=False, vae=str(tmp_path / place))
    assert np.abs(np.array(sd.decode(mx.array(LATENTS))) - decoded(tiny, LATENTS, 1.0)).max() < 1e-4
    with torch.no_grad():
        latents = tiny.encode(torch.from_numpy(IMAGE[None]).permute(0, 3, 1, 2)).latents.permute(0, 2, 3, 1).numpy()
    assert relative_error(np.array(sd.encode(mx.array(IMAGE))), latents) < 1e-4


# Textual inversion


def vectors(seed: int, n: int) -> torch.Tensor:
    return torch.randn((n, 64), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("prompt", ["a <cat-toy> on <one>", "<CAT-toy>, <one><one>", "plain words", "<cat-toy> " * 40])
def test_textual_inversion(prompt: str, made: Any, tmp_path: Path) -> None:
    _, folder, _ = made("sd1")
    save_file({"<cat-toy>": vectors(1, 3)}, tmp_path / "a.safetensors")
    save_file({"<one>": vectors(2, 1)[0].clone()}, tmp_path / "b.safetensors")
    files = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    pipeline = quiet(StableDiffusionPipeline.from_pretrained(folder, safety_checker=None))
    pipeline.load_textual_inversion([str(f) for f in files], token=["<cat-toy>", "<one>"])
    with torch.no_grad():
        wanted, _ = pipeline.encode_prompt(prompt.lower(), "cpu", 1, False)
    sd = StableDiffusion(str(folder), float16=False, embeddings=files)
    encoded, _ = sd.texts.encode(prompt, cut=True)
    assert relative_error(np.array(encoded.context), wanted.numpy()) < 1e-5


def test_textual_inversion_for_xls_two_encoders(made: Any, tmp_path: Path) -> None:
    _, folder, _ = made("xl")
    save_file({"clip_l": vectors(3, 2), "clip_g": vectors(4, 2)}, tmp_path / "easy.safetensors")
    pipeline = quiet(StableDiffusionXLPipeline.from_pretrained(folder))
    for key, i in (("clip_l", ""), ("clip_g", "_2")):
        pipeline.load_textual_inversion(
            vectors(3 + (i != ""), 2), token="<easy>",
            text_encoder=getattr(pipeline, f"text_encoder{i}"), tokenizer=getattr(pipeline, f"tokenizer{i}"),
        )  # fmt: skip
    with torch.no_grad():
        wanted, _, pooled, _ = pipeline.encode_prompt("a <easy> house", do_classifier_free_guidance=False)
    sd = StableDiffusion(str(folder), float16=False, embeddings=[(tmp_path / "easy.safetensors", "<easy>")])
    encoded, _ = sd.texts.encode("a <easy> house")
    assert relative_error(np.array(encoded.context), wanted.numpy()) < 1e-5
    assert encoded.pooled is not None and relative_error(np.array(encoded.pooled), pooled.numpy()) < 1e-5
