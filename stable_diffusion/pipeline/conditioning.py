"""From prompts to what the UNet is told."""

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import mlx.core as mx

from ..compute.streams import settled
from ..diffusion.guidance import ChangingGuide, Conditioning, Guide
from ..diffusion.samplers import sampler_named
from ..models.text import EncodedPrompt, TextNets
from ..models.unet import guidance_embedding
from ..prompts.editing import NEGATIVE_PROMPTS, PROMPTS, Part
from ..prompts.loras import LORA_TAGS
from ..settings import CompleteSettings
from ..weights.nets import Description


def parts_of(s: CompleteSettings) -> list[Part]:
    """The texts that a run is told at once, each as it changes with the calls of the net.

    They are counted from the first one that is run, and shares are of those that all steps would make, whatever the
    strength: so AUTOMATIC1111 does it. Raises ValueError for too many brackets in one another.
    """
    prompt, _ = LORA_TAGS[s.prompt_syntax](s.prompt)
    return PROMPTS[s.prompt_syntax](prompt, _calls(s))


def _calls(s: CompleteSettings) -> int:
    return s.steps * sampler_named(s.sampler).calls_a_step


Told = list[list[tuple[int, EncodedPrompt]]]  # of each part: texts, and the last call of each


def guides(
    nets: TextNets, description: Description, dtype: mx.Dtype, all_settings: Sequence[CompleteSettings]
) -> list[Guide | ChangingGuide]:
    """What steers each of some runs; texts that several of them share are encoded once.

    Warns of a plain prompt that is too long for one chunk. Raises ValueError for a clip_skip that leaves no layer.
    """
    known: dict[tuple[object, ...], dict[str, EncodedPrompt]] = {}

    def encoded(part: Part, s: CompleteSettings, name: str) -> list[tuple[int, EncodedPrompt]]:
        times = Counter(text for _, text in part.spans)
        how = (s.clip_skip, s.prompt_syntax, s.cut_prompt)
        key = (*times.items(), how)
        if key not in known:
            found, dropped = nets.encode_all(list(times), list(times.values()), *how)
            # Now, and not in the first call of the UNet, so that the two need not be in memory together.
            settled([array for text in found for array in (text.context, text.pooled) if array is not None])
            known[key] = dict(zip(times, found, strict=True))
            if dropped:
                warnings.warn(f"the {name} is too long; left out: {dropped!r}", stacklevel=7)
            elif found[0].chunks > 1 and s.prompt_syntax == "plain":
                chunks = f"{found[0].chunks} chunks of up to 75 tokens"
                warnings.warn(f"the {name} is long, and is told in {chunks}; cut_prompt tells one alone", stacklevel=7)
        return [(last, known[key][text]) for last, text in part.spans]

    made: list[Guide | ChangingGuide] = []
    for s in all_settings:
        # A net that was distilled with guidance is told the scale, and is not to be guided once more.
        cfg = s.cfg if description.unet.time_cond_proj_dim is None else 1.0
        parts = parts_of(s)
        guide = Guide({}, {}, cfg, s.cfg_rescale, tuple(part.weight for part in parts))
        positive: Told = [encoded(part, s, "prompt") for part in parts]
        negative: Told = []
        if guide.steers:
            (part,) = NEGATIVE_PROMPTS[s.prompt_syntax](s.negative_prompt, _calls(s))
            spans = encoded(part, s, "negative prompt")
            if description.zero_empty_negative and not any(text for _, text in part.spans):
                spans = [(last, text.zeroed()) for last, text in spans]
            negative = [spans]
        lasts = sorted({last for spans in (*positive, *negative) for last, _ in spans})
        each = [
            (
                last,
                replace(
                    guide,
                    positive=_conditioning(s, _at(positive, last), description, dtype),
                    negative=_conditioning(s, _at(negative, last), description, dtype) if negative else {},
                ),
            )
            for last in lasts
        ]
        made.append(each[0][1] if len(each) == 1 else ChangingGuide(each))
    return made


def _at(told: Told, call: int) -> list[EncodedPrompt]:
    return [next((text for last, text in spans if call <= last), spans[-1][1]) for spans in told]


def _conditioning(
    s: CompleteSettings, texts: Sequence[EncodedPrompt], description: Description, dtype: mx.Dtype
) -> Conditioning:
    """The arguments of the UNet besides x and t, a row for each text.

    Texts of other lengths than the longest are filled up with their last token's vector, as AUTOMATIC1111 does it.
    """
    most = max(text.context.shape[1] for text in texts)
    conditioning = {"context": _rows([_filled(text.context, most) for text in texts])}
    pooled = [text.pooled for text in texts if text.pooled is not None]
    if pooled:
        size = (s.height, s.width)
        conditioning["text_embeds"] = _rows(pooled)
        # Made at this size, not cut, wanted at this size.
        conditioning["time_ids"] = mx.array([[*size, 0, 0, *size]] * len(texts))
    if (dim := description.unet.time_cond_proj_dim) is not None:
        conditioning["time_cond"] = _rows([guidance_embedding(s.cfg, dim).astype(dtype)] * len(texts))
    return conditioning


def _rows(arrays: Sequence[mx.array]) -> mx.array:
    return arrays[0] if len(arrays) == 1 else mx.concatenate(list(arrays))


def _filled(context: mx.array, length: int) -> mx.array:
    """(1, N, D) -> (1, length, D)."""
    missing = length - context.shape[1]
    if missing == 0:
        return context
    return mx.concatenate([context, mx.broadcast_to(context[:, -1:], (1, missing, context.shape[2]))], axis=1)
