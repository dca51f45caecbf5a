"""Other tools' pictures: whose a file is, and what its words mean here."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..settings import MOST_BATCH
from .parameters import ParsedParameters, read_pairs, read_parameters
from .recipe import TEXT

MOST = 2**22  # letters of a text that is read at all

Words = Mapping[str, Any]  # what a JSON object holds


@dataclass(frozen=True)
class ToolsPicture:
    """What another tool's file says."""

    tool: str
    said: ParsedParameters


# Their names for what AUTOMATIC1111 calls otherwise; what is in no such table is named as not understood.
_SWARM = {
    "seed": "Seed", "steps": "Steps", "cfgscale": "CFG scale", "sampler": "Sampler", "scheduler": "Schedule type",
    "model": "Model", "initimagecreativity": "Denoising strength",
}  # fmt: skip
_FOOOCUS = {
    "seed": "Seed", "steps": "Steps", "guidance_scale": "CFG scale", "sampler": "Sampler", "scheduler": "Schedule type",
    "base_model": "Model", "clip_skip": "Clip skip",
}  # fmt: skip
_INVOKE = {
    "seed": "Seed", "steps": "Steps", "cfg_scale": "CFG scale", "scheduler": "Sampler", "sampler": "Sampler",
    "model": "Model", "strength": "Denoising strength", "cfg_rescale_multiplier": "CFG rescale", "rand_device": "RNG",
}  # fmt: skip
_NOVELAI = {
    "seed": "Seed", "steps": "Steps", "scale": "CFG scale", "sampler": "Sampler", "noise_schedule": "Schedule type",
    "strength": "Denoising strength",
}  # fmt: skip
_DRAW_THINGS = {
    "seed": "Seed", "steps": "Steps", "scale": "CFG scale", "sampler": "Sampler", "model": "Model",
    "strength": "Denoising strength", "size": "Size",
}  # fmt: skip
_COMFY = {
    "seed": "Seed", "noise_seed": "Seed", "steps": "Steps", "cfg": "CFG scale", "sampler_name": "Sampler",
    "scheduler": "Schedule type", "denoise": "Denoising strength",
}  # fmt: skip
_QUIET = {"width", "height", "prompt", "negative_prompt"}  # read apart


def read_tool(texts: Mapping[str, str]) -> ToolsPicture:
    """What the texts of a picture's file say, by their keywords. Raises ValueError, the rest of a sentence."""
    too_long = sorted(name for name, text in texts.items() if len(text) > MOST and name in _CHUNKS)
    if too_long:
        raise ValueError(f"its text {too_long[0]!r} is too long to be settings")
    for name, readers in _CHUNKS.items():
        if name not in texts:
            continue
        words = _object(texts[name])
        for tool, reader in readers:
            found = reader(words) if words is not None else None
            if found is not None:
                return ToolsPicture(tool, found)
        if name == TEXT:
            said = read_parameters(texts[name])
            # A prompt may begin with a brace; JSON that is damaged, or nobody's we know, is no prompt.
            if words is None or len(said.settings) > 2:
                return ToolsPicture("AUTOMATIC1111's", said)
    known = ", ".join(repr(name[:40]) for name in list(texts)[:5])
    raise ValueError(
        f"its texts ({known}) are not settings that are understood here" if known else "it carries no settings at all"
    )


def _object(text: str) -> Words | None:
    """A text as the JSON object that it is, or None."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        words = json.loads(text, parse_constant=str)  # some tools write NaN
    except (ValueError, RecursionError):
        return {}  # it begins like one
    return words if isinstance(words, dict) else None


def _text(words: Words, *names: str) -> str:
    """The first of these that is there, and a text."""
    return next((words[name] for name in names if isinstance(words.get(name), str)), "")


def _said(words: Words, names: Mapping[str, str], prompt: str, negative: str) -> ParsedParameters:
    """An object's settings, by a table of its names."""
    pairs: dict[str, str] = {}
    for name, value in words.items():
        if name in _QUIET or value is None or isinstance(value, dict | list) or value in ("", False):
            continue
        pairs[names.get(name, name)] = str(value).removesuffix(".0") if name == "seed" else str(value)
    if all(isinstance(words.get(side), int) for side in ("width", "height")):
        pairs["Size"] = f"{words['width']}x{words['height']}"
    if "Sampler" in pairs:
        pairs["Sampler"], brought = _sampler(pairs["Sampler"])
        if brought:
            pairs.setdefault("Schedule type", brought)
    return read_pairs(prompt.strip(), negative.strip(), pairs)


def _sampler(name: str) -> tuple[str, str | None]:
    """InvokeAI and others write a spacing behind the name: dpmpp_2m_k."""
    plain = name.removesuffix("_gpu")
    return (plain[:-2], "karras") if plain.endswith("_k") else (plain, None)


def _swarm(words: Words) -> ParsedParameters | None:
    inside = words.get("sui_image_params")
    if not isinstance(inside, dict):
        return None
    rest = {name: value for name, value in inside.items() if name not in ("negativeprompt", "swarm_version")}
    return _said(rest, _SWARM, _text(inside, "prompt"), _text(inside, "negativeprompt"))


def _fooocus(words: Words) -> ParsedParameters | None:
    if "guidance_scale" not in words or not isinstance(words.get("prompt"), str):
        return None
    rest = {name: value for name, value in words.items() if name not in ("resolution", "version")}
    sides = _text(words, "resolution").strip("()").split(",")
    if len(sides) == 2 and all(side.strip().isdigit() for side in sides):
        rest |= {"width": int(sides[0]), "height": int(sides[1])}
    return _said(rest, _FOOOCUS, words["prompt"], _text(words, "negative_prompt"))


def _invoke(words: Words) -> ParsedParameters | None:
    if isinstance(words.get("image"), dict):  # before version 3
        inside = words["image"]
        prompt = inside.get("prompt")
        if isinstance(prompt, list) and prompt and isinstance(prompt[0], dict):
            prompt = prompt[0].get("prompt")
        return _said(inside, _INVOKE, prompt if isinstance(prompt, str) else "", "")
    if "positive_prompt" not in words:
        return None
    model = words.get("model")
    name = _text(model, "name", "model_name") if isinstance(model, dict) else model
    rest = {k: v for k, v in words.items() if k not in ("positive_prompt", "app_version", "generation_mode")}
    return _said({**rest, "model": name}, _INVOKE, _text(words, "positive_prompt"), _text(words, "negative_prompt"))


def _novelai(words: Words) -> ParsedParameters | None:
    if "uc" not in words or "scale" not in words or "c" in words:
        return None
    return _said({k: v for k, v in words.items() if k != "uc"}, _NOVELAI, _text(words, "prompt"), _text(words, "uc"))


def _draw_things(words: Words) -> ParsedParameters | None:
    if "c" not in words or "steps" not in words:
        return None
    rest = {name: value for name, value in words.items() if name not in ("c", "uc")}
    return _said(rest, _DRAW_THINGS, _text(words, "c"), _text(words, "uc"))


def _comfy(graph: Words) -> ParsedParameters | None:
    """A graph of nodes with one sampler. Raises ValueError for graphs that no single run here could be."""
    nodes = {str(name): node for name, node in graph.items() if isinstance(node, dict) and "class_type" in node}
    if not nodes:
        return None
    samplers = [n for n in nodes.values() if n["class_type"] in ("KSampler", "KSamplerAdvanced")]
    if len(samplers) != 1 or not isinstance(samplers[0].get("inputs"), dict):
        raise ValueError(
            f"it was made by ComfyUI with {len(samplers)} plain samplers in its graph, and one can be read"
        )
    inputs = samplers[0]["inputs"]

    def upstream(link: Any) -> Iterator[Words]:
        """The inputs of the nodes that lead into an input, the nearest first."""
        waiting: list[Any] = [link]
        seen: set[str] = set()
        while waiting and len(seen) < 1000:
            here = waiting.pop(0)
            name = str(here[0]) if isinstance(here, list) and here else None
            if name in nodes and name not in seen and isinstance(nodes[name].get("inputs"), dict):
                seen.add(name)
                yield nodes[name]["inputs"]
                waiting += nodes[name]["inputs"].values()

    def nearest(link: Any, *names: str) -> Any:
        return next((node[n] for node in upstream(link) for n in names if isinstance(node.get(n), str | int)), None)

    prompts = [nearest(inputs.get(side), "text", "text_g") for side in ("positive", "negative")]
    words = {name: value for name, value in inputs.items() if name in _COMFY}
    words |= {side: nearest(inputs.get("latent_image"), side) for side in ("width", "height")}
    words["Model"] = nearest(inputs.get("model"), "ckpt_name", "unet_name")
    if words.get("denoise") == 1:
        del words["denoise"]
    found = _said(words, _COMFY, *(str(prompt or "") for prompt in prompts))
    batch = nearest(inputs.get("latent_image"), "batch_size")
    if isinstance(batch, int) and 1 < batch <= MOST_BATCH:
        found.settings.update(noise_source="torch", of_batch=f"1/{batch}")  # which of them, it does not say
    others = sorted({n["class_type"] for n in nodes.values()} - _COMFY_NODES)
    found.not_understood.extend(f"the node {str(kind)[:60]}" for kind in others[:8])
    return found


_COMFY_NODES = {
    "KSampler", "KSamplerAdvanced", "CLIPTextEncode", "EmptyLatentImage", "CheckpointLoaderSimple", "VAEDecode",
    "VAEEncode", "SaveImage", "PreviewImage", "LoadImage",
}  # fmt: skip

_CHUNKS: dict[str, list[tuple[str, Callable[[Words], ParsedParameters | None]]]] = {
    TEXT: [("SwarmUI's", _swarm), ("Fooocus's", _fooocus), ("Draw Things'", _draw_things), ("InvokeAI's", _invoke)],
    "invokeai_metadata": [("InvokeAI's", _invoke)],
    "sd-metadata": [("InvokeAI's", _invoke)],
    "Comment": [("NovelAI's", _novelai)],
    "prompt": [("ComfyUI's", _comfy)],
}
