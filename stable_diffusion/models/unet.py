"""The UNet (Rombach et al. 2022, section 3.3; Podell et al. 2023 for XL). Its shape is all in UNetConfig."""

import math

import mlx.core as mx
import mlx.nn as nn

from ..compute.chain import run
from ..compute.convolution import Conv2d
from ..compute.elementwise import geglu, silu
from ..compute.norm import GroupNorm
from ..compute.streams import by_rows
from ..config import UNetConfig
from .layers import Attention, Downsample2D, ResnetBlock2D, Upsample2D


def sinusoids(t: mx.array, dim: int, flip_sin_to_cos: bool = True, freq_shift: float = 0.0) -> mx.array:
    """Embed numbers t (...) as sines and cosines (..., dim), float32 (Ho et al. 2020; frequencies 1 .. 1/10000)."""
    half = dim // 2
    frequencies = mx.exp(mx.arange(half) * (-math.log(10000) / (half - freq_shift)))
    angles = t.astype(mx.float32)[..., None] * frequencies
    sin, cos = mx.sin(angles), mx.cos(angles)
    return mx.concatenate([cos, sin] if flip_sin_to_cos else [sin, cos], axis=-1)


def guidance_embedding(cfg: float, dim: int) -> mx.array:
    """An LCM's embedding (1, dim) of the guidance scale (Luo et al. 2023; diffusers' get_guidance_scale_embedding)."""
    return sinusoids(mx.array([1000 * (cfg - 1)]), dim, flip_sin_to_cos=False, freq_shift=1.0)


class TimestepEmbedding(nn.Module):
    """Two layers over sinusoids; an LCM adds its guidance scale, embedded, to the input."""

    def __init__(self, in_channels: int, time_embed_dim: int, cond_proj_dim: int | None = None) -> None:
        super().__init__()
        if cond_proj_dim is not None:
            self.cond_proj = nn.Linear(cond_proj_dim, in_channels, bias=False)
        self.linear_1 = nn.Linear(in_channels, time_embed_dim)
        self.linear_2 = nn.Linear(time_embed_dim, time_embed_dim)

    def __call__(self, x: mx.array, condition: mx.array | None = None) -> mx.array:
        """x (B, in_channels), condition (1 or B, cond_proj_dim) -> (B, time_embed_dim)."""
        if condition is not None:
            x = x + self.cond_proj(condition)
        return self.linear_2(nn.silu(self.linear_1(x)))


class GEGLU(nn.Module):
    """x * gelu(gate) (Shazeer 2020)."""

    def __init__(self, dim: int, inner: int) -> None:
        super().__init__()
        self.proj = nn.Linear(dim, 2 * inner)

    def __call__(self, x: mx.array) -> mx.array:
        """x (B, N, dim) -> (B, N, inner)."""
        x, gate = mx.split(self.proj(x), 2, axis=-1)  # (B, N, inner) each
        return geglu(x, gate)


class FeedForward(nn.Module):
    """GEGLU and a linear layer. Its middle is the checkpoint's dropout, which holds a place in the names."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.net = [GEGLU(dim, 4 * dim), nn.Identity(), nn.Linear(4 * dim, dim)]

    def __call__(self, x: mx.array) -> mx.array:
        """x (B, N, dim) -> (B, N, dim)."""
        for layer in self.net:
            x = layer(x)
        return x


class BasicTransformerBlock(nn.Module):
    """Self-attention, attention to the text, feed-forward; each over a norm and added."""

    def __init__(self, dim: int, heads: int, context_dim: int, upcast: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn1 = Attention(dim, heads, upcast=upcast)
        self.norm2 = nn.LayerNorm(dim)
        self.attn2 = Attention(dim, heads, context_dim, upcast=upcast)
        self.norm3 = nn.LayerNorm(dim)
        self.ff = FeedForward(dim)

    def __call__(self, x: mx.array, context: mx.array) -> mx.array:
        """x (B, N, dim), context (B, M, context_dim) -> (B, N, dim)."""
        y = by_rows(self.norm1, x)
        to_itself, to_text = self.attn1.to(y), self.attn2.to(context)

        def tokens(x: mx.array, y: mx.array) -> mx.array:
            x = x + to_itself(y)
            x = x + to_text(self.norm2(x))
            return x + self.ff(self.norm3(x))

        return by_rows(tokens, x, y, long=True)


class Transformer2DModel(nn.Module):
    """Transformer blocks over the pixels of a level."""

    def __init__(self, dim: int, heads: int, layers: int, context_dim: int, groups: int, upcast: bool) -> None:
        super().__init__()
        self.norm = GroupNorm(groups, dim, eps=1e-6)
        # A 1x1 convolution in SD 1.x and a linear layer in the others: channel-last, they are the same thing.
        self.proj_in = nn.Linear(dim, dim)
        self.transformer_blocks = [BasicTransformerBlock(dim, heads, context_dim, upcast) for _ in range(layers)]
        self.proj_out = nn.Linear(dim, dim)

    def __call__(self, x: mx.array, context: mx.array) -> mx.array:
        """x (B, H, W, C), context (B, N, context_dim) -> (B, H, W, C)."""
        B, H, W, C = x.shape
        norm = self.norm.of(x)
        y = by_rows(lambda part: self.proj_in(norm(part)), x).reshape(B, H * W, C)
        for block in self.transformer_blocks:
            y = block(y, context)
        return by_rows(lambda x, y: x + self.proj_out(y), x, y.reshape(B, H, W, C))


class UNetBlock(nn.Module):
    """One level, of either side: residual blocks, each with a transformer where the level's type has one."""

    def __init__(self, channels: list[tuple[int, int]], level: int, up: bool, config: UNetConfig) -> None:
        """channels: (in, out) of each residual block; level: 0 is the widest picture."""
        super().__init__()
        time_embed_dim = 4 * config.block_out_channels[0]
        self.resnets = [
            ResnetBlock2D(i, o, config.norm_num_groups, config.norm_eps, time_embed_dim) for i, o in channels
        ]
        if all(depths := config.depths(level, up)):
            self.attentions = [_transformer(level, depth, config) for depth in depths]

    def layer(self, j: int, x: mx.array, time: mx.array, context: mx.array) -> mx.array:
        """The j-th residual block and its transformer: x (B, H, W, in) -> (B, H, W, out)."""
        x = self.resnets[j](x, time)
        return self.attentions[j](x, context) if "attentions" in self else x


def _transformer(level: int, depth: int, config: UNetConfig) -> Transformer2DModel:
    return Transformer2DModel(
        config.block_out_channels[level],
        config.num_attention_heads[level],
        depth,
        config.cross_attention_dim,
        config.norm_num_groups,
        config.upcast_attention,
    )


class DownBlock(UNetBlock):
    """A level on the way down: keeps what it makes for the way up, and halves the picture."""

    def __init__(self, level: int, in_channels: int, config: UNetConfig) -> None:
        out = config.block_out_channels[level]
        channels = [(out if j else in_channels, out) for j in range(config.layers_per_block[level])]
        super().__init__(channels, level, False, config)
        if level < len(config.block_out_channels) - 1:
            self.downsamplers = [Downsample2D(out)]

    def __call__(self, x: mx.array, time: mx.array, context: mx.array, skips: list[mx.array]) -> mx.array:
        """x (B, H, W, in), time (B, D), context (B, N, context_dim) -> (B, ceil(H / 2), ceil(W / 2), out).

        Adds what it makes to skips; the last level keeps H and W.
        """
        for j in range(len(self.resnets)):
            x = self.layer(j, x, time, context)
            skips.append(x)
        if "downsamplers" in self:
            x = self.downsamplers[0](x)
            skips.append(x)
        return x


class MidBlock(nn.Module):
    """The narrowest picture: residual block, transformer, residual block; the first alone in SSD-1B and Vega."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        dim, last = config.block_out_channels[-1], len(config.block_out_channels) - 1
        time_embed_dim = 4 * config.block_out_channels[0]
        if attends := config.mid_block_attends:
            depth = config.transformer_layers_per_block[-1]
            assert isinstance(depth, int)
            self.attentions = [_transformer(last, depth, config)]
        self.resnets = [
            ResnetBlock2D(dim, dim, config.norm_num_groups, config.norm_eps, time_embed_dim) for _ in range(1 + attends)
        ]

    def __call__(self, x: mx.array, time: mx.array, context: mx.array) -> mx.array:
        """x (B, H, W, C), time (B, D), context (B, N, context_dim) -> (B, H, W, C)."""
        x = self.resnets[0](x, time)
        if "attentions" in self:
            x = self.resnets[1](self.attentions[0](x, context), time)
        return x


class UpBlock(UNetBlock):
    """A level on the way up: takes what the way down kept, and doubles the picture."""

    def __init__(self, level: int, in_channels: int, config: UNetConfig) -> None:
        widths = config.block_out_channels
        out, below = widths[level], widths[max(level - 1, 0)]  # the first thing that a level kept has the width before
        n = config.layers_per_block[level] + 1
        channels = [((out if j else in_channels) + (below if j == n - 1 else out), out) for j in range(n)]
        super().__init__(channels, level, True, config)
        if level > 0:
            self.upsamplers = [Upsample2D(out)]

    def joined_layer(self, j: int, x: mx.array, skip: mx.array, time: mx.array, context: mx.array) -> mx.array:
        """The j-th layer, of x (B, H, W, in) beside what the way down kept of its size."""
        return self.layer(j, mx.concatenate([x, skip], axis=-1), time, context)

    def __call__(self, x: mx.array, time: mx.array, context: mx.array, skips: list[mx.array]) -> mx.array:
        """x (B, H, W, in), time (B, D), context (B, N, context_dim) -> (B, 2 H or 2 H - 1, 2 W or 2 W - 1, out).

        Takes what it needs from the end of skips; the first level keeps H and W.
        """
        for j in range(len(self.resnets)):
            x = self.joined_layer(j, x, skips.pop(), time, context)
        if "upsamplers" in self:
            _, H, W, _ = skips[-1].shape
            x = self.upsamplers[0](x, size=(H, W))
        return x


class UNet2DConditionModel(nn.Module):
    """Predicts the noise (or v, or the picture) in a scaled latent, at a time, for a text."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.block_out_channels
        time_embed_dim = 4 * widths[0]
        self.conv_in = Conv2d(config.in_channels, widths[0], 3, padding=1)
        self.time_embedding = TimestepEmbedding(widths[0], time_embed_dim, config.time_cond_proj_dim)
        if config.addition_embed_type is not None:
            self.add_embedding = TimestepEmbedding(config.projection_class_embeddings_input_dim, time_embed_dim)
        levels = range(len(widths))
        self.down_blocks = [DownBlock(i, widths[max(i - 1, 0)], config) for i in levels]
        if config.has_mid_block:
            self.mid_block = MidBlock(config)
        self.up_blocks = [UpBlock(i, widths[min(i + 1, levels[-1])], config) for i in reversed(levels)]
        self.conv_norm_out = GroupNorm(config.norm_num_groups, widths[0], config.norm_eps)
        self.conv_out = Conv2d(widths[0], config.out_channels, 3, padding=1)

    def __call__(
        self,
        x: mx.array,
        t: mx.array,
        context: mx.array,
        text_embeds: mx.array | None = None,
        time_ids: mx.array | None = None,
        time_cond: mx.array | None = None,
    ) -> mx.array:
        """x (B, H, W, in_channels), t (B,) train time, context (B, N, cross_attention_dim) -> (B, H, W, out_channels).

        XL also takes text_embeds (B, D), the pooled text, and time_ids (B, 6): the original size (H, W), the crop's
        corner (y, x) and the target size (H, W), in pixels. An LCM takes time_cond (B, time_cond_proj_dim).
        """
        x, time = self.embed(x, t, text_embeds, time_ids, time_cond)
        return self.last(self.deep(x, time, context), x, time, context)

    # The three parts of a call. DeepCache (Ma et al. 2023, 2312.00858) takes the second from another time.

    def embed(
        self,
        x: mx.array,
        t: mx.array,
        text_embeds: mx.array | None = None,
        time_ids: mx.array | None = None,
        time_cond: mx.array | None = None,
    ) -> tuple[mx.array, mx.array]:
        """The latents after the first convolution (B, H, W, C), and the time and what stands beside it (B, D)."""
        time = self.time_embedding(self._sinusoids(t, self.config.block_out_channels[0], x.dtype), time_cond)
        if "add_embedding" in self:
            if text_embeds is None or time_ids is None:
                raise ValueError("this UNet also needs text_embeds and time_ids")
            sizes = self._sinusoids(time_ids, self.config.addition_time_embed_dim, x.dtype)  # (B, 6, D)
            added = mx.concatenate([text_embeds, sizes.reshape(sizes.shape[0], -1)], axis=-1)
            time = time + self.add_embedding(added)
        return self.conv_in(x), nn.silu(time)  # which every residual block would do for itself

    def _sinusoids(self, t: mx.array, dim: int, dtype: mx.Dtype) -> mx.array:
        # Angles up to 999 need float32: half precision has no fractions above 1024, and few above 512.
        return sinusoids(t, dim, self.config.flip_sin_to_cos, self.config.freq_shift).astype(dtype)

    def deep(self, x: mx.array, time: mx.array, context: mx.array) -> mx.array:
        """All layers but the last one: x (B, H, W, C) -> the feature that the last one is given, (B, H, W, C')."""
        skips: list[mx.array] = []
        for down in self.down_blocks:
            x = down(x, time, context, skips)
        if "mid_block" in self:
            x = self.mid_block(x, time, context)
        *ups, widest = self.up_blocks
        for up in ups:
            x = up(x, time, context, skips)
        for j in range(len(widest.resnets) - 1):
            x = widest.joined_layer(j, x, skips.pop(), time, context)
        return x

    def last(self, deep: mx.array, x: mx.array, time: mx.array, context: mx.array) -> mx.array:
        """The last layer, on the deep feature and x (B, H, W, C), and the last convolution: (B, H, W, out_channels)."""
        x = self.up_blocks[-1].joined_layer(-1, deep, x, time, context)
        return run([self.conv_norm_out, silu, self.conv_out], x)
