"""What a file carries besides its pixels: texts, and, in PNG files alone, small pictures in private chunks."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngImageFile, PngInfo

from ..devices import DEVICE, is_device
from .exif import COMMENT, DESCRIPTION, EXIF, USER_COMMENT, exif_texts
from .stealth import stealth_texts
from .xmp import xmp_texts

_PNG = b"\x89PNG\r\n\x1a\n"
_XMP = "XML:com.adobe.xmp"  # its keyword in a PNG file
_MOST_EXIF = 65_500  # bytes, in a JPEG file


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
            found.get_ifd(EXIF)[USER_COMMENT] = comment
        for keyword, text in self.texts.items():
            if keyword != COMMENT and len(comment) + len(text) < _MOST_EXIF:
                found[DESCRIPTION] = f"{keyword}: {text}"
        return found.tobytes()


def read_attached(path: str | Path) -> Attached:
    """What a picture file carries: texts in its chunks, Exif, XMP, comments and pixels, and pictures in a PNG.

    Raises ValueError, in one sentence, for a file that is missing, damaged, or no picture.
    """
    if is_device(path):
        raise ValueError(f"{str(path)!r} {DEVICE}")
    if Path(path).is_dir():
        raise ValueError(f"{str(path)!r} is a folder, not a picture")
    try:
        with Image.open(path) as picture:
            picture.load()  # all chunks, those behind the pixels too
            pictures = {}
            if isinstance(picture, PngImageFile):
                chunks = [(name.decode("latin-1"), data) for name, data, *_ in picture.private_chunks]
                pictures = {name: _picture(name, data) for name, data in chunks if data.startswith(_PNG)}
            return Attached(_texts(picture), pictures)
    except FileNotFoundError:
        raise ValueError(f"there is no picture {str(path)!r}") from None
    except Exception as error:  # Pillow's readers raise whatever a damaged file makes them stumble over
        raise ValueError(f"the picture {str(path)!r} can't be read ({error})") from None


def _texts(picture: Image.Image) -> dict[str, str]:
    """The texts of a file, by their keywords, wherever they stand: those that are easiest to find go first."""
    texts = stealth_texts(picture) | exif_texts(picture.getexif())
    comment = picture.info.get("comment")  # of a JPEG or GIF file
    if comment:
        texts["comment"] = comment.decode("utf-8", "replace") if isinstance(comment, bytes) else str(comment)
    if isinstance(picture, PngImageFile):
        texts |= {str(keyword): str(text) for keyword, text in picture.text.items()}
    xmp = texts.pop(_XMP, None) or picture.info.get("xmp")
    return texts | xmp_texts(xmp) if xmp else texts


def _picture(name: str, data: bytes) -> Image.Image:
    try:
        with Image.open(io.BytesIO(data)) as picture:
            picture.load()
            return picture.copy()
    except Exception:
        raise ValueError(f"the picture in its chunk {name} is damaged") from None
