"""From prompts to what the UNet is told."""

import warnings
from collections.abc import Sequence
from dataclasses import replace

import mlx.core as mx

from ..diffusion.guidance import Conditioning, Guide
from ..models.text import EncodedPrompt, TextNets
from ..models.unet import guidance_embedding
from ..settings import CompleteSettings
from ..weights.nets import Description


def guides(
    nets: TextNets, description: Description, dtype: mx.Dtype, all_settings: Sequence[CompleteSettings]
) -> list[Guide]:
    """What steers each of some runs; texts that several of them share are encoded once.

    Warns of a plain prompt that is too long for one chunk. Raises ValueError for a clip_skip that leaves no layer.
    """
    known: dict[tuple[object, ...], EncodedPrompt] = {}

    def encoded(text: str, s: CompleteSettings, name: str) -> EncodedPrompt:
        how = (text, s.clip_skip, s.prompt_syntax, s.cut_prompt)
        if how not in known:
            known[how], dropped = nets.encode(*how)
            if dropped:
                warnings.warn(f"the {name} is too long; left out: {dropped!r}", stacklevel=7)
            elif known[how].chunks > 1 and s.prompt_syntax == "plain":
                chunks = f"{known[how].chunks} chunks of up to 75 tokens"
                warnings.warn(f"the {name} is long, and is told in {chunks}; cut_prompt tells one alone", stacklevel=7)
        return known[how]

    found = []
    for s in all_settings:
        # A net that was distilled with guidance is told the scale, and is not to be guided once more.
        cfg = s.cfg if description.unet.time_cond_proj_dim is None else 1.0
        positive = _conditioning(s, encoded(s.prompt, s, "prompt"), description, dtype)
        guide = Guide(positive, {}, cfg, s.cfg_rescale)
        if guide.steers:
            text = encoded(s.negative_prompt, s, "negative prompt")
            if not s.negative_prompt and description.zero_empty_negative:
                text = text.zeroed()
            guide = replace(guide, negative=_conditioning(s, text, description, dtype))
        found.append(guide)
    return found


def _conditioning(s: CompleteSettings, text: EncodedPrompt, description: Description, dtype: mx.Dtype) -> Conditioning:
    """The arguments of the UNet besides x and t."""
    conditioning = {"context": text.context}
    if text.pooled is not None:
        size = (s.height, s.width)
        conditioning["text_embeds"] = text.pooled
        conditioning["time_ids"] = mx.array([[*size, 0, 0, *size]])  # made at this size, not cut, wanted at this size
    if (dim := description.unet.time_cond_proj_dim) is not None:
        conditioning["time_cond"] = guidance_embedding(s.cfg, dim).astype(dtype)
    return conditioning
