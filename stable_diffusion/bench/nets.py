"""What is measured of this package: full-size nets of random weights. Run by a process of its own, see workers.py."""

import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from ..compute.streams import spread
from ..config import CLIPTextConfig, UNetConfig, VAEConfig
from ..models.clip import CLIPTextModel
from ..models.unet import UNet2DConditionModel
from ..models.vae import AutoencoderKL
from ..pipeline import StableDiffusion
from ..settings import Settings
from ..weights.checkpoint import TokenizerFiles
from ..weights.parts import Checkpoint, Part, Tokenizer, folder_tokenizer
from ..weights.tensors import Tensor, theirs
from ..weights.vocabulary import openai_tokenizer
from .families import Family
from .resident import measured

BLOCK = 1_000_003  # random numbers that are drawn, and repeated; a prime, so that no two rows are alike
NOWHERE = Path("random weights")
PROMPT = "a photo of a house by a river at sunset, mountains"
ROWS = 10  # of the triangle


def random_weights(net: nn.Module) -> Iterator[Tensor]:
    """Numbers of the size that keeps a net's own numbers at about 1; of norms 1, of biases 0. Not yet calculated."""
    block = mx.random.normal((BLOCK,), key=mx.random.key(0))
    parameters: dict[str, mx.array] = dict(tree_flatten(net.parameters()))
    for name, old in parameters.items():
        if old.ndim == 1:
            new = mx.ones(old.shape) if name.endswith("weight") else mx.zeros(old.shape)
        else:
            times = -(-old.size // BLOCK)
            numbers = mx.broadcast_to(block, (times, BLOCK)).reshape(-1)[: old.size]
            new = numbers.reshape(theirs(old.shape)) / math.sqrt(old.size // old.shape[0])
        yield Tensor(NOWHERE, name, name, new)


def random_checkpoint(family: Family) -> Checkpoint:
    """A checkpoint of a family that lies in no file."""

    def part(config: Mapping[str, Any], net: Callable[[], nn.Module]) -> Part:
        return Part(config, NOWHERE, lambda _: random_weights(net()), lambda _: [])

    def text(config: Mapping[str, Any]) -> Part:
        return part(config, lambda: CLIPTextModel(CLIPTextConfig.from_diffusers(config)))

    tokenizer = Tokenizer(NOWHERE, lambda: TokenizerFiles(*openai_tokenizer(), 77, {}))
    if family.tokenizer is not None:
        tokenizer = folder_tokenizer(Path(family.tokenizer))
    names = ("text_encoder", "text_encoder_2")
    return Checkpoint(
        NOWHERE,
        {
            **{name: text(config) for name, config in zip(names, family.texts, strict=False)},
            "unet": part(family.unet, lambda: UNet2DConditionModel(UNetConfig.from_diffusers(family.unet))),
            "vae": part(family.vae, lambda: AutoencoderKL(VAEConfig.from_diffusers(family.vae))),
        },
        [tokenizer] * len(family.texts),
        family.scheduler,
        NOWHERE,
        {},
    )


class Bench:
    """The pieces of work, each of one size in pixels, or of the smallest there is."""

    def __init__(self, family: Family, float16: bool, steps: int) -> None:
        self.sd = StableDiffusion(random_checkpoint(family), float16)
        self.steps = steps
        self._config, self._factor = self.sd.description.unet, self.sd.description.vae.factor

    def _settings(self, side: int, **more: Any) -> Settings:
        return Settings(prompt=PROMPT, seed=1, steps=self.steps, width=side, height=side, **more)

    def _image(self, side: int) -> mx.array:
        return mx.random.uniform(-1, 1, (side, side, 3), key=mx.random.key(1))

    def _told(self, *shape: int) -> mx.array:
        """What a text encoder could have said."""
        return mx.random.normal(shape, key=mx.random.key(3)).astype(self.sd.dtype)

    def _latents(self, side: int, rows: int = 1) -> mx.array:
        shape = (rows, side // self._factor, side // self._factor, 4)
        return mx.random.normal(shape, key=mx.random.key(2))

    def unet(self, side: int) -> Any:
        """One network call of a step with guidance: two rows."""
        config, dtype = self._config, self.sd.dtype
        arguments = {"context": self._told(2, 77, config.cross_attention_dim)}
        if config.addition_embed_type:
            added = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
            arguments["text_embeds"] = self._told(2, added)
            arguments["time_ids"] = mx.array([[side, side, 0, 0, side, side]] * 2)
        return spread(self.sd.unet)(self._latents(side, 2).astype(dtype), mx.array([500.0, 500.0]), **arguments)

    def text(self, side: int) -> Any:
        """A prompt and an empty one, by every text encoder."""
        encoded = [self.sd.texts.encode(text)[0] for text in (PROMPT, "")]
        return [y for one in encoded for y in (one.context, one.pooled) if y is not None]

    def encode(self, side: int) -> Any:
        """A picture to latents."""
        return self.sd.encode(self._image(side))

    def decode(self, side: int) -> Any:
        """Latents to a picture."""
        return self.sd.decode(self._latents(side))

    def txt2img(self, side: int) -> Any:
        """Text to image, from the prompt to the picture."""
        return self.sd.txt2img(self._settings(side))

    def img2img(self, side: int) -> Any:
        """Image to image, at full strength, so that all steps are run."""
        return self.sd.img2img(self._settings(side, strength=1.0), self._image(side))

    def triangle(self, side: int) -> Any:
        """Ten strengths walked together, two rows a call, and the finished picture of each."""
        strengths = [(k + 1) / ROWS for k in range(ROWS)]
        rows = self.sd.triangle(self._settings(side), self._image(side), strengths, batch_size=1)
        return [self.sd.decode(row[-1].x) for row in rows]


WHAT = ("unet", "text", "encode", "decode", "txt2img", "img2img", "triangle")


def main() -> None:
    """Measure what standard input asks for, and say it on standard output; both are JSON."""
    asked = json.load(sys.stdin)
    bench = Bench(Family.from_json(asked["family"]), asked["float16"], asked["steps"])
    work = getattr(bench, asked["what"])

    def once(side: int) -> float:
        started = time.perf_counter()
        mx.eval(work(side))
        mx.synchronize()
        return time.perf_counter() - started

    gpu = mx.default_device() == mx.gpu
    count = (mx.reset_peak_memory, mx.get_peak_memory) if gpu else None
    print(json.dumps(measured(once, asked["size"], asked["runs"], count)))


if __name__ == "__main__":
    main()
