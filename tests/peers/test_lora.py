"""LoRAs in every dialect: the same UNet outputs as peft, lycoris and diffusers give with the same file."""

import json
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel
from families import sd1, xl
from outputs import inputs
from peft import LoHaConfig, LoKrConfig, LoraConfig, get_peft_model, get_peft_model_state_dict, inject_adapter_in_model
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel

from stable_diffusion import StableDiffusion
from tests.nets import relative_error

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from lycoris import LycorisNetwork, create_lycoris

LINEAR = ["to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "time_emb_proj"]
CONVOLUTIONS = ["proj_in", "proj_out", "conv1", "conv2", "conv_shortcut", "conv"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sd1(tmp_path_factory.mktemp("lora") / "sd1", 40)


@pytest.fixture(scope="module")
def xl_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return xl(tmp_path_factory.mktemp("lora") / "xl", 41)


def torch_unet(folder: Path) -> UNet2DConditionModel:
    return UNet2DConditionModel.from_pretrained(folder / "unet").eval()


@torch.no_grad()
def theirs(net: Any, folder: Path) -> np.ndarray:
    given = inputs(folder)
    added = {name: torch.from_numpy(given[name]) for name in ("text_embeds", "time_ids") if name in given}
    return (
        net(
            torch.from_numpy(given["x"]).permute(0, 3, 1, 2),
            torch.from_numpy(given["t"]),
            torch.from_numpy(given["context"]),
            added_cond_kwargs=added or None,
        )
        .sample.permute(0, 2, 3, 1)
        .numpy()
    )


def ours(folder: Path, file: Path, *scales: float, **more: Any) -> np.ndarray:
    sd = StableDiffusion(str(folder), float16=False, loras=[(file, *scales)], **more)
    given = inputs(folder)
    names = ("x", "t", "context", "text_embeds", "time_ids")
    return np.array(sd.unet(**{name: mx.array(given[name]) for name in names if name in given}))


def randomised(module: torch.nn.Module, words: tuple[str, ...], seed: int = 0) -> None:
    """Random numbers in all parameters whose names have one of the words."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in sorted(module.named_parameters()):
            if any(word in name for word in words):
                p.copy_(0.3 * torch.randn(p.shape, generator=generator) + (1.0 if "magnitude" in name else 0.0))


@cache
def plain(folder: Path) -> np.ndarray:
    return theirs(torch_unet(folder), folder)


def check(folder: Path, file: Path, wanted: np.ndarray, *scales: float) -> None:
    assert relative_error(plain(folder), wanted) > 0.01, "the LoRA does nothing, so nothing is shown"
    assert relative_error(ours(folder, file, *(scales or (1.0,))), wanted) < 1e-5


# peft

PEFT = {
    "lora": LoraConfig(r=3, lora_alpha=2, target_modules=LINEAR + CONVOLUTIONS),
    "rslora": LoraConfig(r=3, lora_alpha=2, use_rslora=True, target_modules=LINEAR),
    "lora-patterns": LoraConfig(r=3, lora_alpha=2, target_modules=LINEAR, alpha_pattern={"to_q": 5, "ff.net.2": 1}),
    "lora-bias": LoraConfig(r=2, lora_alpha=2, lora_bias=True, target_modules=["to_out.0", "time_emb_proj"]),
    "dora": LoraConfig(r=3, lora_alpha=2, use_dora=True, target_modules=LINEAR),
    "dora-conv": LoraConfig(r=3, lora_alpha=2, use_dora=True, target_modules=["conv1", "proj_in", "to_q"]),
    "loha": LoHaConfig(r=3, alpha=2, target_modules=[*LINEAR, "conv1"]),
    "loha-tucker": LoHaConfig(r=3, alpha=2, use_effective_conv2d=True, target_modules=["conv1", "conv2"]),
    "lokr": LoKrConfig(r=2, alpha=1, target_modules=LINEAR),
    "lokr-tucker": LoKrConfig(r=2, alpha=1, use_effective_conv2d=True, target_modules=["conv1", "conv2", "to_k"]),
}


@pytest.mark.parametrize("kind", PEFT)
def test_peft(kind: str, folder: Path, tmp_path: Path) -> None:
    net = get_peft_model(torch_unet(folder), PEFT[kind])
    randomised(net, ("lora_", "hada_", "lokr_"))
    state = {name: p.contiguous() for name, p in get_peft_model_state_dict(net).items()}
    save_file(state, tmp_path / "adapter_model.safetensors")
    net.peft_config["default"].save_pretrained(tmp_path)
    net.eval()
    check(folder, tmp_path / "adapter_model.safetensors", theirs(net.base_model.model, folder))
    check(folder, tmp_path, theirs(net.base_model.model, folder))  # a folder stands for the one file in it


# cloneofsimo's first dialect

CHANGED = {"CrossAttention": "Attention", "Attention": "Attention", "GEGLU": "GEGLU", "CLIPAttention": "CLIPAttention"}


def counted_layers(net: torch.nn.Module, classes: list[str]) -> list[torch.nn.Linear]:
    """The linear layers inside modules of these classes, in PyTorch's order of modules.

    A block's modules come in another order today than in the diffusers of early 2023, where the feed-forward part was
    made between the two attentions; and the middle was, and is, made after the way up.
    """
    known = {CHANGED[name] for name in classes}
    blocks = [m for m in net.modules() if type(m).__name__ == "BasicTransformerBlock"]
    roots = [[m.attn1, m.ff, m.attn2] for m in blocks] or [[net]]
    return [
        layer
        for parts in roots
        for part in parts
        for module in part.modules()
        if type(module).__name__ in known
        for layer in module.modules()
        if isinstance(layer, torch.nn.Linear)
    ]


@pytest.mark.parametrize("classes", [["CrossAttention", "Attention", "GEGLU"], ["CrossAttention", "Attention"]])
def test_the_first_dialect_counts_layers_in_pytorchs_order(classes: list[str], folder: Path, tmp_path: Path) -> None:
    net, state = torch_unet(folder), {}
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for i, layer in enumerate(counted_layers(net, classes)):
            up, down = (0.3 * torch.randn(shape, generator=generator) for shape in
                        ((layer.out_features, 2), (2, layer.in_features)))  # fmt: skip
            layer.weight += up @ down
            state |= {f"unet:{i}:up": up, f"unet:{i}:down": down}
    save_file(state, tmp_path / "a.safetensors", {"unet": json.dumps(classes)})
    check(folder, tmp_path / "a.safetensors", theirs(net, folder))


def test_the_first_dialect_counts_a_text_encoders_layers_in_pytorchs_order(folder: Path, tmp_path: Path) -> None:
    net, state = CLIPTextModel.from_pretrained(folder / "text_encoder"), {}
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for i, layer in enumerate(counted_layers(net, ["CLIPAttention"])):
            up, down = (0.3 * torch.randn(16, 2, generator=generator), 0.3 * torch.randn(2, 16, generator=generator))
            layer.weight += up @ down
            state |= {f"text_encoder:{i}:up": up, f"text_encoder:{i}:down": down}
    save_file(state, tmp_path / "a.safetensors", {"text_encoder": '["CLIPAttention"]'})
    sd = StableDiffusion(str(folder), float16=False, loras=[tmp_path / "a.safetensors"])
    ids = np.arange(77)[None] % 50
    with torch.no_grad():
        wanted = net(torch.from_numpy(ids)).last_hidden_state.numpy()
    assert relative_error(np.array(sd.text_encoder(mx.array(ids)).last_hidden_state), wanted) < 1e-5


# lycoris

LYCORIS: dict[str, dict[str, Any]] = {
    "locon": {"algo": "lora"},
    "locon-tucker": {"algo": "lora", "use_tucker": True},
    "dora": {"algo": "lora", "dora_wd": True},
    "dora-columns": {"algo": "lora", "dora_wd": True, "wd_on_output": False},
    "loha": {"algo": "loha"},
    "loha-tucker": {"algo": "loha", "use_tucker": True},
    "loha-dora": {"algo": "loha", "dora_wd": True},
    "lokr": {"algo": "lokr", "factor": 4},
    "lokr-whole": {"algo": "lokr", "factor": 2, "full_matrix": True},
    "lokr-both": {"algo": "lokr", "factor": 4, "decompose_both": True},
    "lokr-tucker": {"algo": "lokr", "factor": 4, "use_tucker": True},
    "full": {"algo": "full"},
}


@pytest.mark.parametrize("multiplier", [1.0, 0.6])
@pytest.mark.parametrize("kind", LYCORIS)
def test_lycoris(kind: str, multiplier: float, folder: Path, tmp_path: Path) -> None:
    net = torch_unet(folder)
    LycorisNetwork.apply_preset(
        {"target_module": ["Transformer2DModel", "ResnetBlock2D", "Upsample2D"], "target_name": []}
    )
    network = create_lycoris(
        net, multiplier, linear_dim=3, linear_alpha=2, conv_dim=2, conv_alpha=1, train_norm=True, **LYCORIS[kind]
    )
    network.apply_to()
    randomised(network, ("lora_", "hada_", "lokr_", "weight", "bias", "norm", "diff"))
    with torch.no_grad():
        for name, p in network.named_parameters():
            if "dora_scale" in name:
                p.mul_(1 + 0.2 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1)))
    network.eval()
    save_file({n: p.detach().clone().contiguous() for n, p in network.state_dict().items()}, tmp_path / "l.safetensors")
    check(folder, tmp_path / "l.safetensors", theirs(net, folder), multiplier)


# diffusers

Rename = Callable[[str], str]


def saved(folder: Path, kind: Any, tmp_path: Path, **more: Any) -> tuple[Any, Path]:
    """A pipeline with a random LoRA on its UNet and text encoders, and its file."""
    pipeline = kind.from_pretrained(folder, **more)
    config = LoraConfig(r=3, lora_alpha=2, target_modules=["to_q", "to_k", "to_out.0", "proj_in", "conv1"])
    words = LoraConfig(r=2, lora_alpha=3, target_modules=["q_proj", "v_proj", "out_proj", "fc1"])
    pipeline.unet.add_adapter(config)
    nets = {"unet": pipeline.unet, "text_encoder": pipeline.text_encoder}
    if kind is StableDiffusionXLPipeline:
        nets["text_encoder_2"] = pipeline.text_encoder_2
    for i, (name, net) in enumerate(nets.items()):
        if name != "unet":
            inject_adapter_in_model(words, net)  # transformers' own way waits for a peft that is not out
            net.peft_config = {"default": words}
        randomised(net, ("lora_",), i)
    layers = {f"{name}_lora_layers": get_peft_model_state_dict(net) for name, net in nets.items()}
    configs = {f"{name}_lora_adapter_metadata": net.peft_config["default"].to_dict() for name, net in nets.items()}
    kind.save_lora_weights(tmp_path, **layers, **configs)
    return pipeline, tmp_path / "pytorch_lora_weights.safetensors"


def kohya(file: Path, ldm: Rename | None = None) -> Path:
    """The same as kohya's scripts write it: underscores, alpha in the file, 1x1 kernels as they are."""
    tensors, made = load_file(file), {}
    for name, tensor in tensors.items():
        module, _, leaf = name.rpartition(".lora_")
        net, _, path = module.partition(".")
        one = any("text_encoder_2" in n for n in tensors)
        prefix = {"unet": "lora_unet", "text_encoder": "lora_te1" if one else "lora_te", "text_encoder_2": "lora_te2"}[
            net
        ]
        stem = f"{prefix}_{(ldm(path) if ldm and net == 'unet' else path).replace('.', '_')}"
        made[f"{stem}.lora_{'down' if leaf.startswith('A') else 'up'}.weight"] = tensor
        made[f"{stem}.alpha"] = torch.tensor(2.0 if net == "unet" else 3.0)
    other = file.with_name("kohya.safetensors")
    save_file(made, other)
    return other


def unet_alone(file: Path) -> dict[str, torch.Tensor]:
    """What of a file diffusers can load without transformers."""
    return {name: tensor for name, tensor in load_file(file).items() if name.startswith(("unet", "lora_unet"))}


@torch.no_grad()
def their_text(net: Any) -> np.ndarray:
    return net(torch.tensor([[5, 9, 40, 70]]), output_hidden_states=True).hidden_states[-1].numpy()


@torch.no_grad()
def check_texts(pipeline: Any, sd: StableDiffusion) -> None:
    for ours_name, name in zip(sd._encoders, ("text_encoder", "text_encoder_2"), strict=False):
        wanted = their_text(getattr(pipeline, name))
        states = getattr(sd, ours_name)(mx.array([[5, 9, 40, 70]])).hidden_states[-1]
        assert relative_error(np.array(states), wanted) < 1e-5, name


@pytest.mark.parametrize("dialect", ["diffusers", "kohya"])
def test_diffusers_sd1(dialect: str, folder: Path, tmp_path: Path) -> None:
    pipeline, file = saved(folder, StableDiffusionPipeline, tmp_path, safety_checker=None)
    if dialect == "kohya":
        file = kohya(file)
        with_adapter = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
        with_adapter.load_lora_weights(unet_alone(file))
        assert relative_error(theirs(with_adapter.unet, folder), theirs(pipeline.unet, folder)) < 1e-6
    check(folder, file, theirs(pipeline.unet, folder))
    check_texts(pipeline, StableDiffusion(str(folder), float16=False, loras=[file]))


@pytest.mark.parametrize("dialect", ["diffusers", "kohya"])
def test_diffusers_xl(dialect: str, xl_folder: Path, tmp_path: Path) -> None:
    pipeline, file = saved(xl_folder, StableDiffusionXLPipeline, tmp_path)
    file = kohya(file) if dialect == "kohya" else file
    check(xl_folder, file, theirs(pipeline.unet, xl_folder))
    check_texts(pipeline, StableDiffusion(str(xl_folder), float16=False, loras=[file]))


def test_several_at_once_with_scales(folder: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    _, one = saved(folder, StableDiffusionPipeline, tmp_path / "a", safety_checker=None)
    save_file(load_file(one), one)  # without its metadata, which diffusers takes from files alone
    tensors = {name: -0.5 * tensor + 0.1 for name, tensor in load_file(one).items()}
    other = tmp_path / "b" / "other.safetensors"
    save_file(tensors, other)
    pipeline = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    pipeline.load_lora_weights(unet_alone(one), adapter_name="one")
    pipeline.load_lora_weights(unet_alone(other), adapter_name="other")
    pipeline.set_adapters(["one", "other"], [0.7, -0.4])
    wanted = theirs(pipeline.unet, folder)
    sd = StableDiffusion(str(folder), float16=False, loras=[(one, 0.7), (other, -0.4)])
    given = inputs(folder)
    found = np.array(sd.unet(*(mx.array(given[name]) for name in ("x", "t", "context"))))
    assert relative_error(found, wanted) < 1e-5


def test_metadata_of_diffusers_say_rank_and_alpha(folder: Path, tmp_path: Path) -> None:
    """save_lora_weights puts alpha nowhere but there."""
    from safetensors import safe_open

    _, file = saved(folder, StableDiffusionPipeline, tmp_path, safety_checker=None)
    with safe_open(file, "np") as opened:
        assert json.loads(opened.metadata()["lora_adapter_metadata"])["unet.lora_alpha"] == 2
