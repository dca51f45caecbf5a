"""ComfyUI's graph of nodes: `prompt`."""

from collections.abc import Iterator
from typing import Any

from ..settings import MOST_BATCH
from .objects import Words, translated
from .vocabulary import ParsedParameters

_NAMES = {
    "seed": "Seed", "noise_seed": "Seed", "steps": "Steps", "cfg": "CFG scale", "sampler_name": "Sampler",
    "scheduler": "Schedule type", "denoise": "Denoising strength",
}  # fmt: skip


def read(graph: Words) -> ParsedParameters | None:
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
    words = {name: value for name, value in inputs.items() if name in _NAMES}
    words |= {side: nearest(inputs.get("latent_image"), side) for side in ("width", "height")}
    words["Model"] = nearest(inputs.get("model"), "ckpt_name", "unet_name")
    if words.get("denoise") == 1:
        del words["denoise"]
    found = translated(words, _NAMES, *(str(prompt or "") for prompt in prompts))
    batch = nearest(inputs.get("latent_image"), "batch_size")
    if isinstance(batch, int) and 1 < batch <= MOST_BATCH:
        found.settings.update(noise_source="torch", of_batch=f"1/{batch}")  # which of them, it does not say
    others = sorted({n["class_type"] for n in nodes.values()} - _NODES)
    found.not_understood.extend(f"the node {str(kind)[:60]}" for kind in others[:8])
    return found


_NODES = {
    "KSampler", "KSamplerAdvanced", "CLIPTextEncode", "EmptyLatentImage", "CheckpointLoaderSimple", "VAEDecode",
    "VAEEncode", "SaveImage", "PreviewImage", "LoadImage",
}  # fmt: skip
