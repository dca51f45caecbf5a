"""Weights and chunks of prompts, against the same formulas in torch around transformers' own encoders."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from families import FAMILIES
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from stable_diffusion import StableDiffusion
from tests.nets import relative_error

Weighed = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def by_the_mean(z: torch.Tensor, w: torch.Tensor, empty: torch.Tensor) -> torch.Tensor:
    """AUTOMATIC1111: one chunk (1, 77, D) times its weights, and the mean it had."""
    weighted = z * w[None, :, None]
    return weighted * (z.mean() / weighted.mean())


def from_empty(z: torch.Tensor, w: torch.Tensor, empty: torch.Tensor) -> torch.Tensor:
    """ComfyUI: away from the empty prompt."""
    return empty + w[None, :, None] * (z - empty)


def states(
    tokens: CLIPTokenizer, encoder: CLIPTextModel, ids: list[int], xl: bool, clip_skip: int
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """What an encoder makes of ids between begin and end: (1, 77, D), and what it pools."""
    ids = [tokens.bos_token_id, *ids, tokens.eos_token_id]
    ids += [tokens.pad_token_id] * (77 - len(ids))
    output = encoder(torch.tensor([ids]), output_hidden_states=True)
    state = output.hidden_states[-1 - xl - clip_skip]
    final = getattr(encoder, "text_model", encoder).final_layer_norm
    return state if xl else final(state), getattr(output, "text_embeds", None)


@torch.no_grad()
def theirs(
    folder: Path, chunks: list[list[Any]], weigh: Weighed, clip_skip: int = 0
) -> tuple[np.ndarray, np.ndarray | None]:
    """Context and pooled vector of chunks of words and weights, or of a part of their tokens, each encoder alone."""
    contexts, pooled, xl = [], None, (folder / "text_encoder_2").exists()
    for suffix in ("", "_2") if xl else ("",):
        kind = CLIPTextModelWithProjection if suffix else CLIPTextModel
        tokens = CLIPTokenizer.from_pretrained(folder / f"tokenizer{suffix}")
        encoder = kind.from_pretrained(folder / f"text_encoder{suffix}").eval()

        empty, _ = states(tokens, encoder, [], xl, clip_skip)
        parts = []
        for number, chunk in enumerate(chunks):
            ids, weights = [], [1.0]
            for words, weight, *part in chunk:
                more = tokens(words, add_special_tokens=False).input_ids[part[0] if part else slice(None)]
                ids += more
                weights += [weight] * len(more)
            z, vector = states(tokens, encoder, ids, xl, clip_skip)
            pooled = vector if number == 0 else pooled
            weights += [1.0] * (77 - len(weights))
            parts.append(weigh(z, torch.tensor(weights), empty))
        contexts.append(torch.cat(parts, dim=1))
    return torch.cat(contexts, dim=-1).numpy(), None if pooled is None else pooled.numpy()


CASES = {
    "weights": ("a1111", "a (house:1.4), [sea] by", [[("a", 1.0), ("house", 1.4), (",", 1.0), ("sea", 1 / 1.1),
                                                       ("by", 1.0)]], by_the_mean),
    "breaks": ("a1111", "(house) BREAK the (sea:0.3)", [[("house", 1.1)], [("the", 1.0), ("sea", 0.3)]], by_the_mean),
    "from empty": ("comfyui", "a ((house) sea:1.3)", [[("a", 1.0), ("house", 1.43), ("sea", 1.3)]], from_empty),
    "long": ("plain", "x " * 100, [[("x " * 75, 1.0)], [("x " * 25, 1.0)]], by_the_mean),
    "long, with a comma": ("plain", "x " * 60 + ", " + "y " * 20,
                           [[("x " * 60 + ",", 1.0)], [("y " * 20, 1.0)]], by_the_mean),
    # Since December 2024 a segment of 8 tokens and more is cut at the 75th, within a word too.
    "long words": ("comfyui", "yyyyyyy " * 11 + "(x:2)",
                   [[("yyyyyyy " * 11, 1.0, slice(75))], [("yyyyyyy " * 11, 1.0, slice(75, None)), ("x", 2.0)]],
                   from_empty),
}  # fmt: skip


@pytest.mark.parametrize("family", ["sd1", "sd2", "xl"])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("clip_skip", [0, 1])
def test_embeddings_are_those_of_the_formulas(clip_skip: int, case: str, family: str, tmp_path: Path) -> None:
    syntax, prompt, chunks, weigh = CASES[case]
    folder = FAMILIES[family](tmp_path / family, 41)
    encoded, _ = StableDiffusion(str(folder), float16=False).texts.encode(prompt, clip_skip, syntax)
    context, pooled = theirs(folder, chunks, weigh, clip_skip)
    assert relative_error(np.array(encoded.context), context) < 1e-4
    assert (encoded.pooled is None) == (pooled is None)
    if pooled is not None:
        assert relative_error(np.array(encoded.pooled), pooled) < 1e-4
