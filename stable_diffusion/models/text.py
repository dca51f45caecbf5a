"""A prompt, as the UNet takes it."""

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx

from .clip import CLIPTextModel
from .tokenizer import CLIPTokenizer


@dataclass(frozen=True)
class EncodedPrompt:
    """The outputs of one text encoder, or of XL's two, side by side."""

    context: mx.array  # (1, 77, D)
    pooled: mx.array | None  # (1, D) of the last encoder; XL only

    def zeroed(self) -> "EncodedPrompt":
        """The same shapes, without a word."""
        return EncodedPrompt(mx.zeros_like(self.context), None if self.pooled is None else mx.zeros_like(self.pooled))


@dataclass(frozen=True)
class TextNets:
    """A checkpoint's text encoders, one or XL's two, and the tokenizer of each."""

    encoders: Sequence[CLIPTextModel]
    tokenizers: Sequence[CLIPTokenizer]
    xl: bool

    def encode(self, text: str, clip_skip: int = 0) -> tuple[EncodedPrompt, str]:
        """The encoded text, and the end of it that did not fit into 77 tokens ("" if all did).

        SD 1.x and 2.x take the last layer, normed; XL was trained on the last but one of both its encoders, unnormed.
        clip_skip goes so many layers further back. Raises ValueError where that leaves none.
        """
        back = clip_skip + self.xl
        contexts, pooled, left_out = [], None, ""
        for encoder, tokenizer in zip(self.encoders, self.tokenizers, strict=True):
            layers = encoder.config.num_hidden_layers
            if back >= layers:
                raise ValueError(f"clip_skip is {clip_skip}: this model's text encoder has {layers} layers")
            ids, dropped = tokenizer(text)
            left_out = left_out or dropped
            output = encoder(mx.array([ids]))
            state = output.hidden_states[-1 - back]
            contexts.append(state if self.xl else encoder.final_layer_norm(state))
            pooled = output.pooled if self.xl else None
        return EncodedPrompt(mx.concatenate(contexts, axis=-1), pooled), left_out
