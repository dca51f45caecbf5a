"""Other tools' pictures: whose a file is, and what its words mean here."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from . import comfyui, drawthings, easydiffusion, fooocus, invokeai, novelai, swarmui
from .a1111 import KEYWORD
from .dialects import read_infotext
from .nested import unpacked
from .objects import Words, object_in
from .vocabulary import ParsedParameters

MOST = 2**22  # letters of a text that is read at all
GRAPH, WORKFLOW = "prompt", "workflow"  # the keywords of ComfyUI's: what was run, and how it looked in the editor


@dataclass(frozen=True)
class ToolsPicture:
    """What another tool's file says."""

    tool: str
    said: ParsedParameters
    read: str = ""  # which of its texts was read, where there are several


def read_tool(texts: Mapping[str, str]) -> ToolsPicture:
    """What the texts of a picture's file say, by their keywords. Raises ValueError, the rest of a sentence."""
    too_long = sorted(name for name, text in texts.items() if len(text) > MOST)
    whole = unpacked({name: text for name, text in texts.items() if name not in too_long})
    objects = {name: words for name, text in whole.items() if (words := object_in(text)) is not None}
    for name in _in_order(objects):
        for tool, reader in _OBJECTS:
            if (found := reader(objects[name])) is not None:
                own = whole.get("Source") if tool == "NovelAI's" else None  # which of its models it was
                return ToolsPicture(tool, replace(found, model=found.model or own))
    if (better := _graph_or_text(whole, objects)) is not None:
        return better
    if (easy := easydiffusion.read(whole)) is not None:
        return ToolsPicture("Easy Diffusion's", easy)
    if (dream := invokeai.read_dream(whole.get("Dream", ""))) is not None:
        return ToolsPicture("InvokeAI's", dream)
    if too_long:
        raise ValueError(f"its text {too_long[0][:40]!r} is too long to be settings")
    known = ", ".join(repr(name[:40]) for name in list(texts)[:5])
    raise ValueError(
        f"its texts ({known}) are not settings that are understood here" if known else "it carries no settings at all"
    )


def _in_order(names: Iterable[str]) -> list[str]:
    """Keywords, those that settings are known to stand behind first."""
    return sorted(names, key=lambda name: (name not in _FIRST, name != KEYWORD))


def _graph_or_text(texts: Mapping[str, str], objects: Mapping[str, Words]) -> ToolsPicture | None:
    """ComfyUI's graph where it is understood wholly; else a text in AUTOMATIC1111's form; else the graph in part.

    Raises ValueError for a graph that no run here could be, where there is no such text.
    """
    graph, refused = None, ""
    try:
        if GRAPH in objects:
            graph = comfyui.read(objects[GRAPH])
        elif WORKFLOW in objects:
            graph = comfyui.read_workflow(objects[WORKFLOW])
    except ValueError as error:
        refused = str(error)
    if graph is not None:  # which of a model's tables its levels are from, a graph says itself
        graph = replace(graph, by_model=tuple(rule for rule in graph.by_model if rule != "align_your_steps"))
    text = _text(texts, objects)
    if graph is not None and (text is None or not graph.not_understood):
        return ToolsPicture("ComfyUI's", graph, "its graph was read, and not its text" if text else "")
    if text is not None and GRAPH in objects:
        why = refused or "is not understood wholly"
        return replace(text, read=f"its text was read, and not its graph, which {why}")
    if refused:
        raise ValueError(refused)
    return text


def _text(texts: Mapping[str, str], objects: Mapping[str, Words]) -> ToolsPicture | None:
    """The first text in AUTOMATIC1111's form. Behind the keyword that it is known by, a prompt alone is one too."""
    beside = {name for name in texts if name != GRAPH or GRAPH in objects}
    for name in _in_order(name for name in texts if name == KEYWORD or name not in objects):
        tool, said = read_infotext(texts[name], beside)
        numbers = len(said.settings) > 2
        # A prompt may begin with a brace; JSON that is damaged, or nobody's we know, is no prompt.
        if numbers or (name == KEYWORD and name not in objects and GRAPH not in objects and texts[name].strip()):
            return ToolsPicture(tool, said)
    return None


_OBJECTS: list[tuple[str, Callable[[Words], ParsedParameters | None]]] = [
    ("SwarmUI's", swarmui.read),
    ("Fooocus's", fooocus.read),
    ("Draw Things'", drawthings.read),
    ("InvokeAI's", invokeai.read),
    ("NovelAI's", novelai.read),
]
_FIRST = (KEYWORD, "invokeai_metadata", "sd-metadata", "Comment")
