"""Pages of small pictures that tell by their colours what they are, for the tests of pages."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from stable_diffusion.pictures.page import Frame, Line, Page

TITLE = 'a "photo" of <script>alert(1)</script> & </script><!-- {{data}} 日本 🌄'
W, H = 96, 64


def picture(red: int, green: int, noise: float = 0.0, size: tuple[int, int] = (W, H)) -> Image.Image:
    """Red and green are the same everywhere, blue grows to the right. noise: of 1, nothing else is left."""
    w, h = size
    x = np.arange(w)[None].repeat(h, 0)
    plain = np.stack([np.full((h, w), red), np.full((h, w), green), 255 * x / w], axis=-1)
    random = np.random.default_rng(green).uniform(0, 255, plain.shape)
    return Image.fromarray(((1 - noise) * plain + noise * random).astype(np.uint8))


def line(k: int, way_in: bool = True, row: int = 0, column: int = 0, size: tuple[int, int] = (W, H)) -> Line:
    """The run of strength k / 10: k steps. Its pictures are of red 20 k; green is 10 for each step, and 5 in a clean
    one."""
    sigmas = [*(0.1 * 1.6 ** (k - step) for step in range(k)), 0.0]
    inner = [Frame({"noisy": picture(20 * k, 200 + step, 0.5, size)}, "noised", sigmas[-step], -step)
             for step in range(k - 1, 0, -1)] if way_in else []  # fmt: skip
    labels = ["start", *(f"step {step} of {k}" for step in range(1, k)), "finished"]
    steps = []
    for step, label in enumerate(labels):
        pictures = {"noisy": picture(20 * k, 10 * step, 0.3 * (1 - step / k), size)}
        if 0 < step < k:
            pictures["clean"] = picture(20 * k, 10 * step + 5, size=size)
        steps.append(Frame(pictures, label, sigmas[step], step))
    texts = {"parameters": f"{TITLE}\nSteps: {k}", "stable-diffusion-mlx": f'{{"strength": {k / 10}}}'}
    return Line(
        heading=f"strength {k / 10}",
        frames=[*inner, *steps],
        row=row,
        column=column,
        strength=k / 10,
        about={"prompt": TITLE, "strength": str(k / 10), "sampler": "dpmpp_2m"},
        command=f"python image2image.py photo.png '{TITLE}' --strength {k / 10}",
        texts=texts,
        levels=sigmas,
        times=[100.0 * k * (1 - step / k) - 1 for step in range(k)],
    )


def page(kind: str, strengths: Sequence[int] = (2, 4, 6, 8, 10), size: tuple[int, int] = (W, H)) -> Page:
    """A page of a kind, with a line for each strength."""
    chunks = {"sdIm": b"\x89PNG of the source", "sdXx": bytes(range(256))}
    original = picture(0, 250, size=size)
    if kind in ("triangle", "pyramid"):
        lines = [line(k, way_in=kind == "pyramid", row=row, size=size) for row, k in enumerate(strengths)]
        return Page(TITLE, kind, lines, original, chunks)
    across = math.ceil(len(strengths) / 2)
    places = [divmod(i, across) if kind == "grid" else (i, 0) for i in range(len(strengths))]
    lines = [line(k, False, *place, size) for k, place in zip(strengths, places, strict=True)]
    columns, rows = [f"strength {k / 10}" for k in strengths[:across]], ["euler", "a sampler of a long name"]
    grid = kind == "grid"
    return Page(TITLE, kind, lines, original, chunks, rows if grid else (), columns if grid else ())
