"""Texts that lie within another: all that NovelAI hides in the pixels, or a graph in the comment of a film."""

import json
from collections.abc import Mapping

from .a1111 import KEYWORD
from .objects import object_in

HIDDEN = ("stealth_pnginfo", "stealth_pngcomp", "stealth_rgbinfo", "stealth_rgbcomp")  # in the pixels


def unpacked(texts: Mapping[str, str]) -> dict[str, str]:
    """The texts, with those that lie in one of them: a text of the file itself goes before one of its name within.

    NovelAI hides all its texts as one object in the pixels; savers of films put a graph into a comment.
    """
    plain: dict[str, str] = {}
    within: dict[str, str] = {}
    for name, text in texts.items():
        words = object_in(text) if name in HIDDEN or name == KEYWORD or name.lower() == "comment" else None
        inside = {k: v if isinstance(v, str) else json.dumps(v) for k, v in (words or {}).items()}
        if "Comment" in inside or _is_graph(inside.get("prompt", "")):
            within |= inside
        else:
            plain[name] = text
    return within | plain


def _is_graph(text: str) -> bool:
    nodes = object_in(text) or {}
    return any(isinstance(node, dict) and "class_type" in node for node in nodes.values())
