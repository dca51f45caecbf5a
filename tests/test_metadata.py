"""Texts and small pictures in PNG files, and the texts of other tools in files of other kinds."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from stable_diffusion.pictures.metadata import Attached, read_attached
from stable_diffusion.pictures.writing import save

EXIF, USER_COMMENT = 0x8769, 0x9286
TEXTS = {
    "plain": "a house by the sea",
    "lines": "a house\nby the sea\n\nNegative prompt: fog\n",
    "accents": "ein Häuschen am Meer, très joli",  # Latin-1
    "other scripts": "海辺の家, дом у моря, بيت, 🏠",
    "spaces": "  a  house ",
    "empty": "",
    "long": "a house, " * 20_000,
}


def noise(mode: str = "RGB", side: int = 24) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


def chunk(name: bytes, data: bytes) -> bytes:
    """One of the parts that a PNG file is made of."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def with_comment(path: Path, comment: bytes) -> Path:
    """A picture with an Exif comment, as other tools write it."""
    exif = Image.Exif()
    exif[EXIF] = {USER_COMMENT: comment}
    noise().save(path, exif=exif)
    return path


# Our own files


@pytest.mark.parametrize("text", TEXTS.values(), ids=list(TEXTS))
def test_a_text_comes_back_as_it_was(tmp_path: Path, text: str) -> None:
    save(noise(), tmp_path / "a.png", Attached({"parameters": text}))
    assert read_attached(tmp_path / "a.png") == Attached({"parameters": text})


def test_several_texts_keep_their_keywords(tmp_path: Path) -> None:
    save(noise(), tmp_path / "a.png", Attached({**TEXTS, "parameters": "a house"}))
    assert read_attached(tmp_path / "a.png").texts == {**TEXTS, "parameters": "a house"}


@pytest.mark.parametrize("text", TEXTS.values(), ids=list(TEXTS))
def test_other_peoples_readers_see_the_text(tmp_path: Path, text: str) -> None:
    save(noise(), tmp_path / "a.png", Attached({"parameters": text}, {"siMg": noise(side=8)}))
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.text["parameters"] == picture.info["parameters"] == text


def test_pictures_come_back_with_every_pixel(tmp_path: Path) -> None:
    start, mask = noise(side=40), noise("L", 16)
    save(noise(), tmp_path / "a.png", Attached({"parameters": "a"}, {"siMg": start, "smSk": mask}))
    found = read_attached(tmp_path / "a.png")
    assert found.texts == {"parameters": "a"}
    assert set(found.pictures) == {"siMg", "smSk"}
    for name, picture in (("siMg", start), ("smSk", mask)):
        assert found.pictures[name].mode == picture.mode
        assert np.array_equal(np.asarray(found.pictures[name]), np.asarray(picture))


def test_what_is_attached_leaves_the_pixels_alone(tmp_path: Path) -> None:
    attached = Attached({"parameters": TEXTS["other scripts"]}, {"siMg": noise(side=40)})
    save(noise(), tmp_path / "bare.png")
    save(noise(), tmp_path / "full.png", attached)
    bare, full = (Image.open(tmp_path / name) for name in ("bare.png", "full.png"))
    assert (bare.mode, bare.size) == (full.mode, full.size) == ("RGB", (24, 24))
    assert np.array_equal(np.asarray(full), np.asarray(noise()))
    assert np.array_equal(np.asarray(full), np.asarray(bare))


def test_a_png_without_anything_has_nothing_attached(tmp_path: Path) -> None:
    noise().save(tmp_path / "bare.png")
    save(noise(), tmp_path / "empty.png", Attached())
    assert read_attached(tmp_path / "bare.png") == read_attached(tmp_path / "empty.png") == Attached()


@pytest.mark.parametrize("ending", ["jpg", "webp"])
def test_other_files_carry_the_texts_alone(tmp_path: Path, ending: str) -> None:
    texts = {"parameters": "a 海, b\nSteps: 4", "ours": '{"version": 1}'}
    save(noise(), tmp_path / f"a.{ending}", Attached(texts, {"siMg": noise()}))
    assert read_attached(tmp_path / f"a.{ending}") == Attached(texts)


def test_texts_that_are_too_long_for_a_jpeg_are_left_out(tmp_path: Path) -> None:
    save(noise(), tmp_path / "a.jpg", Attached({"parameters": "a", "ours": "{" + "x" * 70_000}))
    assert read_attached(tmp_path / "a.jpg").texts == {"parameters": "a"}
    save(noise(), tmp_path / "a.jpg", Attached({"parameters": "a" * 70_000}))
    assert read_attached(tmp_path / "a.jpg").texts == {}


@pytest.mark.parametrize("order", ["utf-16-be", "utf-16-le", "utf-16", "utf-8"])
@pytest.mark.parametrize("text", ["海辺の家\nSteps: 4, Seed: 1", "a house\nSteps: 4", "дом у моря\nSteps: 4, Seed: 2"])
def test_comments_are_read_in_any_byte_order(tmp_path: Path, order: str, text: str) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + text.encode(order)
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg", exif=exif)
    assert read_attached(tmp_path / "a.jpg").texts == {"parameters": text}


def test_a_png_may_have_its_comment_in_its_exif(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0" + b'{"c": "a house", "steps": 4}'
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png", exif=exif.tobytes())
    assert read_attached(tmp_path / "a.png").texts == {"parameters": '{"c": "a house", "steps": 4}'}
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "its own")
    Image.new("RGB", (8, 8)).save(tmp_path / "b.png", exif=exif.tobytes(), pnginfo=info)
    assert read_attached(tmp_path / "b.png").texts == {"parameters": "its own"}


def test_distant_letters_alone_are_not_turned_round(tmp_path: Path) -> None:
    """AUTOMATIC1111 writes them in the order of the network, and nothing in them says so."""
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + "海辺の家、夕暮れ".encode("utf-16-be")
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg", exif=exif)
    assert read_attached(tmp_path / "a.jpg").texts == {"parameters": "海辺の家、夕暮れ"}


# Other tools' files


def test_a_text_behind_the_pixels_is_found(tmp_path: Path) -> None:
    save(noise(), tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[:-12] + chunk(b"tEXt", b"parameters\0a house") + data[-12:])
    assert read_attached(tmp_path / "a.png").texts == {"parameters": "a house"}


def test_private_chunks_that_hold_no_picture_are_left_alone(tmp_path: Path) -> None:
    save(noise(), tmp_path / "a.png", Attached(pictures={"siMg": noise(side=8)}))
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[:33] + chunk(b"thEy", b"something else") + data[33:])
    assert set(read_attached(tmp_path / "a.png").pictures) == {"siMg"}


@pytest.mark.parametrize("ending", ["jpg", "webp"])
def test_the_exif_comment_of_other_kinds_is_the_text(tmp_path: Path, ending: str) -> None:
    text = "海辺の家, a house\nNegative prompt: fog\nSteps: 20, Sampler: Euler a"
    path = with_comment(tmp_path / f"a.{ending}", b"UNICODE\0" + text.encode("utf-16-be"))
    assert read_attached(path) == Attached({"parameters": text})
    path = with_comment(tmp_path / f"b.{ending}", b"ASCII\0\0\0" + text[6:].encode("ascii"))
    assert read_attached(path) == Attached({"parameters": text[6:]})


@pytest.mark.parametrize("comment", [b"", b"UNICODE\0", b"ASCII\0\0\0", bytes(8)])
def test_a_comment_that_says_nothing_is_no_text(tmp_path: Path, comment: bytes) -> None:
    assert read_attached(with_comment(tmp_path / "a.jpg", comment)) == Attached()


def test_half_a_letter_does_not_spoil_the_rest(tmp_path: Path) -> None:
    path = with_comment(tmp_path / "a.jpg", b"UNICODE\0" + "a house".encode("utf-16-be") + b"\0")
    assert read_attached(path).texts["parameters"].startswith("a house")


# What cannot be read


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing.png", "there is no picture"),
        ("folder.png", "is a folder, not a picture"),
        ("text.png", "can't be read"),
        ("empty.png", "can't be read"),
        ("half.png", "can't be read"),
        ("half.jpg", "can't be read"),
        ("nu\0ll.png", "can't be read"),
    ],
)
def test_what_is_no_picture_is_one_sentence(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "empty.png").touch()
    for ending in ("png", "jpg"):
        save(noise(), tmp_path / f"half.{ending}")
        data = (tmp_path / f"half.{ending}").read_bytes()
        (tmp_path / f"half.{ending}").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=words) as caught:
        read_attached(tmp_path / name)
    assert repr(str(tmp_path / name)) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore")  # Pillow has some to say
def test_a_damaged_file_is_one_sentence_or_what_is_left_of_it(tmp_path: Path) -> None:
    path, rng = tmp_path / "a.png", np.random.default_rng(0)
    save(noise(side=8), path, Attached({"parameters": "a ü 海"}, {"siMg": noise(side=8)}))
    whole = path.read_bytes()
    assert read_attached(path).pictures
    sentences = []
    for trial in range(300):
        damaged = bytearray(whole[: rng.integers(0, len(whole))] if trial % 3 == 0 else whole)
        for place in rng.integers(0, len(damaged), min(3, len(damaged))) if trial % 3 else ():
            damaged[place] = rng.integers(0, 256)
        path.write_bytes(damaged)
        try:
            assert isinstance(read_attached(path), Attached)
        except ValueError as error:
            sentences.append(str(error))
    assert len(sentences) > 50
    assert not [sentence for sentence in sentences if "\n" in sentence]


def test_a_private_picture_that_cannot_be_read_is_said_in_words(tmp_path: Path) -> None:
    save(noise(), tmp_path / "a.png", Attached({"parameters": "a house"}))
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[:33] + chunk(b"thEy", b"\x89PNG\r\n\x1a\n, or nearly so") + data[33:])
    with pytest.raises(ValueError, match="can't be read") as caught:
        read_attached(tmp_path / "a.png")
    assert "object at 0x" not in str(caught.value)
