"""What a file carries besides its pixels: texts, and, in PNG files alone, small pictures in private chunks."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngImageFile, PngInfo

from ..devices import DEVICE, is_device

_PNG = b"\x89PNG\r\n\x1a\n"
_EXIF, _USER_COMMENT = 0x8769, 0x9286  # where AUTOMATIC1111 keeps its text in JPEG and WebP files
_DESCRIPTION = 0x010E  # where another text of ours lies in them, behind its keyword
_MOST_EXIF = 65_500  # bytes, in a JPEG file
COMMENT = "parameters"  # the keyword of the text that a comment is


@dataclass(frozen=True)
class Attached:
    """texts by keyword; pictures by the four letters of their chunk, which must be private: `abCd`."""

    texts: Mapping[str, str] = field(default_factory=dict)
    pictures: Mapping[str, Image.Image] = field(default_factory=dict)

    def chunks(self) -> PngInfo:
        """All of it as Pillow writes it."""
        info = PngInfo()
        for keyword, text in self.texts.items():
            info.add_text(keyword, text)
        for name, data in self.data().items():
            info.add(name.encode("ascii"), data)
        return info

    def data(self) -> dict[str, bytes]:
        """What the chunks of its pictures hold."""
        found = {}
        for name, picture in self.pictures.items():
            assert len(name) == 4 and name[:2].islower() and name[2].isupper() and name[3].islower(), name
            data = io.BytesIO()
            picture.save(data, "PNG")
            found[name] = data.getvalue()
        return found

    def exif(self) -> bytes:
        """The texts as the Exif of a JPEG or WebP file; without those that do not fit."""
        found = Image.Exif()
        comment = b"UNICODE\0" + self.texts.get(COMMENT, "").encode("utf-16-be", "replace")
        if COMMENT in self.texts and len(comment) < _MOST_EXIF:
            found.get_ifd(_EXIF)[_USER_COMMENT] = comment
        for keyword, text in self.texts.items():
            if keyword != COMMENT and len(comment) + len(text) < _MOST_EXIF:
                found[_DESCRIPTION] = f"{keyword}: {text}"
        return found.tobytes()


def read_attached(path: str | Path) -> Attached:
    """What a picture file carries, in the texts and chunks of a PNG, and in the Exif of any.

    Raises ValueError, in one sentence, for a file that is missing, damaged, or no picture.
    """
    if is_device(path):
        raise ValueError(f"{str(path)!r} {DEVICE}")
    if Path(path).is_dir():
        raise ValueError(f"{str(path)!r} is a folder, not a picture")
    try:
        with Image.open(path) as picture:
            picture.load()  # all chunks, those behind the pixels too
            texts, pictures = _exif_texts(picture.getexif()), {}
            if isinstance(picture, PngImageFile):
                texts |= {str(keyword): str(text) for keyword, text in picture.text.items()}
                chunks = [(name.decode("latin-1"), data) for name, data, *_ in picture.private_chunks]
                pictures = {name: _picture(name, data) for name, data in chunks if data.startswith(_PNG)}
            return Attached(texts, pictures)
    except FileNotFoundError:
        raise ValueError(f"there is no picture {str(path)!r}") from None
    except Exception as error:  # Pillow's readers raise whatever a damaged file makes them stumble over
        raise ValueError(f"the picture {str(path)!r} can't be read ({error})") from None


def _exif_texts(exif: Image.Exif) -> dict[str, str]:
    """The texts in a file's Exif, by their keywords."""
    comment = exif.get_ifd(_EXIF).get(_USER_COMMENT, b"")
    text = _comment(comment if isinstance(comment, bytes) else str(comment).encode("latin-1", "replace"))
    keyword, _, description = str(exif.get(_DESCRIPTION, "")).partition(": ")
    texts = {keyword: description} if description.startswith("{") else {}
    return texts | ({COMMENT: text} if text else {})


def _picture(name: str, data: bytes) -> Image.Image:
    try:
        with Image.open(io.BytesIO(data)) as picture:
            picture.load()
            return picture.copy()
    except Exception:
        raise ValueError(f"the picture in its chunk {name} is damaged") from None


def _comment(data: bytes) -> str:
    """An Exif comment: eight letters that say how it is written, and the text."""
    if data.startswith(b"UNICODE\0"):
        return _utf_16(data[8:])
    for name in (b"ASCII\0\0\0", bytes(8)):
        if data.startswith(name):
            try:
                return data[8:].rstrip(b"\0").decode("utf-8")
            except UnicodeDecodeError:
                return data[8:].rstrip(b"\0").decode("latin-1")
    return ""


def _utf_16(data: bytes) -> str:
    """UTF-16 in either byte order, or UTF-8 where a tool has written that under the same name.

    Nothing says which: but line breaks, spaces and the numbers of a line of settings are ASCII in the right order, and
    letters of distant alphabets in the wrong one.
    """
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace")
    even, odd = data[0::2].count(0), data[1::2].count(0)
    if even == odd == 0:
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            pass
    return data.decode("utf-16-le" if odd > even else "utf-16-be", "replace")
