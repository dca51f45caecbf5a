"""The two commands on a checkpoint of a few kilobytes, and what they write."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

import image2image
import txt2image
from stable_diffusion import StableDiffusion
from stable_diffusion.cli import job
from stable_diffusion.jobs.model import Model

SD1 = str(Path(__file__).parent / "data" / "sd1")
QUICK = ["--model", SD1, "--steps", "4", "--sampler", "euler"]


_loaded = job._loaded


@cache
def _opened(float16: bool | None) -> StableDiffusion:
    return StableDiffusion(SD1, float16)


def opened_once(model: Model, at_once: bool, low_memory: bool) -> StableDiffusion:
    """What stands in for `_loaded` in `conftest.opened_once`: opening is near half of what so small a command takes."""
    plain = Model(SD1, float16=model.float16)
    if at_once or low_memory or replace(model, hash=None, named_by=plain.named_by) != plain:
        return _loaded(model, at_once, low_memory)
    return _opened(model.float16)


def txt(*words: str) -> int:
    return txt2image.main([*QUICK, "--width", "32", "--height", "32", *words])


def img(*words: str) -> int:
    return image2image.main([*QUICK, *words])


def pixels(name: str | Path) -> np.ndarray:
    with Image.open(name) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def same(one: str, other: str) -> bool:
    """Have two files the same pixels, bit for bit?"""
    return np.array_equal(pixels(one), pixels(other))


def made(but: tuple[str, ...] = ("in.png", "mask.png")) -> list[str]:
    return sorted(p.name for p in Path.cwd().iterdir() if p.name not in but)
