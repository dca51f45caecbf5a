"""Texts within a text."""

import json

import pytest

from stable_diffusion.exchange.nested import unpacked
from stable_diffusion.exchange.tools import read_tool
from tests.test_dialects import GRAPH


def test_a_films_comment_holds_a_graph() -> None:
    for graph in (GRAPH, json.dumps(GRAPH)):
        texts = {"comment": json.dumps({"prompt": graph, "workflow": {"nodes": []}})}
        assert read_tool(texts).tool == "ComfyUI's"


@pytest.mark.parametrize("text", ['{"prompt": "a"}', '{"prompt": {"a": 1}}', "{", "a", '{"Comment": 5}'])
def test_other_comments_stay_what_they_are(text: str) -> None:
    assert unpacked({"comment": text, "x": text})["x"] == text
    if "Comment" not in text:
        assert unpacked({"comment": text}) == {"comment": text}
