"""A prompt, as the UNet takes it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import mlx.core as mx

from ..prompts.chunks import Chunk
from ..prompts.syntaxes import chunks_of
from ..prompts.tokenizer import CLIPTokenizer
from .clip import CLIPTextModel


@dataclass(frozen=True)
class EncodedPrompt:
    """The outputs of one text encoder, or of XL's two, side by side."""

    context: mx.array  # (1, 77 for each chunk, D)
    pooled: mx.array | None  # (1, D) of the last encoder's first chunk; XL only

    @property
    def chunks(self) -> int:
        return self.context.shape[1] // 77

    def zeroed(self) -> "EncodedPrompt":
        """The same shapes, without a word."""
        return EncodedPrompt(mx.zeros_like(self.context), None if self.pooled is None else mx.zeros_like(self.pooled))


Weigh = Callable[[mx.array, mx.array, Callable[[], mx.array], Sequence[int]], mx.array]


def by_the_mean(z: mx.array, w: mx.array, empty: Callable[[], mx.array], times: Sequence[int]) -> mx.array:
    """States (N, K, 77, D) times weights (N, K, 77), each chunk brought back to the mean that it had (AUTOMATIC1111).

    It is the mean over all N texts that follow each other in a run, each of them counted so many times.
    """
    shares = mx.array([count / sum(times) for count in times]).reshape(-1, 1, 1, 1)

    def mean(states: mx.array) -> mx.array:
        return (shares * states.mean(axis=(2, 3), keepdims=True)).sum(axis=0, keepdims=True)

    weighted = z * w[..., None]
    return weighted * (mean(z) / mean(weighted))


def from_empty(z: mx.array, w: mx.array, empty: Callable[[], mx.array], times: Sequence[int]) -> mx.array:
    """States (N, K, 77, D) moved away from those of no words, z0 + w (z - z0), at each place (ComfyUI).

    empty: gives z0, (1, 77, D).
    """
    z0 = empty()
    return z0 + w[..., None] * (z - z0)


WEIGH: dict[str, Weigh] = {"plain": by_the_mean, "a1111": by_the_mean, "comfyui": from_empty}


def _framed(chunks: Sequence[Chunk], tokenizer: CLIPTokenizer) -> tuple[mx.array, mx.array | None]:
    """The ids (K, 77) of chunks between begin and end, padded, and their weights, None where all are 1."""
    ids, weights = [], []
    for chunk in chunks:
        padding = tokenizer.length - 2 - len(chunk)
        ids.append([tokenizer.bos, *(i for i, _ in chunk), tokenizer.eos, *[tokenizer.pad] * padding])
        weights.append([1.0, *(w for _, w in chunk), 1.0, *[1.0] * padding])
    heavy = any(w != 1 for row in weights for w in row)
    return mx.array(ids), mx.array(weights) if heavy else None


@dataclass(frozen=True)
class TextNets:
    """A checkpoint's text encoders, one or XL's two, and the tokenizer of each."""

    encoders: Sequence[CLIPTextModel]
    tokenizers: Sequence[CLIPTokenizer]
    xl: bool

    def encode(
        self, text: str, clip_skip: int = 0, syntax: str = "plain", cut: bool = False
    ) -> tuple[EncodedPrompt, str]:
        """The encoded text, and, with cut, the end of it that did not fit into 77 tokens ("" if all did)."""
        (encoded,), left_out = self.encode_all([text], [1], clip_skip, syntax, cut)
        return encoded, left_out

    def encode_all(
        self, texts: Sequence[str], times: Sequence[int], clip_skip: int = 0, syntax: str = "plain", cut: bool = False
    ) -> tuple[list[EncodedPrompt], str]:
        """Texts that follow each other in a run, of the same length, and what of the first one was cut off.

        times: how often each of them is told in its run. One that is longer than 77 tokens becomes chunks of 77, each
        encoded by itself, side by side along the tokens; shorter ones get empty chunks. SD 1.x and 2.x take the last
        layer, normed; XL was trained on the last but one of both its encoders, unnormed. clip_skip goes so many layers
        further back. Raises ValueError where that leaves none.
        """
        back = clip_skip + self.xl
        left_out = ""
        told = []
        for tokenizer in self.tokenizers:
            if cut:
                left_out = left_out or tokenizer(texts[0])[1]
                room = tokenizer.length - 2
                told.append([[[(i, 1.0) for i in tokenizer.tokenize(text, False, False)[:room]]] for text in texts])
            else:
                told.append([chunks_of(text, tokenizer, syntax) for text in texts])
        count = max(len(chunks) for all_chunks in told for chunks in all_chunks)
        contexts, pooled = [], None
        for encoder, tokenizer, all_chunks in zip(self.encoders, self.tokenizers, told, strict=True):
            layers = encoder.config.num_hidden_layers
            if back >= layers:
                raise ValueError(f"clip_skip is {clip_skip}: this model's text encoder has {layers} layers")
            filled = [chunk for chunks in all_chunks for chunk in (*chunks, *[[]] * (count - len(chunks)))]
            ids, weights = _framed(filled, tokenizer)
            state, pooled_here = self._states(encoder, ids, back)
            state = state.reshape(len(texts), count, *state.shape[1:])
            if weights is not None:
                empty = partial(self._empty, encoder, tokenizer, back)
                weights = weights.reshape(len(texts), count, -1)
                state = WEIGH[syntax](state.astype(mx.float32), weights, empty, times).astype(state.dtype)
            contexts.append(state.reshape(len(texts), -1, state.shape[-1]))
            pooled = pooled_here.reshape(len(texts), count, -1)[:, 0] if self.xl else None
        context = mx.concatenate(contexts, axis=-1)
        return [
            EncodedPrompt(context[i : i + 1], None if pooled is None else pooled[i : i + 1]) for i in range(len(texts))
        ], left_out

    def _states(self, encoder: CLIPTextModel, ids: mx.array, back: int) -> tuple[mx.array, mx.array]:
        """ids (K, 77) -> the states that the UNet takes (K, 77, D), and what is pooled (K, D)."""
        output = encoder(ids)
        state = output.hidden_states[-1 - back]
        return state if self.xl else encoder.final_layer_norm(state), output.pooled

    def _empty(self, encoder: CLIPTextModel, tokenizer: CLIPTokenizer, back: int) -> mx.array:
        state, _ = self._states(encoder, _framed([[]], tokenizer)[0], back)
        return state.astype(mx.float32)
