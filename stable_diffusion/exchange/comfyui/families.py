"""Models that ComfyUI runs and that are no Stable Diffusion 1.x, 2.x or XL: known by their nodes and files."""

import re
from collections.abc import Iterable

from .graph import Node

# The words in the names of nodes and files, and what they are of; the first that is found is named.
_WORDS = {
    "flux2": "Flux 2", "flux.2": "Flux 2", "flux": "Flux", "sd3": "Stable Diffusion 3", "wan": "Wan",
    "qwen": "Qwen", "hunyuan": "Hunyuan", "ltx": "LTX", "hidream": "HiDream", "lumina": "Lumina",
    "aura": "AuraFlow", "cosmos": "Cosmos", "chroma": "Chroma", "mochi": "Mochi", "omnigen": "OmniGen",
    "z_image": "Z-Image", "zimage": "Z-Image", "z-image": "Z-Image", "stable_cascade": "Stable Cascade",
    "stablecascade": "Stable Cascade", "cascade": "Stable Cascade", "svd": "Stable Video Diffusion",
    "pixart": "PixArt", "kolors": "Kolors", "kandinsky": "Kandinsky", "ideogram": "Ideogram", "ernie": "Ernie",
    "ace_step": "ACE-Step", "acestep": "ACE-Step", "acesteps": "ACE-Step", "stable_audio": "Stable Audio",
    "longcat": "LongCat", "newbie": "NewBie", "anima_": "Anima", "ovis": "Ovis", "krea": "Krea", "humo": "HuMo",
    "stable_zero123": "Stable Zero123", "seedvr": "SeedVR",
}  # fmt: skip
_LOADERS = ("ckpt_name", "unet_name", "model_name", "clip_name", "clip_name1", "clip_name2", "vae_name", "type")
# What makes no picture of a diffusion model here at all.
_KINDS = {
    r"(Save|Create|Load)Video|SaveWEBM|SaveAnimated|VideoLinearCFGGuidance|VHS_": "a video",
    r"Audio|Speech|Voice": "sound",
    r"GLB|Mesh|Preview3D|Load3D|Save3D|Voxel|Splat|Gaussian|Rig": "a thing in three dimensions",
}
_SERVICES = re.compile(
    r"^(Gemini|OpenAI|Kling|Recraft|Tripo|ByteDance|Grok|Veo|Luma|Minimax|MiniMax|Moonvalley|Pika|Pixverse|PixVerse|"
    r"Rodin|Runway|Stability|StableImage|Vidu|Wan\d?.*Api|Topaz|Meshy|Magnific|Bria|BFL|Flux\w*Pro\w*|FluxProUltra|"
    r"ElevenLabs|Claude|Ideogram|Hailuo|Sora|HitPaw|Reve|Wavespeed|Freepik|Quiver|Hunyuan3D.*Api|Tencent|Sync|Heygen|"
    r"HappyHorse|Fal|Beeble)"
)


def another_family(nodes: Iterable[Node]) -> str | None:
    """What made a picture that these nodes lead to, where it is none of the families here, the rest of a sentence."""
    video = None
    for node in nodes:
        for name in _LOADERS:
            if isinstance(file := node.inputs.get(name), str) and (family := _family(file)) is not None:
                return f"it was made by ComfyUI with {family} ({file!r:.60}), which is another family of models"
        speaks = node.kind.endswith(("Loader", "LoaderGGUF", "Scheduler", "Guider")) or "Latent" in node.kind
        if speaks and (family := _family(node.kind)) is not None:
            return f"it was made by ComfyUI with {family} (the node {node.kind:.60}), which is another family"
        if _SERVICES.match(node.kind):
            return f"a service made it for ComfyUI (the node {node.kind:.60}), and not a model that can run here"
        video = video or next((what for kind, what in _KINDS.items() if re.search(kind, node.kind)), None)
    return f"its graph makes {video}, and no picture" if video else None


def _family(name: str) -> str | None:
    low = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    words = set(re.split(r"[^a-z0-9]+", low))
    found = (word for word in _WORDS if word in low and (len(word) > 4 or _stands(word, words)))
    return next((_WORDS[word] for word in found), None)


def _stands(word: str, words: set[str]) -> bool:
    """Is a short word one of these, or the beginning of one that goes on with a number?"""
    return any(re.fullmatch(rf"{word}\d*[a-z]?", one) for one in words)
