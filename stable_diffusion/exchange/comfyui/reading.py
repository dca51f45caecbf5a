"""From a graph to settings: the sampler that leads to the saved picture, and what is beyond one run of it."""

from collections.abc import Iterator, Mapping
from typing import Any

from ...settings import MOST_BATCH
from ..objects import Words, translated
from ..vocabulary import ParsedParameters
from .families import another_family
from .graph import Graph, Node, Unknown
from .meanings import Net, Pass, Shown, Start, Told
from .nodes import TABLE

_SAVERS = ("SaveImage", "SaveImageAdvanced", "SaveImageWebsocket", "Image Save", "PreviewImage")  # the best first
_SAMPLERS = ("KSampler", "KSamplerAdvanced", "SamplerCustom", "SamplerCustomAdvanced")
_NO_NAMES: Mapping[str, str] = {}


def read(words: Words) -> ParsedParameters | None:
    """What a graph says of the picture that it saves; None for what is no graph.

    Its first sampler is read, which is what one run here can be; all that comes after it, and all that a node does
    that is not known here, is named in not_understood. Raises ValueError, the rest of a sentence, for a graph of
    another family of models, or without a sampler that is known here.
    """
    graph = Graph.of(words, TABLE)
    if graph is None:
        return None
    end, doubt = _end(graph)
    if (other := another_family(graph.upstream(end))) is not None:
        raise ValueError(other)
    passes, remarks = _passes(graph, end)
    if not passes:
        kinds = ", ".join(dict.fromkeys(node.kind[:40] for node in graph.upstream(end)))
        raise ValueError(
            f"it was made by ComfyUI without a sampler that is known here: the picture comes from {kinds:.200}"
        )
    first, *later = passes
    _check_family(first)
    strange = [*doubt, *remarks, *(f"another pass after it: {one}" for one in later), *first.remarks]
    return _parsed(first, strange)


def _check_family(one: Pass) -> None:
    """Raise ValueError for a model of no family that is known: neither what it is nor what it was told is."""
    net, told = one.guiding.model, one.guiding.positive
    prompt = told.prompt if isinstance(told, Told) else told
    if isinstance(net, Net) and net.alone and isinstance(prompt, Unknown):
        file = net.file if isinstance(net.file, str) else "a model"
        raise ValueError(
            f"it was made by ComfyUI with {file!r:.60}, whose family is not known here, nor its prompt ({prompt.why})"
        )


def _end(graph: Graph) -> tuple[Node, list[str]]:
    """The node whose picture is the file's, what saves it or else the last sampler; and what is doubtful about that."""
    nodes = list(graph.nodes.values())
    followed = {link[0].name for node in nodes for value in node.inputs.values() if (link := graph.linked(value))}
    for kinds in (*((kind,) for kind in _SAVERS), _SAMPLERS):
        if found := [node for node in nodes if node.kind in kinds and node.name not in followed]:
            samplers = {node.name: _samplers_of(graph, node) for node in found}
            end = max(found, key=lambda node: len(samplers[node.name]))
            others = [node for node in found if not samplers[node.name] <= samplers[end.name]]
            doubt = [f"which of the {len(others) + 1} pictures of its graph this is"] if others else []
            return end, doubt
    return nodes[-1], []


def _samplers_of(graph: Graph, node: Node) -> set[str]:
    return {one.name for one in graph.upstream(node) if one.kind in _SAMPLERS}


def _passes(graph: Graph, end: Node) -> tuple[list[Pass], list[str]]:
    """The samplers that lead to a picture, the first of them first, and what was done between and after them."""
    output = end.inputs.get("images", end.inputs.get("image")) if end.kind not in _SAMPLERS else [end.name, 0]
    value = graph.value(output if isinstance(output, list) else [end.name, 0])
    passes: list[Pass] = []
    remarks: list[str] = []
    while value is not None:
        if isinstance(value, Shown):
            remarks += value.remarks
            value = value.latent
        elif isinstance(value, Start):
            remarks += value.remarks
            value = value.made_by
        elif isinstance(value, Pass):
            passes.append(value)
            value = value.latent if len(passes) < 100 else None
        else:
            remarks.append(f"{value.why}, so what it was made from is not known" if isinstance(value, Unknown) else "")
            break
    return passes[::-1], [remark for remark in remarks[::-1] if remark]


def _parsed(one: Pass, strange: list[str]) -> ParsedParameters:
    words = dict(_known(one.words, strange))
    prompts = [_prompt(told, side, strange) for told, side in ((one.guiding.positive, "prompt"),
                                                              (one.guiding.negative, "negative prompt"))]  # fmt: skip
    net = one.guiding.model
    loras: tuple[tuple[str, float, float], ...] = ()
    if isinstance(net, Net):
        strange += net.remarks
        loras = net.loras
        if isinstance(net.file, str):
            words["Model"] = net.file
        else:
            strange.append(f"the model ({net.file.why})")
    else:
        strange.append(f"the model ({net.why if isinstance(net, Unknown) else 'it has none'})")
    if (skip := _clip_skip(one.guiding.positive)) is not None:
        words["Clip skip"] = skip
    own = dict(one.settings)
    if isinstance(one.latent, Start):
        own |= _batch(one.latent)
        if one.latent.size is not None:
            words |= dict(zip(("width", "height"), one.latent.size, strict=True))
    else:
        strange.append(f"the size ({one.latent.why})")
    said = translated(words, _NO_NAMES, *prompts, loras=loras)
    said.settings.update(own)
    said.not_understood.extend(dict.fromkeys(remark for remark in strange if remark))
    return said


def _known(words: Mapping[str, Any], strange: list[str]) -> Iterator[tuple[str, Any]]:
    """The values that are known; the others are named."""
    for name, value in words.items():
        if isinstance(value, Unknown):
            strange.append(f"{name} ({value.why})")
        elif isinstance(value, list | dict | type(None)) or not isinstance(value, str | int | float | bool):
            strange.append(f"{name}")
        else:
            yield name, value


def _prompt(told: Any, side: str, strange: list[str]) -> str:
    """A prompt; where it is not known, that is named, and nothing is taken in its place."""
    if told is None:  # a guider without a negative side
        return ""
    if not isinstance(told, Told):
        strange.append(f"the {side} ({told.why if isinstance(told, Unknown) else 'it has none'})")
        return ""
    strange += told.remarks
    if isinstance(told.clip, Net):
        strange += [remark for remark in told.clip.remarks if remark not in strange]
    if isinstance(told.prompt, Unknown):
        strange.append(f"the {side} ({told.prompt.why})")
        return ""
    return told.prompt


def _clip_skip(told: Any) -> int | None:
    return told.clip.clip_skip if isinstance(told, Told) and isinstance(told.clip, Net) else None


def _batch(start: Start) -> dict[str, Any]:
    """Which picture of a batch it is: its noise was drawn with the others'."""
    if not 1 < start.batch <= MOST_BATCH:
        return {}
    return {"noise_source": "torch", "of_batch": f"{start.place or 1}/{start.batch}"}
