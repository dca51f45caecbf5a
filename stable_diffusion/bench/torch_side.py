"""The same work by diffusers and transformers. A program, run by its path where it is asked for, never imported.

So the package itself knows nothing of torch. Like nets.py it is asked in JSON on standard input.
"""

import json
import sys
import time
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DPMSolverMultistepScheduler,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from resident import measured  # beside this file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

BLOCK = 1_000_003


def device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def filled(make: Any, dtype: torch.dtype) -> Any:
    """A net with random weights like those of nets.py, made without drawing them all."""
    with torch.device("meta"):
        net = make()
    net = net.to(dtype).to_empty(device=device()).eval()
    block = torch.randn(BLOCK, generator=torch.Generator().manual_seed(0)).to(device(), dtype)
    with torch.no_grad():
        for name, p in net.named_parameters():
            if p.ndim == 1:
                p.fill_(float(name.endswith("weight")))
            else:
                flat, scale = p.view(-1), (p.numel() // p.shape[0]) ** -0.5
                for first in range(0, p.numel(), BLOCK):
                    piece = flat[first : first + BLOCK]
                    torch.mul(block[: len(piece)], scale, out=piece)
        for name, b in net.named_buffers():
            assert name.endswith("position_ids"), name
            b.copy_(torch.arange(b.shape[-1]).expand(b.shape))
    return net


class Bench:
    """As in nets.py; a net is made when it is first used."""

    def __init__(self, family: dict[str, Any], float16: bool, steps: int) -> None:
        self.family, self.steps = family, steps
        self.dtype = torch.float16 if float16 else torch.float32
        self.made: dict[str, Any] = {}

    def net(self, name: str) -> Any:
        makers: dict[str, Any] = {
            "unet": lambda: UNet2DConditionModel.from_config(self.family["unet"]),
            "vae": lambda: AutoencoderKL.from_config(self.family["vae"]),
        }
        for k, config in enumerate(self.family["texts"]):
            kind = CLIPTextModelWithProjection if "Projection" in config["architectures"][0] else CLIPTextModel
            makers[f"text{k}"] = lambda kind=kind, config=config: kind(CLIPTextConfig(**config))
        if name not in self.made:
            # XL's autoencoder overflows in half precision: diffusers keeps it whole, and so does the other side.
            whole = name == "vae" and len(self.family["texts"]) > 1 and self.family["vae"].get("force_upcast")
            self.made[name] = filled(makers[name], torch.float32 if whole else self.dtype)
        return self.made[name]

    def random(self, *shape: int, dtype: torch.dtype | None = None) -> torch.Tensor:
        return torch.randn(shape).to(device(), dtype or self.dtype)

    def unet(self, side: int) -> Any:
        net, f = self.net("unet"), self._factor
        config, added = net.config, {}
        if config.addition_embed_type:
            width = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
            ids = torch.tensor([[side, side, 0, 0, side, side]] * 2).to(device())
            added = {"text_embeds": self.random(2, width), "time_ids": ids}
        context = self.random(2, 77, config.cross_attention_dim)
        return net(self.random(2, 4, side // f, side // f), 500, context, added_cond_kwargs=added).sample

    @property
    def _factor(self) -> int:
        return 2 ** (len(self.family["vae"]["block_out_channels"]) - 1)

    def text(self, side: int) -> Any:
        """(contexts, pooled) of two texts of 77 tokens."""
        contexts, pooled = [], None
        for k, config in enumerate(self.family["texts"]):
            ids = torch.randint(0, config["eos_token_id"], (2, 77))
            ids[:, -1] = config["eos_token_id"]
            output = self.net(f"text{k}")(ids.to(device()), output_hidden_states=True)
            contexts.append(output.hidden_states[-2] if len(self.family["texts"]) > 1 else output.last_hidden_state)
            pooled = output[0]
        return torch.cat(contexts, dim=-1), pooled

    def encode(self, side: int) -> Any:
        vae = self.net("vae")
        return vae.encode(self.random(1, 3, side, side, dtype=vae.dtype).clamp(-1, 1)).latent_dist.mean

    def decode(self, side: int) -> Any:
        vae = self.net("vae")
        latents = self.random(1, 4, side // self._factor, side // self._factor, dtype=vae.dtype)
        return vae.decode(latents / vae.config.scaling_factor).sample

    def _run(self, kinds: tuple[Any, Any], side: int, **more: Any) -> Any:
        context, pooled = self.text(side)
        xl = len(self.family["texts"]) > 1
        nets = {"vae": self.net("vae"), "unet": self.net("unet"), "text_encoder": self.net("text0"), "tokenizer": None}
        nets |= {"text_encoder_2": self.net("text1"), "tokenizer_2": None} if xl else {}
        nets |= {} if xl else {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
        schedule = DPMSolverMultistepScheduler.from_config(self.family["scheduler"], timestep_spacing="trailing")
        pipeline = kinds[xl](scheduler=schedule, **nets)
        pipeline.set_progress_bar_config(disable=True)
        told = {"prompt_embeds": context[:1], "negative_prompt_embeds": context[1:]}
        told |= {"pooled_prompt_embeds": pooled[:1], "negative_pooled_prompt_embeds": pooled[1:]} if xl else {}
        return pipeline(**told, num_inference_steps=self.steps, output_type="np", **more).images

    def txt2img(self, side: int) -> Any:
        kinds = (StableDiffusionPipeline, StableDiffusionXLPipeline)
        return self._run(kinds, side, width=side, height=side)

    def img2img(self, side: int) -> Any:
        kinds = (StableDiffusionImg2ImgPipeline, StableDiffusionXLImg2ImgPipeline)
        return self._run(kinds, side, image=torch.rand(1, 3, side, side).to(device()), strength=1.0)


@torch.no_grad()
def main() -> None:
    asked = json.load(sys.stdin)
    if asked["threads"]:
        torch.set_num_threads(asked["threads"])
    work = getattr(Bench(asked["family"], asked["float16"], asked["steps"]), asked["what"])

    def wait() -> None:
        {"cuda": torch.cuda.synchronize, "mps": torch.mps.synchronize, "cpu": lambda: None}[device()]()

    def once(side: int) -> float:
        wait()
        started = time.perf_counter()
        work(side)
        wait()
        return time.perf_counter() - started

    counts = {"cuda": (torch.cuda.reset_peak_memory_stats, torch.cuda.max_memory_allocated)}
    print(json.dumps(measured(once, asked["size"], asked["runs"], counts.get(device()))))


if __name__ == "__main__":
    main()
