"""The picture's autoencoder, AutoencoderKL (Rombach et al. 2022, section 3.1)."""

import math

import mlx.core as mx
import mlx.nn as nn

from ..compute.chain import Chain, Layer, Whole
from ..compute.convolution import Conv2d
from ..compute.elementwise import silu
from ..compute.norm import GroupNorm
from ..compute.stripes import Tiling, made
from ..config import VAEConfig
from .layers import Attention, Downsample2D, ResnetBlock2D, Upsample2D

EPS = 1e-6  # of every norm in the autoencoder


class VAEAttention(Attention):
    """One head of attention over the pixels, normed and added."""

    def __init__(self, dim: int, groups: int) -> None:
        super().__init__(dim, heads=1, bias=True)
        self.group_norm = GroupNorm(groups, dim, EPS)

    def __call__(self, x: mx.array, context: mx.array | None = None) -> mx.array:
        """x (B, H, W, C) -> (B, H, W, C); context is not used."""
        B, H, W, C = x.shape
        return x + super().__call__(self.group_norm(x).reshape(B, H * W, C)).reshape(B, H, W, C)


class VAEMidBlock(Chain):
    """Residual block, attention, residual block."""

    def __init__(self, dim: int, config: VAEConfig) -> None:
        super().__init__()
        if config.mid_block_add_attention:
            self.attentions = [VAEAttention(dim, config.norm_num_groups)]
        self.resnets = [ResnetBlock2D(dim, dim, config.norm_num_groups, EPS) for _ in range(2)]

    def links(self) -> list[Layer]:
        return [self.resnets[0], *self.get("attentions", []), self.resnets[1]]


class VAEBlock(Chain):
    """One level: residual blocks, then half or double the size, or the same at the ends."""

    def __init__(self, in_channels: int, out_channels: int, layers: int, groups: int) -> None:
        super().__init__()
        self.resnets = [
            ResnetBlock2D(out_channels if j else in_channels, out_channels, groups, EPS) for j in range(layers)
        ]

    def links(self) -> list[Layer]:
        return [*self.resnets, *self.get("downsamplers", []), *self.get("upsamplers", [])]


class Encoder(Chain):
    """Pictures (B, H, W, 3) to their latents' mean and log variance, side by side: (B, H / f, W / f, 2 z)."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        widths, groups = config.block_out_channels, config.norm_num_groups
        self.conv_in = Conv2d(config.in_channels, widths[0], 3, padding=1)
        self.down_blocks = [
            VAEBlock(widths[max(i - 1, 0)], w, config.layers_per_block, groups) for i, w in enumerate(widths)
        ]
        for block, w in zip(self.down_blocks[:-1], widths, strict=False):
            block.downsamplers = [Downsample2D(w, around=False)]
        self.mid_block = VAEMidBlock(widths[-1], config)
        self.conv_norm_out = GroupNorm(groups, widths[-1], EPS)
        self.conv_out = Conv2d(widths[-1], 2 * config.latent_channels, 3, padding=1)

    def links(self) -> list[Layer]:
        end = Whole([self.mid_block, self.conv_norm_out, silu, self.conv_out])
        return [self.conv_in, *self.down_blocks, end]


class Decoder(Chain):
    """Unscaled latents (B, h, w, z) to pictures (B, f h, f w, 3), about [-1, 1]."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        widths, groups = config.block_out_channels[::-1], config.norm_num_groups
        self.conv_in = Conv2d(config.latent_channels, widths[0], 3, padding=1)
        self.mid_block = VAEMidBlock(widths[0], config)
        self.up_blocks = [
            VAEBlock(widths[max(i - 1, 0)], w, config.layers_per_block + 1, groups) for i, w in enumerate(widths)
        ]
        for block, w in zip(self.up_blocks[:-1], widths, strict=False):
            block.upsamplers = [Upsample2D(w)]
        self.conv_norm_out = GroupNorm(groups, widths[-1], EPS)
        self.conv_out = Conv2d(widths[-1], config.out_channels, 3, padding=1)

    def links(self) -> list[Layer]:
        start = Whole([self.conv_in, self.mid_block])
        return [start, *self.up_blocks, self.conv_norm_out, silu, self.conv_out]


class AutoencoderKL(nn.Module):
    """Pictures to scaled latents and back; f = config.factor pixels a side to one latent."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        if config.use_quant_conv:
            self.quant_conv = nn.Linear(2 * config.latent_channels, 2 * config.latent_channels)
        if config.use_post_quant_conv:
            self.post_quant_conv = nn.Linear(config.latent_channels, config.latent_channels)

    def encode(self, x: mx.array, tiling: Tiling | None = None) -> tuple[mx.array, mx.array]:
        """Pictures (B, H, W, 3) in [-1, 1] -> their latents' mean and log variance, (B, H / f, W / f, 4) each.

        Both are of latents that are scaled to about N(0, 1), as a run takes them. tiling: work in stripes, one
        picture after the other, which takes less memory and gives the same.
        """
        moments = made(self.encoder, x, 1, tiling, self.config.block_out_channels[0])
        if "quant_conv" in self:
            moments = self.quant_conv(moments)
        mean, logvar = mx.split(moments, 2, axis=-1)
        scale = self.config.scaling_factor
        return (mean - self.config.shift_factor) * scale, logvar + 2 * math.log(scale)

    def decode(self, z: mx.array, tiling: Tiling | None = None) -> mx.array:
        """Scaled latents (B, H, W, 4) -> pictures (B, f H, f W, 3), about [-1, 1]; tiling: as above."""
        z = z / self.config.scaling_factor + self.config.shift_factor
        if "post_quant_conv" in self:
            z = self.post_quant_conv(z)
        return made(self.decoder, z, self.config.factor, tiling, self.config.block_out_channels[0])
