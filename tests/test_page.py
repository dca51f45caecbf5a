"""Pages to explore: what is in the file, how large it is, and what is said of it."""

import base64
import hashlib
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stable_diffusion.pictures.page import Frame, Page, save_page
from tests.pages import TITLE, line, page, picture

KINDS = ["triangle", "pyramid", "grid", "family", "pictures"]


class Elements(HTMLParser):
    """The elements of a page by name, with attributes and text, as a browser takes them apart."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.inside = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs), []))
        self.inside = True

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.found[-1][2].append(data)

    def texts(self, tag: str) -> list[str]:
        return ["".join(text) for name, _, text in self.found if name == tag]


def read(path: Path) -> tuple[Elements, dict[str, Any]]:
    elements = Elements(path.read_text(encoding="utf-8"))
    data, _ = elements.texts("script")
    return elements, json.loads(data)


def opened(entry: dict[str, Any]) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(entry["webp"])))


def noisy(width: int, height: int, count: int = 12) -> Page:
    """A triangle's row of pictures that can hardly be compressed."""
    frames = [
        Frame({"noisy": picture(0, step, 1.0, (width, height))}, "start" if not step else f"step {step}", 1.0, step)
        for step in range(count)
    ]
    return Page("noise", "triangle", [replace(line(3), frames=frames)])


@pytest.mark.parametrize("kind", KINDS)
def test_what_goes_in_is_in_the_file(kind: str, tmp_path: Path) -> None:
    given = page(kind)
    path, said = save_page(given, tmp_path / "out.html")
    assert path == tmp_path / "out.html" and said == ""
    assert [p.name for p in tmp_path.iterdir()] == ["out.html"]
    _, data = read(path)
    assert [data["title"], data["kind"], data["said"], data["exact"]] == [given.title, kind, "", True]
    assert [data["rows"], data["columns"]] == [list(given.rows), list(given.columns)]
    assert {name: base64.b64decode(chunk) for name, chunk in data["chunks"].items()} == given.chunks
    assert given.original is not None
    shown = opened(data["pictures"][data["original"]]).convert("RGB")
    assert np.array_equal(np.asarray(shown), np.asarray(given.original))
    for of, there in zip(given.lines, data["lines"], strict=True):
        for name in ("heading", "row", "column", "strength", "command", "texts", "levels", "times"):
            assert there[name] == getattr(of, name), name
        assert there["about"] == [list(pair) for pair in of.about.items()]
        for frame, kept in zip(of.frames, there["frames"], strict=True):
            assert (kept["label"], kept["sigma"], kept["step"]) == (frame.label, frame.sigma, frame.step)
            assert {"noisy", "clean"} & kept.keys() == frame.pictures.keys()
            for which, of_frame in frame.pictures.items():
                entry = data["pictures"][kept[which]]
                assert (entry["width"], entry["height"], *entry["inside"]) == of_frame.size * 2
                assert np.array_equal(np.asarray(opened(entry).convert("RGB")), np.asarray(of_frame))


def test_no_text_becomes_html(tmp_path: Path) -> None:
    plain, _ = read(save_page(replace(page("triangle"), title="plain"), tmp_path / "plain.html")[0])
    elements, data = read(save_page(page("triangle"), tmp_path / "evil.html")[0])
    assert [tag for tag, *_ in elements.found] == [tag for tag, *_ in plain.found]
    assert elements.texts("title") == [TITLE]
    assert data["lines"][0]["about"][0] == ["prompt", TITLE]


def test_a_browser_may_run_its_script_alone_and_load_nothing(tmp_path: Path) -> None:
    elements, _ = read(save_page(page("grid"), tmp_path / "out.html")[0])
    policy = next(a["content"] for _, a, _ in elements.found if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    script = elements.texts("script")[1]
    (style,) = elements.texts("style")
    for text in (script, style):
        assert base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() in policy
    for tag, attributes, _ in elements.found:
        assert tag not in ("link", "iframe", "img") and not {"src", "href", "onclick", "style"} & attributes.keys()
    for call in ("fetch(", "XMLHttp", "import(", "innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval("):
        assert call not in script, call


def test_a_picture_of_several_lines_is_there_once(tmp_path: Path) -> None:
    given = page("triangle")
    assert given.original is not None
    first = Frame({"noisy": given.original}, "original", 0.0, -1)
    given = replace(given, lines=[replace(of, frames=[first, *of.frames]) for of in given.lines])
    _, data = read(save_page(given, tmp_path / "out.html")[0])
    assert {of["frames"][0]["noisy"] for of in data["lines"]} == {data["original"]}


@pytest.mark.parametrize(
    ("megabytes", "said"),
    [
        (4.0, r""),
        (1.2, r""),  # compressed
        (0.5, r"frames (38[4-9]|39\d|4\d\d) of 512 pixels wide"),
        (0.2, r"\d of 12 frames, (38[4-9]|39\d|4\d\d) of 512 pixels wide"),
        (0.1, r"\d of 12 frames, \d+ of 512 pixels wide"),
    ],
)
def test_it_is_never_larger_than_allowed(megabytes: float, said: str, tmp_path: Path) -> None:
    path, words = save_page(noisy(512, 128), tmp_path / "out.html", megabytes)
    assert path.stat().st_size <= 1e6 * megabytes
    assert path.stat().st_size > 0.35 * 1e6 * min(megabytes, 2.5)  # no less than there is room for
    assert re.fullmatch(said, words), words
    _, data = read(path)
    assert data["said"] == words and data["exact"] == (megabytes == 4.0)
    steps = [frame["step"] for frame in data["lines"][0]["frames"]]
    assert (steps[0], steps[-1]) == (0, 11)
    assert not words.endswith("frames") or len(steps) < 12
    if number := re.match(r"(\d+) of 12", words):
        assert len(steps) == int(number[1])
    for entry in data["pictures"]:
        assert opened(entry).size == tuple(entry["inside"])
        assert (entry["width"], entry["height"]) == (512, 128)


def test_the_source_is_left_out_where_it_would_take_the_room(tmp_path: Path) -> None:
    given = replace(noisy(64, 64), chunks={"sdIm": bytes(400_000)})
    path, words = save_page(given, tmp_path / "out.html", 1.0)
    assert words == "saved pictures without the one that they were made from"
    assert read(path)[1]["chunks"] == {}
    path, words = save_page(given, tmp_path / "out.html", 2.0)
    assert words == "" and read(path)[1]["chunks"].keys() == {"sdIm"}


def test_lines_without_pictures_are_not_shown(tmp_path: Path) -> None:
    of = line(2)
    path, _ = save_page(Page("t", "pictures", [replace(of, frames=[]), of]), tmp_path / "out.html")
    assert len(read(path)[1]["lines"]) == 1


def test_what_can_not_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a page needs at least one picture"):
        save_page(Page("t", "grid", []), tmp_path / "out.html")
    with pytest.raises(ValueError, match=r"must end in \.html or \.htm: name it out\.html"):
        save_page(page("grid"), tmp_path / "out.png")
    with pytest.raises(ValueError, match=r"a page of 12 pictures does not fit into 0\.01 MB"):
        save_page(noisy(512, 128), tmp_path / "out.html", 0.01)
    assert not list(tmp_path.iterdir())


def test_names_that_are_taken_stay(tmp_path: Path) -> None:
    taken = tmp_path / "out.html"
    taken.write_text("somebody's")
    path, _ = save_page(page("grid"), taken, overwrite=False)
    assert (path.name, taken.read_text()) == ("out-1.html", "somebody's")
    assert save_page(page("grid"), taken)[0] == taken and taken.read_text() != "somebody's"


def test_a_level_without_bound_is_no_number_of_json(tmp_path: Path) -> None:
    of = line(2)
    given = Page("t", "pictures", [replace(of, levels=[float("inf"), 1.0, 0.0])])
    assert read(save_page(given, tmp_path / "out.html")[0])[1]["lines"][0]["levels"] == [None, 1.0, 0.0]
