"""The LoRAs that a prompt names."""

import re
from dataclasses import dataclass

from .pieces import finite_number

_LORA = re.compile(r"<(?:lora|lyco):([^<>]{1,300})>")


@dataclass(frozen=True)
class Tag:
    """A LoRA that a prompt names, and how much of it: in the UNet, and in the text encoders."""

    name: str
    unet: float = 1.0
    text: float = 1.0


def lora_tags(prompt: str) -> tuple[str, tuple[Tag, ...]]:
    """A prompt without its <lora:name>, <lora:name:0.8> and <lora:name:of text:of UNet>, and what they say.

    AUTOMATIC1111's; te= and unet= name the amounts there. Raises ValueError, one sentence, for what is no amount.
    """
    return _LORA.sub("", prompt), tuple(_tag(found.group(), found[1]) for found in _LORA.finditer(prompt))


def _tag(written: str, inside: str) -> Tag:
    name, *words = inside.split(":")
    named = dict(word.split("=", 1) for word in words if "=" in word)
    amounts = [word for word in words if "=" not in word]
    if strange := sorted(named.keys() - {"te", "unet"}):
        raise ValueError(f"{written[:80]!r} has {strange[0]}=, which is not known here: te= and unet= are")
    texts = named.get("te", amounts[0] if amounts else "1")
    text, unet = map(finite_number, (texts, named.get("unet", amounts[1] if len(amounts) > 1 else texts)))
    if not name.strip() or text is None or unet is None or len(amounts) > 2:
        raise ValueError(f"{written[:80]!r} is not <lora:name>, <lora:name:0.8> or <lora:name:of text:of UNet>")
    return Tag(name.strip(), unet, text)


def no_tags(prompt: str) -> tuple[str, tuple[Tag, ...]]:
    """The prompt as it is."""
    return prompt, ()


LORA_TAGS = {"plain": no_tags, "a1111": lora_tags, "comfyui": no_tags}
