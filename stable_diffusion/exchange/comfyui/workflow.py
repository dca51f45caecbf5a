"""The form in which ComfyUI's editor keeps a graph, with links apart from nodes and values by their places."""

from collections.abc import Iterator, Mapping
from typing import Any

from ..objects import Words
from ..vocabulary import ParsedParameters
from .reading import read

DEEPEST = 8  # graphs within one another
MOST_NODES = 5000
_NO_NODES = ("Reroute", "PrimitiveNode", "Note", "MarkdownNote")  # what the editor alone knows
MUTED, BYPASSED = 2, 4  # of a node's mode
_AFTER = "control_after_generate"  # a value that stands behind a seed, and is no input
# The values of nodes whose editor does not name them, in the order in which they stand.
WIDGETS: Mapping[str, tuple[str, ...]] = {
    "KSampler": ("seed", _AFTER, "steps", "cfg", "sampler_name", "scheduler", "denoise"),
    "KSamplerAdvanced": (
        "add_noise", "noise_seed", _AFTER, "steps", "cfg", "sampler_name", "scheduler", "start_at_step",
        "end_at_step", "return_with_leftover_noise",
    ),
    "SamplerCustom": ("add_noise", "noise_seed", _AFTER, "cfg"),
    "RandomNoise": ("noise_seed", _AFTER),
    "KSamplerSelect": ("sampler_name",),
    "BasicScheduler": ("scheduler", "steps", "denoise"),
    "KarrasScheduler": ("steps", "sigma_max", "sigma_min", "rho"),
    "ExponentialScheduler": ("steps", "sigma_max", "sigma_min"),
    "PolyexponentialScheduler": ("steps", "sigma_max", "sigma_min", "rho"),
    "SDTurboScheduler": ("steps", "denoise"),
    "AlignYourStepsScheduler": ("model_type", "steps", "denoise"),
    "SplitSigmas": ("step",),
    "ManualSigmas": ("sigmas",),
    "CFGGuider": ("cfg",),
    "CheckpointLoaderSimple": ("ckpt_name",),
    "UNETLoader": ("unet_name", "weight_dtype"),
    "VAELoader": ("vae_name",),
    "CLIPLoader": ("clip_name", "type", "device"),
    "DualCLIPLoader": ("clip_name1", "clip_name2", "type", "device"),
    "LoraLoader": ("lora_name", "strength_model", "strength_clip"),
    "LoraLoaderModelOnly": ("lora_name", "strength_model"),
    "CLIPSetLastLayer": ("stop_at_clip_layer",),
    "ModelSamplingDiscrete": ("sampling", "zsnr"),
    "CLIPTextEncode": ("text",),
    "CLIPTextEncodeSDXL": (
        "width", "height", "crop_w", "crop_h", "target_width", "target_height", "text_g", "text_l",
    ),
    "CLIPTextEncodeSDXLRefiner": ("ascore", "width", "height", "text"),
    "EmptyLatentImage": ("width", "height", "batch_size"),
    "LatentUpscale": ("upscale_method", "width", "height", "crop"),
    "LatentUpscaleBy": ("upscale_method", "scale_by"),
    "RepeatLatentBatch": ("amount",),
    "LatentFromBatch": ("batch_index", "length"),
    "ImageScale": ("upscale_method", "width", "height", "crop"),
    "PrimitiveInt": ("value", _AFTER),
    "PrimitiveFloat": ("value",),
    "PrimitiveString": ("value",),
    "PrimitiveStringMultiline": ("value",),
    "PrimitiveBoolean": ("value",),
    "StringConcatenate": ("string_a", "string_b", "delimiter"),
    "ComfySwitchNode": ("switch",),
    "LoadImage": ("image", "upload"),
}  # fmt: skip


def read_workflow(words: Words) -> ParsedParameters | None:
    """What an editor's graph says of its picture; None for what is none.

    Raises what `read` raises, and ValueError for one that is too large.
    """
    if not isinstance(words.get("nodes"), list) or not isinstance(words.get("links"), list):
        return None
    graph = prompt_of(words)
    if not graph:
        raise ValueError("it carries an empty workflow of ComfyUI's, without the graph that was run")
    try:
        said = read(graph)
    except ValueError as error:
        raise ValueError(f"{error} (the graph that was run is missing, so the editor's workflow was read)") from None
    if said is not None:
        said.not_understood.append("the graph that was run is missing, so the editor's workflow was read")
    return said


def prompt_of(words: Words) -> dict[str, dict[str, Any]]:
    """The graph that the editor would run: nodes by name, with class_type and inputs."""
    groups = words.get("definitions")
    listed = groups.get("subgraphs") if isinstance(groups, dict) else None
    subgraphs = {
        str(one.get("id")): one for one in (listed if isinstance(listed, list) else []) if isinstance(one, dict)
    }
    flat = _Flat(subgraphs)
    flat.add(words, "", {}, 0)
    return flat.made


class _Flat:
    """Nodes of a graph and of those within it, side by side."""

    def __init__(self, subgraphs: Mapping[str, Words]) -> None:
        self._subgraphs = subgraphs
        self.made: dict[str, dict[str, Any]] = {}

    def add(self, graph: Words, prefix: str, outer: Mapping[int, Any], depth: int) -> dict[int, Any]:
        """Add a graph's nodes under names that begin so; outer: what its own inputs are, by their places.

        Returns what its outputs are, by their places.
        """
        nodes = {node["id"]: node for node in _dicts(graph.get("nodes")) if isinstance(node.get("id"), str | int)}
        if len(self.made) + len(nodes) > MOST_NODES or depth > DEEPEST:
            raise ValueError("its workflow has more nodes than are read")
        links = dict(_links(graph.get("links")))
        ends: dict[str | int, dict[int, Any]] = {}  # of graphs within this one: what their outputs are

        def source(link: Any, seen: int = 0) -> Any:
            """What a link brings: [node, output], a constant, or None for nothing."""
            if link not in links or seen > MOST_NODES:
                return None
            origin, slot = links[link][:2]
            if origin == -10:
                return outer.get(slot)
            node = nodes.get(origin)
            if node is None or node.get("mode") == MUTED:
                return None
            if str(node.get("type")) in self._subgraphs and node.get("mode") != BYPASSED:
                if origin not in ends:
                    ends[origin] = {}  # while it is being added
                    inside = {k: taken(node, entry) for k, entry in enumerate(_dicts(node.get("inputs")))}
                    ends[origin] = self.add(self._subgraphs[str(node["type"])], f"{prefix}{origin}:", inside, depth + 1)
                return ends[origin].get(slot)
            if node.get("mode") == BYPASSED:
                return source(_alike(node, slot), seen + 1)
            if node.get("type") == "Reroute":
                return source(next((entry.get("link") for entry in _dicts(node.get("inputs"))), None), seen + 1)
            if node.get("type") == "PrimitiveNode":
                values = node.get("widgets_values")
                return values[0] if isinstance(values, list) and values else None
            return [f"{prefix}{origin}", slot]

        def taken(node: Words, entry: Words) -> Any:
            if entry.get("link") is not None:
                return source(entry["link"])
            return _values(node).get(str(entry.get("name"))) if isinstance(entry.get("widget"), dict) else None

        for name, node in nodes.items():
            if node.get("mode") in (MUTED, BYPASSED) or node.get("type") in _NO_NODES:
                continue
            if str(node.get("type")) in self._subgraphs:
                continue
            inputs = _values(node)
            for entry in _dicts(node.get("inputs")):
                if entry.get("link") is not None and (value := source(entry["link"])) is not None:
                    inputs[str(entry.get("name"))] = value
            self.made[f"{prefix}{name}"] = {"class_type": node.get("type"), "inputs": inputs}
        return {link[3]: source(number) for number, link in links.items() if link[2] == -20}


def _dicts(values: Any) -> list[dict[str, Any]]:
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []


def _links(links: Any) -> Iterator[tuple[Any, tuple[Any, Any, Any, Any]]]:
    """Links by their numbers: from which node and output, to which node and input."""
    names = ("origin_id", "origin_slot", "target_id", "target_slot")
    for link in links if isinstance(links, list) else []:
        if isinstance(link, list) and len(link) >= 5 and all(isinstance(v, str | int) for v in link[:5]):
            yield link[0], (link[1], link[2], link[3], link[4])
        elif isinstance(link, dict) and all(isinstance(link.get(v), str | int) for v in ("id", *names)):
            yield link["id"], (link[names[0]], link[names[1]], link[names[2]], link[names[3]])


def _values(node: Words) -> dict[str, Any]:
    """A node's constants by their names, as far as the order in which they stand is known."""
    values = node.get("widgets_values")
    if isinstance(values, dict):
        return dict(values)
    if not isinstance(values, list):
        return {}
    names = WIDGETS.get(str(node.get("type")))
    if names is None:
        named = [
            str(entry.get("name")) for entry in _dicts(node.get("inputs")) if isinstance(entry.get("widget"), dict)
        ]
        names = tuple(name for one in named for name in ((one, _AFTER) if one.endswith("seed") else (one,)))
        if len(names) != len(values):
            return {}
    return {name: value for name, value in zip(names, values, strict=False) if name != _AFTER}


def _alike(node: Words, slot: int) -> Any:
    """The link of the first input of a bypassed node that is of the kind of one of its outputs."""
    outputs = _dicts(node.get("outputs"))
    kind = outputs[slot].get("type") if isinstance(slot, int) and 0 <= slot < len(outputs) else None
    return next((entry.get("link") for entry in _dicts(node.get("inputs")) if entry.get("type") == kind), None)
