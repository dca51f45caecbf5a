"""Settings in the lowest bits of pixels."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stable_diffusion.exchange.tools import read_tool
from stable_diffusion.pictures import stealth
from stable_diffusion.pictures.metadata import read_attached
from stable_diffusion.pictures.stealth import stealth_texts

LINE = "a house 海\nSteps: 4, Sampler: Euler a, CFG scale: 7, Seed: 77, Size: 64x64, Version: v1.10.1"
NAMES = ["stealth_pnginfo", "stealth_pngcomp", "stealth_rgbinfo", "stealth_rgbcomp"]


def hidden(name: str, text: str, size: tuple[int, int] = (40, 61), length: int | None = None) -> Image.Image:
    """A picture with a text in its lowest bits, down the columns."""
    data = gzip.compress(text.encode()) if name.endswith("comp") else text.encode()
    count = 8 * len(data) if length is None else length
    bits = np.unpackbits(np.frombuffer(name.encode() + count.to_bytes(4, "big") + data, np.uint8))
    values = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    place = slice(3, 4) if "png" in name else slice(0, 3)
    columns = np.ascontiguousarray(values[..., place].transpose(1, 0, 2))
    flat = columns.reshape(-1)
    flat[: len(bits)] = (flat[: len(bits)] & 254) | bits
    values[..., place] = columns.transpose(1, 0, 2)
    return Image.fromarray(values if "png" in name else np.ascontiguousarray(values[..., :3]))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(40, 61), (2000, 3), (3, 2000), (61, 40)])
def test_a_hidden_text_is_found(name: str, size: tuple[int, int]) -> None:
    assert stealth_texts(hidden(name, LINE, size)) == {name: LINE}


@pytest.mark.parametrize("ending", ["png", "webp"])
@pytest.mark.parametrize("name", NAMES)
def test_a_file_with_a_hidden_text_is_read(tmp_path: Path, name: str, ending: str) -> None:
    if ending == "png":
        hidden(name, LINE).save(tmp_path / "a.png")
    else:
        hidden(name, LINE).save(tmp_path / "a.webp", lossless=True, exact=True)
    found = read_tool(read_attached(tmp_path / f"a.{ending}").texts)
    assert found.tool == "AUTOMATIC1111's" and found.said.settings["seed"] == 77


def test_novelai_hides_all_its_texts_at_once() -> None:
    comment = {"prompt": "a house", "uc": "fog", "steps": 28, "scale": 5.0, "seed": 0, "sampler": "k_euler_ancestral"}
    words = {"Software": "NovelAI", "Source": "NovelAI Diffusion V4 37442FCA", "Comment": json.dumps(comment)}
    found = read_tool(stealth_texts(hidden("stealth_pngcomp", json.dumps(words))))
    assert (found.tool, found.said.settings["seed"], found.said.model) == (
        "NovelAI's", 0, "NovelAI Diffusion V4 37442FCA",
    )  # fmt: skip


def test_what_the_file_says_openly_goes_before_what_it_hides(tmp_path: Path) -> None:
    texts = stealth_texts(hidden("stealth_pnginfo", LINE)) | {"parameters": LINE.replace("77", "5")}
    assert read_tool(texts).said.settings["seed"] == 5


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("length", [0, 7, 8, 2**20, 2**32 - 1])
def test_a_hidden_text_that_is_damaged_is_named(name: str, length: int) -> None:
    texts = stealth_texts(hidden(name, LINE, length=length))
    assert set(texts) == {name}
    with pytest.raises(ValueError, match=f"its texts .'{name}'. are not settings"):
        read_tool(texts)


def test_a_hidden_text_does_not_unpack_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stealth, "MOST", 1000)
    (text,) = stealth_texts(hidden("stealth_pngcomp", "a" * 100_000, (300, 300))).values()
    assert len(text) == 1001


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "I;16", "CMYK", "1", "F"])
@pytest.mark.parametrize("size", [(1, 1), (64, 64), (1, 300), (300, 1)])
def test_other_pictures_hide_nothing(mode: str, size: tuple[int, int]) -> None:
    values = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    picture = Image.fromarray(values)
    assert stealth_texts(picture.convert("I").convert(mode) if mode == "I;16" else picture.convert(mode)) == {}
