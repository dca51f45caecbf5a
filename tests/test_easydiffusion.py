"""Easy Diffusion's texts."""

import pytest

from stable_diffusion.exchange.tools import read_tool

EASY = {
    "prompt": "a house", "seed": "0", "num_inference_steps": "25", "guidance_scale": "7.5", "width": "64",
    "height": "48", "sampler_name": "euler_a", "negative_prompt": "fog", "use_stable_diffusion_model": "sd-v1-5",
    "clip_skip": "False", "use_face_correction": "GFPGAN",
}  # fmt: skip


def titled(name: str) -> str:
    return name.replace("_", " ").title()


@pytest.mark.parametrize("texts", [EASY, {titled(name): text for name, text in EASY.items()}])
def test_easy_diffusions_texts_are_read(texts: dict[str, str]) -> None:
    found = read_tool(texts)
    assert (found.tool, found.said.model) == ("Easy Diffusion's", "sd-v1-5")
    assert found.said.settings == {
        "prompt": "a house", "negative_prompt": "fog", "seed": 0, "steps": 25, "cfg": 7.5, "width": 64, "height": 48,
        "sampler": "euler_a",
    }  # fmt: skip
    assert found.said.not_understood == ["use face correction: GFPGAN"]
