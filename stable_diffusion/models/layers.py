"""Pieces that the UNet and the VAE share. Arrays are channel-last, (B, H, W, C)."""

import mlx.core as mx
import mlx.nn as nn


class GroupNorm(nn.GroupNorm):
    """Group normalisation over channel groups, as PyTorch forms the groups."""

    def __init__(self, num_groups: int, dims: int, eps: float = 1e-5):
        super().__init__(num_groups, dims, eps=eps, pytorch_compatible=True)


class ResnetBlock2D(nn.Module):
    """norm, silu, conv, + time, norm, silu, conv, + x (He et al. 2015, as in Ho et al. 2020, appendix B)."""

    def __init__(
        self, in_channels: int, out_channels: int, groups: int, eps: float, time_embed_dim: int | None = None
    ) -> None:
        super().__init__()
        self.norm1 = GroupNorm(groups, in_channels, eps)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        if time_embed_dim is not None:
            self.time_emb_proj = nn.Linear(time_embed_dim, out_channels)
        self.norm2 = GroupNorm(groups, out_channels, eps)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        if in_channels != out_channels:
            self.conv_shortcut = nn.Linear(in_channels, out_channels)  # a 1x1 convolution

    def __call__(self, x: mx.array, time: mx.array | None = None) -> mx.array:
        """x (B, H, W, C), time (B, D) already through silu -> (B, H, W, out_channels)."""
        h = self.conv1(nn.silu(self.norm1(x)))  # (B, H, W, out_channels)
        if time is not None:
            h = h + self.time_emb_proj(time)[:, None, None, :]
        h = self.conv2(nn.silu(self.norm2(h)))
        return h + (self.conv_shortcut(x) if "conv_shortcut" in self else x)


class Downsample2D(nn.Module):
    """Halve H and W (rounding up) with a strided convolution."""

    def __init__(self, channels: int, padding: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=padding)

    def __call__(self, x: mx.array) -> mx.array:
        """x (B, H, W, C) -> (B, ceil(H / 2), ceil(W / 2), C)."""
        return self.conv(x)


class Upsample2D(nn.Module):
    """Double H and W by repetition, cut to `size` where a level of odd size is on its way back, and convolve."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def __call__(self, x: mx.array, size: tuple[int, int] | None = None) -> mx.array:
        """x (B, H, W, C), size (2H or 2H - 1, 2W or 2W - 1) -> (B, *size, C)."""
        B, H, W, C = x.shape
        x = mx.broadcast_to(x[:, :, None, :, None, :], (B, H, 2, W, 2, C)).reshape(B, 2 * H, 2 * W, C)  # each twice
        if size is not None:
            x = x[:, : size[0], : size[1]]
        return self.conv(x)


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

    def __call__(self, x: mx.array, context: mx.array | None = None) -> mx.array:
        """x (B, N, D), context (B, M, context_dim) or None for x itself -> (B, N, D)."""
        context = x if context is None else context
        q, k, v = (
            y.reshape(*y.shape[:2], self._heads, -1).transpose(0, 2, 1, 3)  # (B, heads, N or M, D / heads)
            for y in (self.to_q(x), self.to_k(context), self.to_v(context))
        )
        if self._upcast:  # SD 2.1's scores overflow half precision
            q, k, v = (y.astype(mx.float32) for y in (q, k, v))
        y = mx.fast.scaled_dot_product_attention(q, k, v, scale=q.shape[-1] ** -0.5)
        y = y.transpose(0, 2, 1, 3).reshape(x.shape).astype(x.dtype)
        return self.to_out[0](y)


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
