"""Pieces that the UNet and the VAE share. Arrays are channel-last, (B, H, W, C)."""

import mlx.core as mx
import mlx.nn as nn

from ..compute.attention import Function, attention_to
from ..compute.chain import Chain, Layer, Residual, Window
from ..compute.convolution import Conv2d
from ..compute.elementwise import silu
from ..compute.norm import GroupNorm
from ..compute.streams import by_rows


class ResnetBlock2D(Chain):
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

    def links(self, time: mx.array | None = None) -> list[Layer]:
        """time (B, D), already through silu."""
        told: list[Layer] = [] if time is None else [lambda h: h + self.time_emb_proj(time)[:, None, None]]
        return [Residual([self.norm1, silu, self.conv1, *told, self.norm2, silu, self.conv2], self.shortcut)]

    def shortcut(self, x: mx.array) -> mx.array:
        """What is added at the end: x, in out_channels."""
        return self.conv_shortcut(x) if "conv_shortcut" in self else x


class Downsample2D(nn.Module):
    """Halve H and W (rounding up) with a strided convolution."""

    window = Window(1, down=2)

    def __init__(self, channels: int, around: bool = True) -> None:
        """around: the picture is filled up on all sides; else at the right and at the bottom only."""
        super().__init__()
        self.conv = Conv2d(channels, channels, 3, stride=2, padding=int(around))

    def __call__(self, x: mx.array) -> mx.array:
        """x (B, H, W, C) -> (B, ceil(H / 2), ceil(W / 2), C)."""
        return self.conv(x if self.conv.padding[0] else mx.pad(x, [(0, 0), (0, 1), (0, 1), (0, 0)]))


class Upsample2D(nn.Module):
    """Double H and W by repetition, cut to `size` where a level of odd size is on its way back, and convolve."""

    window = Window(1, up=2)

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = Conv2d(channels, channels, 3, padding=1)

    def __call__(self, x: mx.array, size: tuple[int, int] | None = None) -> mx.array:
        """x (B, H, W, C), size (2H or 2H - 1, 2W or 2W - 1) -> (B, *size, C)."""
        return self.conv.of_doubled(x, size)


class Attention(nn.Module):
    """Multi-head attention (Vaswani et al. 2017), of x to itself or to a context."""

    def __init__(
        self, dim: int, heads: int, context_dim: int | None = None, bias: bool = False, upcast: bool = False
    ) -> None:
        super().__init__()
        self.to_q = nn.Linear(dim, dim, bias=bias)
        self.to_k = nn.Linear(context_dim or dim, dim, bias=bias)
        self.to_v = nn.Linear(context_dim or dim, dim, bias=bias)
        self.to_out = [nn.Linear(dim, dim)]
        self._heads = heads
        self._upcast = upcast

    def _apart(self, y: mx.array) -> mx.array:
        """(B, N, D) -> (B, heads, N, D / heads)."""
        y = y.reshape(*y.shape[:2], self._heads, -1).transpose(0, 2, 1, 3)
        return y.astype(mx.float32) if self._upcast else y  # SD 2.1's scores overflow half precision

    def to(self, context: mx.array) -> Function:
        """Attention to a context (B, M, context_dim), as a function of any rows of x (B, N, D)."""
        found = attention_to(context, lambda y: self._apart(self.to_k(y)), lambda y: self._apart(self.to_v(y)))

        def look(x: mx.array) -> mx.array:
            y = found(self._apart(self.to_q(x)))  # (B, heads, N, D / heads)
            return self.to_out[0](y.transpose(0, 2, 1, 3).reshape(x.shape).astype(x.dtype))

        return look

    def __call__(self, x: mx.array, context: mx.array | None = None) -> mx.array:
        """x (B, N, D), context (B, M, context_dim) or None for x itself -> (B, N, D)."""
        return by_rows(self.to(x if context is None else context), x)


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
