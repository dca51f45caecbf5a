"""The page to explore, in a real browser, opened from disk."""

import re
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
import pytest
from PIL import Image

from stable_diffusion.pictures.metadata import read_attached
from stable_diffusion.pictures.page import save_page
from tests.pages import TITLE, page

api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")

KINDS = ["triangle", "pyramid", "grid", "family", "pictures"]
Open = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    return {kind: save_page(page(kind), folder / f"{kind}.html")[0] for kind in KINDS}


@pytest.fixture
def opened(browser: Any, files: dict[str, Path]) -> Iterator[Open]:
    """Opens a page of a kind at a size, and sees to it that there is no error and nothing is loaded."""
    contexts, wrong = [], []

    def open_page(kind: str, size: tuple[int, int] = (1280, 800), hash: str = "", **options: Any) -> Any:
        context = browser.new_context(viewport={"width": size[0], "height": size[1]}, **options)
        contexts.append(context)
        tab = context.new_page()
        # Chromium finds fault with how often these tests look at the canvas.
        tab.on("console", lambda said: "willReadFrequently" in said.text or wrong.append(said.text))
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        tab.on(
            "request", lambda request: request.url.startswith(("file:", "data:", "blob:")) or wrong.append(request.url)
        )
        tab.goto(files[kind].as_uri() + hash)
        until(tab, "last !== null && places.every((place) => place.drawn)")
        return tab

    yield open_page
    for context in contexts:
        context.close()
    assert not wrong


def until(tab: Any, expression: str) -> None:
    """Wait for something to be true: asked from here, since the page lets nobody else's scripts wait in it."""
    for _ in range(400):
        if tab.evaluate(expression):
            return
        tab.wait_for_timeout(25)
    raise AssertionError(expression)


def settled(tab: Any) -> dict[str, str]:
    """The hash, once it says what is seen."""
    until(tab, "location.hash === toHash()")
    return dict(parse_qsl(tab.evaluate("location.hash")[1:], keep_blank_values=True))


def readout(tab: Any) -> str:
    return tab.inner_text("#readout")


def middle(tab: Any) -> list[int]:
    """The colour in the middle of the stage, once it is painted."""
    tab.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return tab.evaluate("""() => {
        const { width, height } = context.canvas;
        return [...context.getImageData(width / 2 + 40, height / 2, 1, 1).data].slice(0, 3);
    }""")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(400, 780), (1280, 800), (3840, 2160)])
def test_it_fits_every_window(kind: str, size: tuple[int, int], scheme: str, opened: Open) -> None:
    tab = opened(kind, size, color_scheme=scheme)
    for mode in ("", "w", "d", "f"):
        if mode:
            tab.keyboard.press(mode)
        assert tab.evaluate("document.documentElement.scrollWidth") <= size[0]
        jutting = tab.evaluate("""() => all("header *, main *").filter((part) => {
            const { left, right, width } = part.getBoundingClientRect();
            return width && !part.closest("svg, .unseen, #headings") && (left < -0.5 || right > innerWidth + 0.5);
        }).map((part) => part.outerHTML.slice(0, 80))""")
        assert not jutting
        clipped = tab.evaluate("""() => all("button, select, h2, label, #zoom, dt").filter((part) =>
            part.scrollWidth > part.clientWidth + 2 && part.clientWidth && !part.closest(".unseen"))
            .map((part) => part.outerHTML.slice(0, 80))""")
        assert not clipped
        if size[0] > 900:  # all controls are in the window
            assert tab.evaluate("document.documentElement.scrollHeight") <= size[1]
            assert tab.evaluate("""$("tools").getBoundingClientRect().bottom""") <= size[1]
    assert tab.inner_text("#title") == TITLE
    light = sum(tab.evaluate("getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).map(Number)")[:3])
    assert light > 600 if scheme == "light" else light < 120


def test_arrows_walk_the_map(opened: Open) -> None:
    tab = opened("triangle")
    assert "strength 0.6" in readout(tab) and "finished" in readout(tab)
    seen = []
    for key in [
        "ArrowUp",
        "ArrowLeft",
        "ArrowLeft",
        "ArrowDown",
        "ArrowRight",
        "Home",
        "ArrowUp",
        "ArrowUp",
        "ArrowDown",
    ]:
        tab.keyboard.press(key)
        seen.append((tab.inner_text("#readout b"), *tab.locator("#readout span").all_inner_texts()[:1]))
    assert seen == [
        ("strength 0.8", "finished"),
        ("strength 0.8", "step 7 of 8"),
        ("strength 0.8", "step 6 of 8"),
        ("strength 0.6", "finished"),  # it has no step beyond
        ("strength 0.6", "finished"),
        ("original",),
        ("strength 0.2", "start"),
        ("strength 0.4", "start"),
        ("strength 0.2", "start"),
    ]


def test_shift_walks_the_l(opened: Open) -> None:
    tab = opened("triangle", hash="#cell=2.0&way=2")
    seen = []
    for _ in range(5):
        tab.keyboard.press("Shift+ArrowRight")
        seen.append((tab.inner_text("#readout b")[-3:], tab.locator("#readout span").first.inner_text()))
    assert seen == [
        *((strength, "start") for strength in ("0.2", "0.4", "0.6")),
        ("0.6", "step 1 of 6"),
        ("0.6", "step 2 of 6"),
    ]
    assert settled(tab)["cell"] == "2.3"
    for _ in range(4):
        tab.keyboard.press("Shift+ArrowDown")
    assert settled(tab) == {"cell": "0.1", "way": "2"}
    tab.keyboard.press("End")
    assert settled(tab) == {"cell": "2.7"}


def test_a_pyramid_goes_from_the_original_through_its_noise(opened: Open) -> None:
    tab = opened("pyramid", hash="#cell=1.0")
    assert tab.inner_text("#readout b") == "original"
    labels = []
    for _ in range(8):
        tab.keyboard.press("ArrowRight")
        labels.append(tab.locator("#readout span").first.inner_text())
    assert labels == ["noised"] * 3 + ["start", "step 1 of 4", "step 2 of 4", "step 3 of 4", "finished"]
    tab.keyboard.press("ArrowDown")
    assert "strength 0.6" in readout(tab)


def test_a_grid_has_an_axis_for_rows_and_one_for_columns(opened: Open) -> None:
    tab = opened("grid")
    assert tab.locator(".scrubber label").all_inner_texts() == ["Step", "Column", "Row"]
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("ArrowDown")
    assert settled(tab)["cell"].startswith("4.")
    tab.get_by_label("Row", exact=True).focus()
    tab.keyboard.press("ArrowLeft")
    assert settled(tab)["cell"].startswith("1.")


def test_scrubbers_fade_between_neighbours(opened: Open) -> None:
    tab = opened("triangle", hash="#cell=2.7")
    scrubber = tab.get_by_label("Strength", exact=True)
    reds = []
    for value in (2, 2.25, 2.5, 2.75, 3):
        scrubber.evaluate("(input, value) => { input.value = value; input.dispatchEvent(new Event('input')); }", value)
        reds.append(middle(tab)[0])
    assert reds == pytest.approx([120, 130, 140, 150, 160], abs=2)
    scrubber.evaluate("(input) => { input.value = 2.7; input.dispatchEvent(new Event('change')); }")
    assert middle(tab)[0] == 160 and scrubber.evaluate("(input) => input.value") == "3"  # the nearer one stays
    assert scrubber.get_attribute("aria-valuetext") == "0.8"
    tab.get_by_label("Step", exact=True).focus()
    tab.keyboard.press("Home")
    assert tab.inner_text("#readout b") == "original"


def test_hovering_shows_and_a_click_chooses(opened: Open) -> None:
    tab = opened("triangle", hash="#cell=2.7")
    box = tab.locator("#map").bounding_box()
    place = tab.evaluate("places.find((place) => place.line === 4 && place.frame === 11)")
    tab.mouse.move(box["x"] + place["x"] + place["w"] / 2, box["y"] + place["y"] + place["h"] / 2)
    assert "strength 1.0" in readout(tab) and middle(tab)[0] == 200
    assert tab.evaluate("view.cell") == {"line": 2, "frame": 7}
    tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] - 2)  # where there is no picture
    assert "strength 0.6" in readout(tab) and middle(tab)[0] == 120
    tab.mouse.click(box["x"] + place["x"] + place["w"] / 2, box["y"] + place["y"] + place["h"] / 2)
    assert settled(tab)["cell"] == "4.11"


def test_a_and_b_are_compared(opened: Open) -> None:
    tab = opened("triangle", hash="#cell=4.11")  # red 200, green 100
    tab.keyboard.press("a")
    tab.keyboard.press("ArrowDown")  # red 160, green 80
    tab.keyboard.press("w")
    assert middle(tab)[:2] == [160, 80]  # to the right of the middle
    tab.get_by_label("Wipe between A and B").focus()
    tab.keyboard.press("End")
    assert middle(tab)[:2] == [200, 100] and settled(tab)["wipe"] == "1.000"
    tab.keyboard.press("d")
    assert middle(tab) == [160, 80, 0]  # four times 40, and 20
    tab.keyboard.press("[")
    assert middle(tab) == [80, 40, 0] and settled(tab)["gain"] == "2"
    words = tab.inner_text("#tag-b")
    mse = (40**2 + 20**2) / 3
    assert f"mean {100 * 60 / 3 / 255:.2f} %, PSNR {10 * np.log10(255**2 / mse):.1f} dB" in words
    tab.keyboard.press("f")
    seen = set()
    for _ in range(30):
        seen.add(middle(tab)[0])
        tab.wait_for_timeout(50)
    assert seen == {160, 200}
    tab.keyboard.press("Escape")
    assert "mode" not in settled(tab) and middle(tab)[0] == 160


def test_one_key_shows_clean_frames(opened: Open) -> None:
    tab = opened("triangle", hash="#cell=4.5")
    before = middle(tab)
    tab.keyboard.press("c")
    assert middle(tab)[:2] == [200, 45] != before[:2]
    assert settled(tab)["clean"] == "1"


def test_wheel_drag_and_double_click_zoom_and_pan(opened: Open) -> None:
    tab = opened("triangle")
    box = tab.locator("#stage").bounding_box()
    x, y = round(box["x"] + 0.6 * box["width"]), round(box["y"] + 0.4 * box["height"])
    under = """([x, y]) => { const { left, top, w, h } = rectOf(last); return [(x - left) / w, (y - top) / h]; }"""
    before = tab.evaluate(under, [x - box["x"], y - box["y"]])
    tab.mouse.move(x, y)
    for _ in range(6):
        tab.mouse.wheel(0, -100)
    until(tab, "view.zoom > 2.5")
    assert tab.evaluate(under, [x - box["x"], y - box["y"]]) == pytest.approx(before, abs=1e-6)
    assert tab.evaluate("context.imageSmoothingEnabled") is False  # far in, pixels are squares
    tab.mouse.down()
    tab.mouse.move(x - 50, y + 30)
    tab.mouse.up()
    assert tab.evaluate(under, [x - 50 - box["x"], y + 30 - box["y"]]) == pytest.approx(before, abs=1e-6)
    tab.keyboard.press("1")
    assert tab.inner_text("#zoom") != "" and tab.evaluate("rectOf(last).scale * density()") == pytest.approx(1)
    tab.keyboard.press("0")
    assert tab.evaluate("view.zoom") == 1
    tab.wait_for_timeout(400)
    tab.mouse.dblclick(x, y)
    assert tab.evaluate("view.zoom") > 3
    tab.wait_for_timeout(400)
    tab.mouse.dblclick(x, y)
    assert tab.evaluate("view.zoom") == 1


def test_the_address_says_what_is_seen(opened: Open) -> None:
    tab = opened("pyramid", hash="#cell=3.9&clean=1&a=1.2.clean&mode=difference&gain=8&zoom=3,0.5,0.4")
    found = settled(tab)
    assert found.pop("zoom").split(",")[:2] == ["3", "0.5"]
    assert found == {"cell": "3.9", "clean": "1", "a": "1.2.clean", "mode": "difference", "gain": "8", "wipe": "0.500"}
    shot = tab.locator("#stage").screenshot()
    again = opened("pyramid", hash=tab.evaluate("location.hash"))
    assert again.locator("#stage").screenshot() == shot
    again.evaluate("location.hash = 'cell=0.1'")
    until(again, "view.cell.line === 0")
    assert settled(again) == {"cell": "0.1"}


@pytest.mark.parametrize("bad", [
    "#", "#cell", "#cell=99.0", "#cell=0.99", "#cell=-1.0", "#cell=constructor.0&way=__proto__", "#a=&mode=wipe",
    "#mode=wipe", "#zoom=NaN,1e9,x&gain=3&wipe=-1", "#%%%&&==&cell=<script>",
])  # fmt: skip
def test_an_address_that_makes_no_sense_is_as_none(bad: str, opened: Open) -> None:
    assert settled(opened("triangle", hash=bad)) == settled(opened("triangle"))


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """The chunks of a PNG, whose check sums are right."""
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    at, found = 8, []
    while at < len(data):
        length, name = struct.unpack(">I4s", data[at : at + 8])
        content = data[at + 8 : at + 8 + length]
        assert struct.unpack(">I", data[at + 8 + length : at + 12 + length])[0] == zlib.crc32(name + content)
        found.append((name, content))
        at += 12 + length
    return found


def test_a_saved_picture_carries_what_made_it(opened: Open, tmp_path: Path) -> None:
    given = page("triangle")
    tab = opened("triangle", hash="#cell=1.3")
    with tab.expect_download() as download:
        tab.keyboard.press("s")
    assert download.value.suggested_filename == "triangle-strength0.4-step002.png"
    path = tmp_path / "saved.png"
    download.value.save_as(path)
    found = chunks(path.read_bytes())
    names = [name for name, _ in found]
    assert names[0] == b"IHDR" and names[-1] == b"IEND"
    before = names[: names.index(b"IDAT")]
    assert [name for name in before if name in (b"tEXt", b"iTXt", b"sdIm", b"sdXx")] == [
        b"iTXt",
        b"tEXt",
        b"sdIm",
        b"sdXx",
    ]
    assert dict(found)[b"sdXx"] == given.chunks["sdXx"]
    with Image.open(path) as picture:
        frame = given.lines[1].frames[2].pictures["noisy"]
        assert np.array_equal(np.asarray(picture.convert("RGB")), np.asarray(frame))
        assert picture.text == given.lines[1].texts  # type: ignore[attr-defined]


def test_our_own_reader_reads_a_saved_picture(browser: Any, tmp_path: Path) -> None:
    from dataclasses import replace
    from io import BytesIO

    source = BytesIO()
    page("triangle").original.save(source, "PNG")  # type: ignore[union-attr]
    given = replace(page("triangle"), chunks={"sdIm": source.getvalue()})
    path, _ = save_page(given, tmp_path / "out.html")
    tab = browser.new_page()
    tab.goto(path.as_uri())
    with tab.expect_download() as download:
        tab.get_by_text("Save PNG").click()
    download.value.save_as(tmp_path / "saved.png")
    tab.keyboard.press("Home")
    with tab.expect_download() as download:
        tab.keyboard.press("s")
    assert download.value.suggested_filename == "triangle-original.png"
    download.value.save_as(tmp_path / "original.png")
    tab.close()
    found = read_attached(tmp_path / "saved.png")
    assert found.texts == given.lines[2].texts
    assert np.array_equal(np.asarray(found.pictures["sdIm"]), np.asarray(given.original))
    assert not read_attached(tmp_path / "original.png").texts  # nobody's run made it


def test_a_smaller_picture_says_so(browser: Any, tmp_path: Path) -> None:
    path, said = save_page(page("triangle", (8, 9, 10), size=(640, 400)), tmp_path / "out.html", 0.18)
    size = re.search(r"(\d+) of 640 pixels wide", said)
    assert size
    tab = browser.new_page()
    tab.goto(path.as_uri())
    assert f"{size[1]} × " in tab.inner_text("#save") and "smaller than they were" in tab.inner_text("#fineprint")
    tab.close()


@pytest.mark.parametrize("which", ["settings", "command"])
def test_texts_are_copied_from_a_page_on_disk(which: str, opened: Open) -> None:
    tab = opened("triangle", hash="#cell=1.3")
    tab.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    tab.click(f"#copy-{which}")
    tab.wait_for_selector("#toast.shown")
    assert tab.inner_text("#toast") == f"{which.capitalize()} copied"
    tab.evaluate("document.body.append(element('textarea', { id: 'pasted' }))")
    tab.focus("#pasted")
    tab.keyboard.press("Control+V")
    of = page("triangle").lines[1]
    text = of.command if which == "command" else "\n".join(f"{key}: {value}" for key, value in of.about.items())
    assert tab.input_value("#pasted") == text


def test_play_walks_the_way_and_holds_at_the_end(opened: Open) -> None:
    tab = opened("triangle", hash="#cell=1.0&way=1")
    tab.select_option("#speed", "16")
    tab.keyboard.press("Escape")
    tab.focus("#stage")
    tab.evaluate("""() => {
        const before = show;
        globalThis.seen = [];
        show = (cell, ...more) => { seen.push(`${cell.line}.${cell.frame}`); before(cell, ...more); };
    }""")
    tab.keyboard.press(" ")
    assert tab.inner_text("#play") == "Pause"
    until(tab, "view.cell.line === 1 && view.cell.frame === 5")
    assert tab.evaluate("seen") == [
        "0.1",
        "1.1",
        "1.2",
        "1.3",
        "1.4",
        "1.5",
    ]
    tab.keyboard.press(" ")
    assert tab.inner_text("#play") == "Play"


def test_reduced_motion_has_no_fades_and_no_flicker(opened: Open) -> None:
    tab = opened("triangle", hash="#cell=1.1&a=4.11&mode=flicker", reduced_motion="reduce")
    tab.wait_for_timeout(1200)
    assert tab.evaluate("isFlipped") is False
    tab.click("#swap")
    assert tab.evaluate("isFlipped") is True
    tab.evaluate("globalThis.blends = 0; setInterval(() => blend && blends++, 5)")
    tab.focus("#stage")
    tab.keyboard.press(" ")
    until(tab, "view.cell.frame === 4")
    assert tab.evaluate("blends") == 0


def test_fingers_suffice(opened: Open) -> None:
    tab = opened("triangle", (400, 780), has_touch=True, is_mobile=True)
    tab.locator("#map").scroll_into_view_if_needed()
    box = tab.locator("#map").bounding_box()
    place = tab.evaluate("places.find((place) => place.line === 3 && place.frame === 4)")
    tab.touchscreen.tap(box["x"] + place["x"] + place["w"] / 2, box["y"] + place["y"] + place["h"] / 2)
    assert settled(tab)["cell"] == "3.4"
    assert tab.evaluate("hovered") is None
    tab.locator("#stage").scroll_into_view_if_needed()
    box = tab.locator("#stage").bounding_box()
    session = tab.context.new_cdp_session(tab)
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def touch(kind: str, *spots: tuple[float, float]) -> None:
        points = [{"x": a, "y": b, "id": i} for i, (a, b) in enumerate(spots)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", (x - 30, y), (x + 30, y))
    for apart in range(35, 100, 5):
        touch("touchMove", (x - apart, y), (x + apart, y))
    touch("touchEnd")
    until(tab, "view.zoom > 2.5")
    for button in tab.locator("button:visible, select:visible").all():
        assert button.bounding_box()["height"] >= 38


def test_the_keyboard_suffices_and_help_tells_how(opened: Open) -> None:
    tab = opened("triangle", color_scheme="dark")
    reached = []
    for _ in range(40):
        tab.keyboard.press("Tab")
        reached.append(tab.evaluate("document.activeElement.id || document.activeElement.textContent"))
        if tab.evaluate("document.activeElement !== document.body"):
            assert tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid", reached[-1]
    assert {"stage", "play", "speed", "pin", "Wipe", "save", "map", "copy-command", "scrubber-0", "fit"} <= {*reached}
    tab.focus("#stage")
    tab.keyboard.press("?")
    assert tab.evaluate("$('help').open")
    assert tab.locator("#keys dt").count() == tab.locator("#keys dd").count() > 8
    tab.keyboard.press("ArrowLeft")  # moves nothing behind it
    tab.keyboard.press("Escape")
    assert not tab.evaluate("$('help').open")
    assert settled(tab) == {"cell": "2.7"}


def test_what_is_seen_is_said(opened: Open) -> None:
    tab = opened("triangle", hash="#cell=1.3")
    until(tab, "$('live').textContent === 'strength 0.4, step 2 of 4'")
    assert tab.get_attribute("#stage", "aria-label") == "strength 0.4, step 2 of 4"
    unnamed = tab.evaluate("""() => all("button, select, input, [role=slider], [role=img]").filter((part) =>
        !(part.textContent.trim() || part.getAttribute("aria-label") || part.labels?.length)).map((part) => part.id)""")
    assert not unnamed
