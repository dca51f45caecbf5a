"""The picture's autoencoder, AutoencoderKL (Rombach et al. 2022, section 3.1)."""

import math

import mlx.core as mx
import mlx.nn as nn

from ..compute.convolution import Conv2d, Downsample2D, Upsample2D
from ..compute.norm import GroupNorm
from ..config import VAEConfig
from .layers import Attention, ResnetBlock2D
from .stripes import Rows, Stripes, Tiling, made, through, whole

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


class VAEMidBlock(nn.Module):
    """Residual block, attention, residual block."""

    def __init__(self, dim: int, config: VAEConfig) -> None:
        super().__init__()
        if config.mid_block_add_attention:
            self.attentions = [VAEAttention(dim, config.norm_num_groups)]
        self.resnets = [ResnetBlock2D(dim, dim, config.norm_num_groups, EPS) for _ in range(2)]

    def __call__(self, x: mx.array) -> mx.array:
        """x (B, H, W, C) -> (B, H, W, C)."""
        x = self.resnets[0](x)
        if "attentions" in self:
            x = self.attentions[0](x)
        return self.resnets[1](x)


class VAEBlock(nn.Module):
    """One level: residual blocks, then a smaller or a larger picture."""

    def __init__(self, in_channels: int, out_channels: int, layers: int, groups: int) -> None:
        super().__init__()
        self.resnets = [
            ResnetBlock2D(out_channels if j else in_channels, out_channels, groups, EPS) for j in range(layers)
        ]

    def __call__(self, x: mx.array) -> mx.array:
        """x (B, H, W, in_channels) -> (B, H', W', out_channels): half or double the size, or the same at the ends."""
        for resnet in self.resnets:
            x = resnet(x)
        if "downsamplers" in self:
            x = self._halved(x)
        if "upsamplers" in self:
            x = self.upsamplers[0](x)
        return x

    def _halved(self, x: mx.array) -> mx.array:
        # Filled up at the right and at the bottom only, as it was trained.
        y: mx.array = self.downsamplers[0](mx.pad(x, [(0, 0), (0, 1), (0, 1), (0, 0)]))
        return y

    def striped(self, x: Rows, walk: Stripes) -> Rows:
        """The same in stripes. x is spent."""
        for resnet in self.resnets:
            x = walk.resnet(resnet, x)
        if "downsamplers" in self:
            return walk.keep(through(self._halved, x, x.shape[2], halo=1, down=2), spending=True)
        if "upsamplers" in self:
            x = through(self.upsamplers[0], x, x.shape[2], halo=1, up=2)
            return walk.keep(x, spending=True) if walk.fits(x) else x
        return x


class Encoder(nn.Module):
    """Pictures to the moments of their latents."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        widths, groups = config.block_out_channels, config.norm_num_groups
        self.conv_in = Conv2d(config.in_channels, widths[0], 3, padding=1)
        self.down_blocks = [
            VAEBlock(widths[max(i - 1, 0)], w, config.layers_per_block, groups) for i, w in enumerate(widths)
        ]
        for block, w in zip(self.down_blocks[:-1], widths, strict=False):
            block.downsamplers = [Downsample2D(w, padding=0)]
        self.mid_block = VAEMidBlock(widths[-1], config)
        self.conv_norm_out = GroupNorm(groups, widths[-1], EPS)
        self.conv_out = Conv2d(widths[-1], 2 * config.latent_channels, 3, padding=1)

    def __call__(self, x: mx.array) -> mx.array:
        """Pictures (B, H, W, 3) -> mean and log-variance, side by side: (B, H / f, W / f, 2 * latent_channels)."""
        x = self.conv_in(x)
        for block in self.down_blocks:
            x = block(x)
        return self._moments(x)

    def _moments(self, x: mx.array) -> mx.array:
        x = self.mid_block(x)
        return self.conv_out(x, self.conv_norm_out.with_silu(x))

    def striped(self, x: mx.array, walk: Stripes) -> mx.array:
        """The same of one picture, in stripes."""
        rows = through(self.conv_in, whole(x), self.conv_in.weight.shape[0], halo=1)
        for block in self.down_blocks:
            rows = block.striped(rows, walk)
        return self._moments(rows.take(0, rows.shape[0]))


class Decoder(nn.Module):
    """Latents to pictures."""

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

    def __call__(self, x: mx.array) -> mx.array:
        """Latents (B, h, w, latent_channels), unscaled -> pictures (B, f h, f w, 3), about [-1, 1]."""
        x = self.mid_block(self.conv_in(x))
        for block in self.up_blocks:
            x = block(x)
        return self.conv_out(x, self.conv_norm_out.with_silu(x))

    def striped(self, x: mx.array, walk: Stripes) -> mx.array:
        """The same of one latent, in stripes."""
        rows = whole(self.mid_block(self.conv_in(x)))
        for block in self.up_blocks:
            rows = block.striped(rows, walk)
        norm = walk.norm(self.conv_norm_out, rows)
        picture = through(lambda part: self.conv_out(part, norm), rows, self.conv_out.weight.shape[0], halo=1)
        picture = walk.keep(picture, spending=True)
        return picture.take(0, picture.shape[0])


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
