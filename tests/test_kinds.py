"""What a file is, and what is said of it in each role: true sentences, before any work."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import mlx.nn as nn
import pytest

from stable_diffusion import StableDiffusion
from stable_diffusion.weights.autoencoders import autoencoder_part
from stable_diffusion.weights.checkpoint import CheckpointError
from stable_diffusion.weights.embeddings import read_embedding
from stable_diffusion.weights.kinds import EMBEDDING, LORA, MODEL, VAE, kind_of
from stable_diffusion.weights.lora import read_lora
from stable_diffusion.weights.nets import describe
from stable_diffusion.weights.tensors import read_header
from tests.ldm_files import SD1_TEXT, SD2_TEXT, XL_TEXTS, Names, clip, open_clip, sparse, under, unet, vae
from tests.sentences import check_sentence

UNET, CODER = "model.diffusion_model.", "first_stage_model."
SMALL = {"widths": (32, 64), "depths": (1, 0), "context": 64, "blocks": 1}
PIECES = under(CODER, vae((32, 32), 1))
ONE, TWO = under(SD1_TEXT, clip(64, 1)), under(SD2_TEXT, open_clip(64, 2))
BOTH = under(XL_TEXTS[0], clip(64, 1)), under(XL_TEXTS[1], open_clip(64, 2))
XL_NET = under(UNET, unet((64, 64), (0, 2), 2, 128, linear=True, label=1600, blocks=1))


def net(channels: int = 4, label: int | None = None) -> Names:
    return under(UNET, unet(**SMALL, channels=channels, label=label))  # type: ignore[arg-type]


def lora(*ends: str, stem: str = "lora_unet_mid_block_attentions_0_proj_in.") -> Names:
    return {f"{stem}{end}": (4, 4) for end in ends}


# What is in a file, what it is, and the option that it belongs to.
KINDS: dict[str, tuple[Names, str, str | None]] = {
    "SD 1": (net() | PIECES | ONE, "an SD 1.x model", MODEL),
    "SD 1, repainting": (net(9) | PIECES | ONE, "an SD 1.x model", MODEL),
    "SD 2": (net() | PIECES | TWO, "an SD 2.x model", MODEL),
    "XL": (XL_NET | PIECES | BOTH[0] | BOTH[1], "an SD XL model", MODEL),
    "XL without its second text encoder": (XL_NET | PIECES | BOTH[0], "lacks its second text encoder", None),
    "XL without its first text encoder": (XL_NET | PIECES | BOTH[1], "lacks its first text encoder", None),
    "a model without its text encoder": (net() | PIECES, "a model that lacks its text encoder", None),
    "unCLIP": (net(label=1024) | PIECES | TWO, "unCLIP, whose UNet is also told of a picture", None),
    "pix2pix": (net(8) | PIECES | ONE, "a pix2pix model", None),
    "depth": (net(5) | PIECES | TWO, "a depth model", None),
    "upscaler": (net(7) | PIECES | TWO, "the upscaler", None),
    "refiner": (net() | PIECES | under("conditioner.embedders.0.model.", open_clip(64, 2)) | {
        f"{UNET}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (32, 1280)}, "XL's refiner", None),
    "playground": (XL_NET | PIECES | BOTH[0] | BOTH[1] | {"edm_mean": (4,)}, "Playground 2.5", None),
    "CosXL": (XL_NET | PIECES | BOTH[0] | BOTH[1] | {"edm_vpred.sigma_max": ()}, "CosXL", None),
    "a UNet": (net(), "the UNet of a model alone, without a text encoder", None),
    "part of a UNet": ({f"{UNET}out.0.weight": (32,)}, "a part of a UNet, without its first layer", None),
    "a UNet, bare": (unet(), "a UNet of an SD 1.x alone", None),
    "a UNet, of a folder": (
        {"conv_in.weight": (32, 4, 3, 3), "down_blocks.0.resnets.0.conv1.weight": (32, 32, 3, 3)}, "of a folder", None),
    "a text encoder": (clip(64, 1), "a text encoder alone", None),
    "a text encoder, with its prefix": (under("text_model.", clip(64, 1)), "a text encoder alone", None),
    "OpenCLIP": (open_clip(64, 2), "a text encoder alone", None),
    "T5": ({"shared.weight": (8, 8), "encoder.block.0.layer.0.SelfAttention.q.weight": (8, 8)}, "(T5)", None),
    "an encoder of pictures": ({"vision_model.embeddings.class_embedding": (8,)}, "an encoder of pictures", None),
    "an autoencoder": (vae((32, 32), 1), "an autoencoder", VAE),
    "an autoencoder, with its prefix": (PIECES, "an autoencoder", VAE),
    "an autoencoder, of a folder": (
        {"encoder.down_blocks.0.resnets.0.norm1.weight": (32,), "decoder.conv_in.weight": (32, 4, 3, 3)},
        "an autoencoder", VAE),
    "half an autoencoder": ({n: s for n, s in vae((32, 32), 1).items() if n.startswith("decoder.")},
                            "an autoencoder", VAE),
    "TAESD": ({"encoder.layers.0.weight": (64, 3, 3, 3), "decoder.layers.0.weight": (64, 4, 3, 3)}, "an autoencoder",
              VAE),
    "half of TAESD": ({"1.weight": (64, 4, 3, 3), "3.conv.0.weight": (64, 64, 3, 3)}, "one half of TAESD", VAE),
    "a LoRA": (lora("lora_up.weight", "lora_down.weight"), "a LoRA", LORA),
    "a LoRA of peft": (lora("lora_A.style_1.weight", "lora_B.style_1.weight"), "a LoRA", LORA),
    "a LoRA of diffusers": (lora("to_q_lora.up.weight", "to_q_lora.down.weight", stem="unet.x.processor."), "a LoRA",
                            LORA),
    "a LoRA, counted": ({"unet:0:up": (4, 1), "unet:0:down": (1, 4)}, "a LoRA", LORA),
    "LoHa": (lora("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"), "a LoRA", LORA),
    "LoKr": (lora("lokr_w1", "lokr_w2"), "a LoRA", LORA),
    "whole differences": (lora("diff", "diff_b"), "a LoRA", LORA),
    "norms": (lora("w_norm", "b_norm"), "a LoRA", LORA),
    "a LoRA in another dialect": (lora("lora_left", "lora_A"), "a LoRA", LORA),
    "OFT": (lora("oft_blocks"), "a LoRA of the kind OFT, which is not known here", LORA),
    "IA3": (lora("weight", "on_input"), "a LoRA of the kind IA3, which is not known here", LORA),
    "GLoRA": (lora("a1.weight", "b1.weight"), "a LoRA of the kind GLoRA, which is not known here", LORA),
    "a LoRA for Flux": (lora("lora_up.weight", stem="lora_unet_double_blocks_0_x."), "a LoRA for Flux", LORA),
    "a LoRA for Flux, of peft": (
        lora("lora_A.weight", stem="transformer.single_transformer_blocks.0.x."), "a LoRA for Flux", LORA),
    "a LoRA for SD 3": (lora("lora_A.weight", stem="transformer.transformer_blocks.0.x."), "another kind of net", LORA),
    "an embedding": ({"emb_params": (2, 768)}, "a textual inversion", EMBEDDING),
    "an embedding, and more": ({"emb_params": (2, 768), "step": (1,)}, "a textual inversion", EMBEDDING),
    "an embedding for XL": ({"clip_l": (2, 768), "clip_g": (2, 1280)}, "a textual inversion", EMBEDDING),
    "an embedding by its word": ({"<cat-toy>": (768,)}, "a textual inversion", EMBEDDING),
    "an embedding for SD 3": ({"clip_l": (2, 768), "clip_g": (2, 1280), "t5": (2, 4096)}, "for Stable Diffusion 3",
                              EMBEDDING),
    "ControlNet": ({"control_model.input_blocks.0.0.weight": (32, 4, 3, 3)} | net() | PIECES | ONE, "a ControlNet",
                   None),
    "ControlNet, of a folder": (
        {"controlnet_cond_embedding.conv_in.weight": (16, 3, 3, 3), "conv_in.weight": (32, 4, 3, 3),
         "down_blocks.0.resnets.0.conv1.weight": (32, 32, 3, 3)}, "a ControlNet", None),
    "Control-LoRA": (
        {"lora_controlnet": (), "input_hint_block.0.weight": (16, 3, 3, 3),
         "input_blocks.1.0.in_layers.2.down": (4, 4)}, "a Control-LoRA", None),
    "LLLite": (lora("down.0.weight", "up.0.weight", stem="lllite_unet_x."), "a ControlNet-LLLite", None),
    "T2I-Adapter": ({"adapter.body.0.resnets.0.block1.weight": (8, 8, 3, 3)}, "a T2I-Adapter", None),
    "T2I-Adapter, its author's": ({"body.0.in_conv.weight": (8, 8, 1, 1), "conv_in.weight": (8, 8, 3, 3)},
                                  "a T2I-Adapter", None),
    "IP-Adapter": ({"image_proj.proj.weight": (8, 8), "ip_adapter.1.to_k_ip.weight": (8, 8)}, "an IP-Adapter", None),
    "IP-Adapter, for faces": ({"image_proj.x.weight": (8, 8), "ip_adapter.0.to_q_lora.down.weight": (8, 8)},
                              "an IP-Adapter", None),
    "PhotoMaker": ({"id_encoder.x": (8,), "lora_weights.unet.x.lora.up.weight": (8, 8)}, "PhotoMaker", None),
    "AnimateDiff": ({"down_blocks.0.motion_modules.0.temporal_transformer.proj_in.weight": (8, 8)}, "AnimateDiff",
                    None),
    "a LoRA for AnimateDiff": (
        {"down_blocks.0.motion_modules.0.x.processor.to_q_lora.down.weight": (8, 8)}, "AnimateDiff", None),
    "ESRGAN": ({"model.0.weight": (64, 3, 3, 3), "model.1.sub.0.RDB1.conv1.0.weight": (32, 64, 3, 3)}, "ESRGAN", None),
    "ESRGAN, newer": ({"conv_first.weight": (64, 3, 3, 3), "body.0.rdb1.conv1.weight": (32, 64, 3, 3)}, "ESRGAN", None),
    "SD 3": ({f"{UNET}joint_blocks.0.x.weight": (8, 8)} | PIECES, "a Stable Diffusion 3 model", None),
    "Flux": ({"double_blocks.0.img_attn.qkv.weight": (8, 8)}, "a Flux model", None),
    "Flux, of a folder": ({"single_transformer_blocks.0.x.weight": (8, 8)}, "a Flux model", None),
    "PixArt": ({"pos_embed.proj.weight": (8, 8), "adaln_single.x": (8,)}, "a PixArt model", None),
    "video": ({f"{UNET}input_blocks.1.0.time_stack.in_layers.0.weight": (8,)} | net(8), "Stable Video Diffusion", None),
    "nothing": ({}, "empty", None),
    "anything": ({"a": (3,), "b": (3,)}, "nothing that is known here: its tensors are called a, b", None),
}  # fmt: skip


@cache
def nets() -> dict[str, nn.Module]:
    sd = StableDiffusion(str(Path(__file__).parent / "data" / "sd1"), float16=False)
    return {"unet": sd.unet, "text_encoder": sd.text_encoder}


LATENTS = {"scaling_factor": 0.18215, "force_upcast": False}
ROLES: dict[str, tuple[str, Callable[[Path], object]]] = {
    MODEL: ("Stable Diffusion model", describe),
    LORA: ("LoRA", lambda file: read_lora(file, nets(), "SD 1.x")),
    VAE: ("autoencoder", lambda file: autoencoder_part(file, LATENTS)),
    EMBEDDING: ("textual inversion", lambda file: read_embedding(file, None, [768], "SD 1.x")),
}


@pytest.mark.parametrize("what", KINDS)
def test_a_file_is_known_by_its_header(what: str, tmp_path: Path) -> None:
    names, said, option = KINDS[what]
    kind = kind_of(read_header(sparse(tmp_path / "f.safetensors", names)))
    assert said in f"{kind.what}: {kind.remedy}" and kind.option == option
    assert bool(kind.family) == (option == MODEL)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("what", KINDS)
def test_what_is_said_of_a_file_in_any_role_is_true(what: str, role: str, tmp_path: Path) -> None:
    names, said, option = KINDS[what]
    called, read = ROLES[role]
    file = sparse(tmp_path / "f.safetensors", names)
    try:
        read(file)
    except CheckpointError as error:
        sentence = str(error)
        check_sentence(sentence, str(file))
        if role == VAE and any(name.startswith(CODER) for name in names):  # of a whole model
            assert "is for latents that are scaled by" in sentence or said in sentence, sentence
        elif option == role:  # something is wrong with it, but not this
            assert f"is no {called}" not in sentence, sentence
        else:
            assert sentence.startswith(f"{file} is ") and said in sentence, sentence
            assert (
                not option
                or f"name it with {option}" in sentence
                or "runs Stable Diffusion" in sentence
                or ("name a LoRA, LoHa" in sentence)
            ), sentence
    else:
        whole_with_autoencoder = role == VAE and any(name.startswith(CODER) for name in names)
        assert option == role or whole_with_autoencoder, f"{what} was taken with {role}"


@pytest.mark.parametrize("what", ["SD 1", "SD 2", "XL", "a LoRA", "an autoencoder", "an embedding"])
def test_a_file_in_its_own_role_is_taken(what: str, tmp_path: Path) -> None:
    names, _, option = KINDS[what]
    assert option is not None and ROLES[option][1](sparse(tmp_path / "f.safetensors", names))
