"""Texts in XMP."""

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from stable_diffusion.exchange.tools import read_tool
from stable_diffusion.pictures.metadata import read_attached
from stable_diffusion.pictures.xmp import xmp_texts
from tests.test_properties import often

WORDS = json.dumps({"c": 'a <red> house & "more"', "uc": "fog", "steps": 4, "seed": 5, "scale": 0, "size": "64x64"})
HEAD = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    'xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"'
)
FOOT = "</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end='w'?>"


def escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")


IN_A_LIST = (
    f'{HEAD}><exif:UserComment><rdf:Alt><rdf:li xml:lang="x-default">{escaped(WORDS)}</rdf:li></rdf:Alt>'
    f"</exif:UserComment><xmp:CreatorTool>Draw Things</xmp:CreatorTool>{FOOT}"
)
IN_AN_ATTRIBUTE = f'{HEAD} exif:UserComment="{escaped(WORDS)}" xmp:CreatorTool="Draw Things">{FOOT}'
FOUND = {"XMP UserComment": WORDS, "XMP CreatorTool": "Draw Things"}


@pytest.mark.parametrize("xmp", [IN_A_LIST, IN_AN_ATTRIBUTE])
def test_properties_are_read_in_either_form(xmp: str) -> None:
    assert xmp_texts(xmp) == xmp_texts(xmp.encode()) == FOUND


@pytest.mark.parametrize("ending", ["png", "jpg", "webp"])
def test_draw_things_settings_are_read_from_xmp(tmp_path: Path, ending: str) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", IN_A_LIST)
    more = {"pnginfo": info} if ending == "png" else {"xmp": IN_A_LIST.encode()}
    Image.new("RGB", (8, 8)).save(tmp_path / f"a.{ending}", **more)
    texts = read_attached(tmp_path / f"a.{ending}").texts
    assert texts == FOUND
    found = read_tool(texts)
    assert found.tool == "Draw Things'" and found.said.not_understood == []
    assert (found.said.settings["prompt"], found.said.settings["cfg"]) == ('a <red> house & "more"', 0)


BOMB = "".join(f'<!ENTITY e{i + 1} "{f"&e{i};" * 10}">' for i in range(30))


@pytest.mark.parametrize(
    "xmp",
    [
        f'<!DOCTYPE x [<!ENTITY e0 "ha">{BOMB}]><x>&e30;</x>',
        '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>',
        '<!DOCTYPE x SYSTEM "file:///etc/passwd"><x/>',
        "<x>&unknown;</x>", "<x", "no xml", "<x></y>", "<x/><y/>", "<x>\ud800</x>", "\0", "<x>" * 100_000,
        f'<?xml version="1.0" encoding="utf-16"?><!DOCTYPE x [{BOMB}]><x/>',
    ],
)  # fmt: skip
def test_what_is_no_safe_xml_is_named_and_not_expanded(xmp: str) -> None:
    started = time.perf_counter()
    found = xmp_texts(xmp)
    assert set(found) <= {"XMP"} and time.perf_counter() - started < 2
    if found:
        with pytest.raises(ValueError, match=r"its texts .'XMP'. are not settings"):
            read_tool(found)


def test_an_xmp_of_other_things_is_named() -> None:
    texts = xmp_texts(f'{HEAD} xmp:CreatorTool="Photo Editor">{FOOT}')
    with pytest.raises(ValueError, match=r"its texts .'XMP CreatorTool'. are not settings"):
        read_tool(texts)


@often
@given(cut=st.integers(0, len(IN_A_LIST)), put=st.text(max_size=20), length=st.integers(0, 40))
def test_damaged_xmp_is_text_all_the_same(cut: int, put: str, length: int) -> None:
    found = xmp_texts(IN_A_LIST[:cut] + put + IN_A_LIST[cut + length :])
    assert all(name.startswith("XMP") and text.strip() for name, text in found.items())
