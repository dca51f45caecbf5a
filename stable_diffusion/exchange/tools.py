"""Other tools' pictures: whose a file is, and what its words mean here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from . import comfyui, drawthings, fooocus, invokeai, novelai, swarmui
from .a1111 import KEYWORD, read_parameters
from .objects import Words, object_in
from .vocabulary import ParsedParameters

MOST = 2**22  # letters of a text that is read at all


@dataclass(frozen=True)
class ToolsPicture:
    """What another tool's file says."""

    tool: str
    said: ParsedParameters


def read_tool(texts: Mapping[str, str]) -> ToolsPicture:
    """What the texts of a picture's file say, by their keywords. Raises ValueError, the rest of a sentence."""
    too_long = sorted(name for name, text in texts.items() if len(text) > MOST and name in _CHUNKS)
    if too_long:
        raise ValueError(f"its text {too_long[0]!r} is too long to be settings")
    for name, readers in _CHUNKS.items():
        if name not in texts:
            continue
        words = object_in(texts[name])
        for tool, reader in readers:
            found = reader(words) if words is not None else None
            if found is not None:
                return ToolsPicture(tool, found)
        if name == KEYWORD:
            said = read_parameters(texts[name])
            # A prompt may begin with a brace; JSON that is damaged, or nobody's we know, is no prompt.
            if words is None or len(said.settings) > 2:
                return ToolsPicture("AUTOMATIC1111's", said)
    known = ", ".join(repr(name[:40]) for name in list(texts)[:5])
    raise ValueError(
        f"its texts ({known}) are not settings that are understood here" if known else "it carries no settings at all"
    )


_CHUNKS: dict[str, list[tuple[str, Callable[[Words], ParsedParameters | None]]]] = {
    KEYWORD: [
        ("SwarmUI's", swarmui.read), ("Fooocus's", fooocus.read), ("Draw Things'", drawthings.read),
        ("InvokeAI's", invokeai.read),
    ],
    "invokeai_metadata": [("InvokeAI's", invokeai.read)],
    "sd-metadata": [("InvokeAI's", invokeai.read)],
    "Comment": [("NovelAI's", novelai.read)],
    "prompt": [("ComfyUI's", comfyui.read)],
}  # fmt: skip
