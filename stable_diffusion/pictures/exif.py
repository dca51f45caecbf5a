"""The texts in a picture's Exif, where tools keep their settings."""

import re

from PIL import ExifTags, Image

COMMENT = "parameters"  # the keyword of the text that a comment is
EXIF, USER_COMMENT, MAKER_NOTE = 0x8769, 0x9286, 0x927C  # AUTOMATIC1111's text, and Fooocus' scheme of it
DESCRIPTION = 0x010E  # where another text of ours lies, behind its keyword
_WINDOWS = range(0x9C9B, 0x9CA0)  # Windows' own title, comment, author, keywords and subject, in UTF-16
_TOLD = {0x010D, DESCRIPTION, 0x010F, 0x0110, 0x0131, 0x013B, 0x8298}  # Make, Model, Software, Artist, Copyright, ...
# ComfyUI's texts are behind their keywords in whatever tags are free: "prompt:{...}" in Model, "Workflow:{...}" in Make
_KEYWORD = re.compile(r"([A-Za-z][\w .-]{0,60}): ?(?=[\[{])")


def exif_texts(exif: Image.Exif) -> dict[str, str]:
    """The texts in a file's Exif, by their keywords, or else by the names of their tags."""
    found: dict[str, str] = {}
    for tag, value in [*exif.items(), *exif.get_ifd(EXIF).items()]:
        if tag == USER_COMMENT:
            keyword, text = COMMENT, _comment(value) if isinstance(value, bytes) else _utf_8(str(value))
        elif tag == MAKER_NOTE:
            text = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)
            keyword = "fooocus_scheme" if text.strip("\0") in ("fooocus", "a1111") else ""
        elif tag in _WINDOWS:
            letters = value if isinstance(value, bytes) else bytes(v % 256 for v in value if isinstance(v, int))
            keyword, text = ExifTags.TAGS.get(tag, hex(tag)), letters.decode("utf-16-le", "replace")
        elif isinstance(value, str):
            text = _utf_8(value)
            behind = _KEYWORD.match(text)
            keyword = ExifTags.TAGS.get(tag, hex(tag)) if tag in _TOLD else ""
            if behind:
                keyword, text = behind[1], text[behind.end() :]
                keyword = keyword.lower() if keyword in ("Prompt", "Workflow") else keyword
        else:
            continue
        text = text.strip("\0")
        if keyword and text:
            found.setdefault(keyword, text)
    return found


def _utf_8(text: str) -> str:
    """A text whose letters are the bytes of one in UTF-8, as Pillow gives it, or else as it is."""
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text


def _comment(data: bytes) -> str:
    """An Exif comment: eight letters that say how it is written, and the text; or the text alone."""
    if data.startswith(b"UNICODE\0"):
        return _utf_16(data[8:])
    if data.startswith(b"JIS\0\0\0\0\0"):
        return data[8:].decode("iso2022_jp", "replace")
    data = data[8:] if data.startswith((b"ASCII\0\0\0", bytes(8))) else data
    return _utf_8(data.decode("latin-1"))


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
