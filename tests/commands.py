"""The two commands on a checkpoint of a few kilobytes, and what they write."""

from pathlib import Path

import numpy as np
from PIL import Image

import image2image
import txt2image

SD1 = str(Path(__file__).parent / "data" / "sd1")
QUICK = ["--model", SD1, "--steps", "4", "--sampler", "euler"]


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
