"""Texts in the Exif of pictures, in all the places where tools put them."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stable_diffusion.exchange.tools import read_tool
from stable_diffusion.pictures.exif import EXIF, MAKER_NOTE, USER_COMMENT
from stable_diffusion.pictures.metadata import read_attached

MAKE, MODEL, DESCRIPTION, SOFTWARE, WINDOWS = 0x010F, 0x0110, 0x010E, 0x0131, 0x9C9C
LINE = "a house\nSteps: 4, Sampler: Euler a, CFG scale: 7, Seed: 77, Size: 64x64"
ENDINGS = ["jpg", "webp", "png"]


def written(path: Path, ending: str, **tags: object) -> dict[str, str]:
    """The texts of a picture with these tags, each "where_number"."""
    exif = Image.Exif()
    for name, value in tags.items():
        where, _, number = name.partition("_")
        (exif if where == "ifd0" else exif.get_ifd(EXIF))[int(number)] = value
    path = path / f"a.{ending}"
    Image.new("RGB", (8, 8)).save(path, exif=exif.tobytes())
    return dict(read_attached(path).texts)


def raw_exif(entries: list[tuple[int, int, bytes]]) -> bytes:
    """Exif of one directory, written by hand: tags, kinds (2: ASCII, 7: undefined) and what they hold."""
    out, data = io.BytesIO(), io.BytesIO()
    at = 8 + 2 + 12 * len(entries) + 4
    out.write(b"II*\\0".replace(b"\\0", b"\0") + (8).to_bytes(4, "little") + len(entries).to_bytes(2, "little"))
    for tag, kind, value in sorted(entries):
        out.write(tag.to_bytes(2, "little") + kind.to_bytes(2, "little") + len(value).to_bytes(4, "little"))
        out.write((at + data.tell()).to_bytes(4, "little"))
        data.write(value)
    return b"Exif\0\0" + out.getvalue() + bytes(4) + data.getvalue()


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    ("prompt", "workflow"), [("prompt:", "workflow:"), ("Prompt:", "Workflow:"), ("Prompt: ", "Workflow: ")]
)
def test_comfyuis_graph_is_in_model_and_make(tmp_path: Path, ending: str, prompt: str, workflow: str) -> None:
    tags = {f"ifd0_{MODEL}": prompt + '{"3": {}}', f"ifd0_{MAKE}": workflow + '{"nodes": []}'}
    assert written(tmp_path, ending, **tags) == {"prompt": '{"3": {}}', "workflow": '{"nodes": []}'}


def test_a_graph_may_be_in_the_description(tmp_path: Path) -> None:
    assert written(tmp_path, "webp", **{f"ifd0_{DESCRIPTION}": 'Workflow:{"a": 1}'}) == {"workflow": '{"a": 1}'}


@pytest.mark.parametrize("comment", [LINE, LINE.encode(), b"ASCII\0\0\0" + LINE.encode(), bytes(8) + LINE.encode(),
                                     b"JIS\0\0\0\0\0" + LINE.encode()])  # fmt: skip
@pytest.mark.parametrize("where", ["ifd0", "exif"])
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_comment_is_found_in_either_directory(tmp_path: Path, ending: str, where: str, comment: str | bytes) -> None:
    assert written(tmp_path, ending, **{f"{where}_{USER_COMMENT}": comment}) == {"parameters": LINE}


def test_fooocus_says_how_its_comment_is_written(tmp_path: Path) -> None:
    tags = {USER_COMMENT: LINE, MAKER_NOTE: "a1111", SOFTWARE: "Fooocus v2.5.0"}
    texts = written(tmp_path, "jpg", **{f"ifd0_{tag}": value for tag, value in tags.items()})
    assert texts == {"parameters": LINE, "fooocus_scheme": "a1111", "Software": "Fooocus v2.5.0"}
    assert read_tool(texts).tool == "Fooocus's"


def test_letters_of_other_alphabets_are_read_where_ascii_should_be(tmp_path: Path) -> None:
    data = raw_exif([(MODEL, 2, 'prompt:{"3": "海"}\0'.encode()), (USER_COMMENT, 7, "海辺の家".encode())])
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg", exif=data)
    assert read_attached(tmp_path / "a.jpg").texts == {"prompt": '{"3": "海"}', "parameters": "海辺の家"}


def test_windows_comment_is_read(tmp_path: Path) -> None:
    assert written(tmp_path, "jpg", **{f"ifd0_{WINDOWS}": LINE.encode("utf-16-le")}) == {"XPComment": LINE}


def test_a_cameras_words_are_named_and_no_settings(tmp_path: Path) -> None:
    texts = written(tmp_path, "jpg", **{f"ifd0_{MAKE}": "Canon", f"ifd0_{MODEL}": "EOS", f"exif_{MAKER_NOTE}": b"\1\2"})
    assert texts == {"Make": "Canon", "Model": "EOS"}
    with pytest.raises(ValueError, match=r"its texts .'M[a-z]+', 'M[a-z]+'. are not settings"):
        read_tool(texts)


@pytest.mark.filterwarnings("ignore")  # Pillow has some to say
def test_damaged_exif_is_read_in_part_or_one_sentence(tmp_path: Path) -> None:
    rng, path = np.random.default_rng(0), tmp_path / "a.jpg"
    whole = raw_exif([(MODEL, 2, b'prompt:{"3": 1}\0'), (USER_COMMENT, 7, LINE.encode()), (WINDOWS, 1, b"a\0b\0")])
    sentences = []
    for _ in range(300):
        damaged = bytearray(whole)
        for place in rng.integers(6, len(whole), 3):
            damaged[place] = rng.integers(0, 256)
        Image.new("RGB", (8, 8)).save(path, exif=bytes(damaged))
        try:
            assert all(isinstance(text, str) for text in read_attached(path).texts.values())
        except ValueError as error:
            sentences.append(str(error))
    assert not [sentence for sentence in sentences if "\n" in sentence]
