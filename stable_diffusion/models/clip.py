"""CLIP's text encoder (Radford et al. 2021, section 2.4), with the outputs that Stable Diffusion takes from it."""

from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn

from ..config import CLIPTextConfig


@dataclass(frozen=True)
class TextOutput:
    """What a text becomes. N = 77 tokens, D the encoder's width."""

    hidden_states: tuple[mx.array, ...]  # (B, N, D) each: the embedding, then the output of every layer, unnormed
    last_hidden_state: mx.array  # (B, N, D), normed
    pooled: mx.array  # (B, D), or (B, projection_dim) where there is a projection


class CLIPEmbeddings(nn.Module):
    """Token + position."""

    def __init__(self, config: CLIPTextConfig) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embedding = nn.Embedding(config.max_position_embeddings, config.hidden_size)

    def __call__(self, ids: mx.array) -> mx.array:
        """ids (B, N) -> (B, N, D)."""
        return self.token_embedding(ids) + self.position_embedding(mx.arange(ids.shape[1]))


class CLIPAttention(nn.Module):
    """Causal self-attention with biases."""

    def __init__(self, config: CLIPTextConfig) -> None:
        super().__init__()
        D = config.hidden_size
        self.q_proj = nn.Linear(D, D)
        self.k_proj = nn.Linear(D, D)
        self.v_proj = nn.Linear(D, D)
        self.out_proj = nn.Linear(D, D)
        self._heads = config.num_attention_heads

    def __call__(self, x: mx.array) -> mx.array:
        """x (B, N, D) -> (B, N, D); no token sees those that follow it."""
        B, N, D = x.shape
        q, k, v = (
            y.reshape(B, N, self._heads, -1).transpose(0, 2, 1, 3)  # (B, heads, N, D / heads)
            for y in (self.q_proj(x), self.k_proj(x), self.v_proj(x))
        )
        # The mask is a word and not an array: there is no large negative number to overflow in half precision.
        y = mx.fast.scaled_dot_product_attention(q, k, v, scale=q.shape[-1] ** -0.5, mask="causal")
        return self.out_proj(y.transpose(0, 2, 1, 3).reshape(B, N, D))


class CLIPMLP(nn.Module):
    """Two layers and the checkpoint's activation."""

    def __init__(self, config: CLIPTextConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)
        self._act = {"quick_gelu": nn.gelu_fast_approx, "gelu": nn.gelu}[config.hidden_act]

    def __call__(self, x: mx.array) -> mx.array:
        """x (B, N, D) -> (B, N, D)."""
        return self.fc2(self._act(self.fc1(x)))


class CLIPEncoderLayer(nn.Module):
    """Pre-norm transformer layer."""

    def __init__(self, config: CLIPTextConfig) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.self_attn = CLIPAttention(config)
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = CLIPMLP(config)

    def __call__(self, x: mx.array) -> mx.array:
        """x (B, N, D) -> (B, N, D)."""
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class CLIPEncoder(nn.Module):
    """The layers, and every state on the way."""

    def __init__(self, config: CLIPTextConfig) -> None:
        super().__init__()
        self.layers = [CLIPEncoderLayer(config) for _ in range(config.num_hidden_layers)]

    def __call__(self, x: mx.array) -> list[mx.array]:
        """x (B, N, D) -> x, and the output of every layer, likewise."""
        states = [x]
        for layer in self.layers:
            states.append(layer(states[-1]))
        return states


class CLIPTextModel(nn.Module):
    """Token ids to hidden states, and to one pooled vector a text."""

    def __init__(self, config: CLIPTextConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = CLIPEmbeddings(config)
        self.encoder = CLIPEncoder(config)
        self.final_layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        if config.projection_dim is not None:
            self.text_projection = nn.Linear(config.hidden_size, config.projection_dim, bias=False)

    def __call__(self, ids: mx.array) -> TextOutput:
        """ids (B, N) integers, N <= max_position_embeddings."""
        states = self.encoder(self.embeddings(ids))
        last = self.final_layer_norm(states[-1])
        # Configs older than transformers 4.31 carry a wrong eos id, 2: there the end token is the highest id.
        end = ids if self.config.eos_token_id == 2 else ids == self.config.eos_token_id
        pooled = last[mx.arange(ids.shape[0]), end.astype(mx.int32).argmax(axis=1)]
        if "text_projection" in self:
            pooled = self.text_projection(pooled)
        return TextOutput(tuple(states), last, pooled)
