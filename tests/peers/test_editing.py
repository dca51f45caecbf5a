"""Prompts that change on their way, and AND, against the formulas in torch around diffusers' and transformers' nets."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from families import FAMILIES
from test_prompts import states
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from stable_diffusion import Settings, StableDiffusion
from tests.nets import relative_error

Words = list[tuple[str, float]]  # words and their weights
Text = list[Words]  # chunks
SETTINGS = Settings(prompt_syntax="a1111", negative_prompt="(fog)", cfg=3.0, steps=4, width=64, height=48)
Denoise = Callable[[torch.Tensor, float], torch.Tensor]
Told = tuple[torch.Tensor, torch.Tensor | None]


@torch.no_grad()
def encoded(folder: Path, texts: Sequence[Text]) -> list[Told]:
    """The texts of one prompt's steps, all of them: as many chunks each, weighed with the mean of all of them."""
    xl = (folder / "text_encoder_2").exists()
    count = max(map(len, texts))
    contexts: list[list[torch.Tensor]] = [[] for _ in texts]
    pooled: list[torch.Tensor | None] = [None] * len(texts)
    for suffix in ("", "_2") if xl else ("",):
        kind = CLIPTextModelWithProjection if suffix else CLIPTextModel
        tokens = CLIPTokenizer.from_pretrained(folder / f"tokenizer{suffix}")
        encoder = kind.from_pretrained(folder / f"text_encoder{suffix}").eval()
        parts: list[list[torch.Tensor]] = [[] for _ in texts]
        for k in range(count):
            z, w = [], []
            for i, text in enumerate(texts):
                ids: list[int] = []
                weights = [1.0]
                for words, weight in text[k] if k < len(text) else []:
                    more = tokens(words, add_special_tokens=False).input_ids
                    ids += more
                    weights += [weight] * len(more)
                state, vector = states(tokens, encoder, ids, xl, 0)
                pooled[i] = vector if k == 0 else pooled[i]
                z.append(state)
                w.append(torch.tensor([*weights, *[1.0] * (77 - len(weights))]))
            all_z = torch.cat(z)
            weighed = all_z * torch.stack(w)[..., None]
            weighed = weighed * (all_z.mean() / weighed.mean())
            for i in range(len(texts)):
                parts[i].append(weighed[i : i + 1])
        for i in range(len(texts)):
            contexts[i].append(torch.cat(parts[i], dim=1))
    return [(torch.cat(context, dim=-1), vector) for context, vector in zip(contexts, pooled, strict=True)]


@dataclass
class Theirs:
    """A noise estimate that counts its calls."""

    unet: UNet2DConditionModel
    sd: StableDiffusion  # for the times of levels alone
    parts: list[tuple[float, list[tuple[int, Told]]]]
    negative: Told
    cfg: float
    call: int = 0

    def noise(self, x: torch.Tensor, s: float, told: Told, length: int) -> torch.Tensor:
        context, pooled = told
        context = torch.cat([context, *[context[:, -1:]] * (length - context.shape[1])], dim=1)
        more = {}
        if pooled is not None:
            h, w = 8 * x.shape[2], 8 * x.shape[3]
            more = {"added_cond_kwargs": {"text_embeds": pooled, "time_ids": torch.tensor([[h, w, 0, 0, h, w]])}}
        t = torch.tensor([self.sd.schedule.t(s)])
        return self.unet(x / (s**2 + 1) ** 0.5, t, encoder_hidden_states=context, **more).sample

    @torch.no_grad()
    def __call__(self, x: torch.Tensor, s: float) -> torch.Tensor:
        """Liu et al. 2022: away + sum of cfg w (towards - away); the clean latent of that."""
        now = [(w, next(told for last, told in spans if self.call <= last)) for w, spans in self.parts]
        length = max(told[0].shape[1] for _, told in now)
        away = self.noise(x, s, self.negative, self.negative[0].shape[1])
        noise = away
        for w, told in now:
            noise = noise + self.cfg * w * (self.noise(x, s, told, length) - away)
        self.call += 1
        return x - s * noise


def euler(denoise: Denoise, x: torch.Tensor, sigmas: Sequence[float]) -> torch.Tensor:
    for s, t in itertools.pairwise(sigmas):
        x = x + (t - s) / s * (x - denoise(x, s))
    return x


def heun(denoise: Denoise, x: torch.Tensor, sigmas: Sequence[float]) -> torch.Tensor:
    for s, t in itertools.pairwise(sigmas):
        d = (x - denoise(x, s)) / s
        ahead = x + (t - s) * d
        x = ahead if t == 0 else x + (t - s) / 2 * (d + (ahead - denoise(ahead, t)) / t)
    return x


SOLVERS = {"euler": euler, "heun": heun}
HOUSE: Text = [[("a house", 1.0)]]
SEA: Text = [[("the", 1.0), ("sea", 1.4)]]
LONG: Text = [[("x " * 75, 1.0)], [("x " * 5, 1.0)]]
# A prompt, the sampler, and of each part its weight and its texts with their last calls.
CASES: dict[str, tuple[str, str, list[tuple[float, list[tuple[int, Text]]]]]] = {
    "editing": ("[a house:the (sea:1.4):0.5]", "euler", [(1.0, [(2, HOUSE), (4, SEA)])]),
    "a step": ("[a house:the (sea:1.4):1]", "euler", [(1.0, [(1, HOUSE), (4, SEA)])]),
    "two calls a step": ("[a house:the (sea:1.4):.5]", "heun", [(1.0, [(4, HOUSE), (8, SEA)])]),
    "alternation": ("[a house|the (sea:1.4)|]", "euler", [(1.0, [(1, HOUSE), (2, SEA), (3, [[]]), (4, HOUSE)])]),
    "other lengths": ("[a house:" + "x " * 80 + ":0.25]", "euler", [(1.0, [(1, HOUSE), (4, LONG)])]),
    "AND": ("a house AND the (sea:1.4) :-0.3", "euler", [(1.0, [(4, HOUSE)]), (-0.3, [(4, SEA)])]),
    "AND, other lengths": ("a house:0.7 AND " + "x " * 80, "euler", [(0.7, [(4, HOUSE)]), (1.0, [(4, LONG)])]),
    "AND and editing": ("[a house:the (sea:1.4):2]:0.6 AND [|a house]", "euler",
                        [(0.6, [(2, HOUSE), (4, SEA)]), (1.0, [(1, [[]]), (2, HOUSE), (3, [[]]), (4, HOUSE)])]),
}  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("editing")
    return {family: FAMILIES[family](root / family, 41) for family in ("sd1", "xl")}


@pytest.mark.parametrize("family", ["sd1", "xl"])
@pytest.mark.parametrize("case", CASES)
def test_pictures_are_those_of_the_formulas(case: str, family: str, folders: dict[str, Path]) -> None:
    prompt, sampler, parts = CASES[case]
    folder = folders[family]
    sd = StableDiffusion(str(folder), float16=False)
    settings = replace(SETTINGS, prompt=prompt, sampler=sampler)
    n = np.random.default_rng(1).normal(size=(1, 6, 8, 4)).astype(np.float32)
    ours = np.array(list(sd.sample(settings, noise=mx.array(n)))[-1].x)

    told = [
        (weight, list(zip((last for last, _ in spans), encoded(folder, [t for _, t in spans]), strict=True)))
        for weight, spans in parts
    ]
    (negative,) = encoded(folder, [[[("fog", 1.1)]]])
    unet = UNet2DConditionModel.from_pretrained(folder / "unet").eval()
    sigmas = sd.plan(settings).sigmas
    start = torch.tensor(n).permute(0, 3, 1, 2) * sigmas[0]
    wanted = SOLVERS[sampler](Theirs(unet, sd, told, negative, settings.cfg or 1.0), start, sigmas)
    assert relative_error(ours, wanted.permute(0, 2, 3, 1).numpy()) < 1e-4
