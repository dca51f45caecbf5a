"""The same inputs through torch's nets and through ours."""

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

PROMPT = "a house by the river and the sea, at sunset"


def inputs(folder: Path) -> dict[str, np.ndarray]:
    """Channel-last inputs for a checkpoint: an odd latent size, fractional times, a picture."""
    rng = np.random.default_rng(7)
    config = UNet2DConditionModel.load_config(folder / "unet")
    values = {
        "x": rng.normal(size=(2, 9, 7, config["in_channels"])),
        "t": np.array([999.0, 37.25]),
        "context": rng.normal(size=(2, 77, config["cross_attention_dim"])),
        "picture": rng.uniform(-1, 1, size=(40, 24, 3)),
        "latents": rng.normal(size=(2, 5, 3, 4)),
    }
    if config.get("addition_embed_type"):
        values["text_embeds"] = rng.normal(size=(2, 24))
        values["time_ids"] = np.array([[72.0, 56, 0, 0, 72, 56], [512, 768, 3, 5, 1024, 1000]])
    if config.get("time_cond_proj_dim"):
        values["time_cond"] = rng.normal(size=(2, config["time_cond_proj_dim"]))
    return {name: value.astype(np.float32) for name, value in values.items()}


def _channels_first(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(x).permute(0, 3, 1, 2)


def _channels_last(x: torch.Tensor) -> np.ndarray:
    return x.permute(0, 2, 3, 1).numpy()


@torch.no_grad()
def torch_outputs(folder: Path) -> dict[str, np.ndarray]:
    """What diffusers' and transformers' nets make of the inputs, channel-last, with the inputs."""
    given = inputs(folder)
    out = {f"in_{name}": value for name, value in given.items()}
    net = UNet2DConditionModel.from_pretrained(folder / "unet").eval()
    added = {name: torch.from_numpy(given[name]) for name in ("text_embeds", "time_ids") if name in given}
    prediction = net(
        _channels_first(given["x"]),
        torch.from_numpy(given["t"]),
        torch.from_numpy(given["context"]),
        added_cond_kwargs=added or None,
        timestep_cond=torch.from_numpy(given["time_cond"]) if "time_cond" in given else None,
    ).sample
    out["unet"] = _channels_last(prediction)
    vae = AutoencoderKL.from_pretrained(folder / "vae").eval()
    out["encoded"] = _channels_last(
        vae.encode(_channels_first(given["picture"][None])).latent_dist.mean * vae.config.scaling_factor
    )
    out["decoded"] = _channels_last(vae.decode(_channels_first(given["latents"]) / vae.config.scaling_factor).sample)
    for suffix, ours in (("", "1"), ("_2", "2")):
        if not (folder / f"text_encoder{suffix}").exists():
            continue
        kind = CLIPTextModelWithProjection if suffix else CLIPTextModel
        tokens = CLIPTokenizer.from_pretrained(folder / f"tokenizer{suffix}")
        ids = tokens([PROMPT, ""], padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
        output = kind.from_pretrained(folder / f"text_encoder{suffix}").eval()(ids, output_hidden_states=True)
        out[f"ids{ours}"] = ids.numpy()
        out[f"last{ours}"] = output.last_hidden_state.numpy()
        out[f"penultimate{ours}"] = output.hidden_states[-2].numpy()
        out[f"pooled{ours}"] = (output.text_embeds if suffix else output.pooler_output).numpy()
    return out
