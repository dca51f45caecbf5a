"""Pieces that the UNet and the VAE share. Arrays are channel-last, (B, H, W, C)."""

import mlx.core as mx
import mlx.nn as nn

from ..compute.convolution import Conv2d
from ..compute.norm import GroupNorm
from ..compute.streams import rowwise


class ResnetBlock2D(nn.Module):
    """norm, silu, conv, + time, norm, silu, conv, + x (He et al. 2015, as in Ho et al. 2020, appendix B)."""

    def __init__(
        self, in_channels: int, out_channels: int, groups: int, eps: float, time_embed_dim: int | None = None
    ) -> None:
        super().__init__()
        self.norm1 = GroupNorm(groups, in_channels, eps)
        self.conv1 = Conv2d(in_channels, out_channels, 3, padding=1)
        if time_embed_dim is not None:
            self.time_emb_proj = nn.Linear(time_embed_dim, out_channels)
        self.norm2 = GroupNorm(groups, out_channels, eps)
        self.conv2 = Conv2d(out_channels, out_channels, 3, padding=1)
        if in_channels != out_channels:
            self.conv_shortcut = nn.Linear(in_channels, out_channels)  # a 1x1 convolution

    def __call__(self, x: mx.array, time: mx.array | None = None) -> mx.array:
        """x (B, H, W, C), time (B, D) already through silu -> (B, H, W, out_channels)."""
        h = self.conv1(x, self.norm1.with_silu(x))  # (B, H, W, out_channels)
        if time is not None:
            h = h + self.time_emb_proj(time)[:, None, None, :]
        h = self.conv2(h, self.norm2.with_silu(h))
        return rowwise(lambda h, x: h + self.shortcut(x), h, x)

    def shortcut(self, x: mx.array) -> mx.array:
        """What is added at the end: x, in out_channels."""
        return self.conv_shortcut(x) if "conv_shortcut" in self else x


class Beside(nn.Module):
    """A quantised layer with what LoRAs add to it, kept in full precision so that nothing of it is lost.

    Besides pairs of low rank it may have a difference (O, I), and a shift (O,) of the output.
    """

    def __init__(self, base: nn.QuantizedLinear) -> None:
        super().__init__()
        self.base = base
        self.downs: list[mx.array] = []  # (r, I) each
        self.ups: list[mx.array] = []  # (O, r), with the scale in it

    @property
    def shape(self) -> tuple[int, int]:
        """(O, I) of the whole weight."""
        O, packed = self.base.weight.shape  # noqa: E741
        return O, packed * 32 // self.base.bits

    def whole(self) -> mx.array:
        """The weight (O, I) that the layer stands for, float32."""
        base = self.base
        weight = mx.dequantize(
            base.weight,
            base.scales,
            base.get("biases"),
            group_size=base.group_size,
            bits=base.bits,
            mode=base.mode,
        ).astype(mx.float32)
        for down, up in zip(self.downs, self.ups, strict=True):
            weight = weight + up.astype(mx.float32) @ down.astype(mx.float32)
        return weight + self.difference.astype(mx.float32) if "difference" in self else weight

    def __call__(self, x: mx.array) -> mx.array:
        """x (..., I) -> (..., O)."""
        y = self.base(x)
        for down, up in zip(self.downs, self.ups, strict=True):
            y = y + ((x @ down.T) @ up.T).astype(y.dtype)
        if "difference" in self:
            y = y + (x @ self.difference.T).astype(y.dtype)
        return y + self.shift.astype(y.dtype) if "shift" in self else y
