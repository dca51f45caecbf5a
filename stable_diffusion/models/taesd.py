"""TAESD, the tiny autoencoder (Bohan 2023, madebyollin/taesd): 5 MB that do nearly what 335 MB do."""

import mlx.core as mx
import mlx.nn as nn

from ..compute.convolution import Conv2d, doubled
from ..config import TinyVAEConfig
from .stripes import Stripes, Tiling, made, through, whole

CERTAIN = -30.0  # log variance of latents that have none; the least that Stable Diffusion's own encoder gives


class TinyBlock(nn.Module):
    """Three convolutions, and the input added."""

    HALO = 3  # pixels around its own that it sees

    def __init__(self, channels: int) -> None:
        super().__init__()
        # The places between them are activations, as in the files' names.
        self.conv = [Conv2d(channels, channels, 3, padding=1) if i % 2 == 0 else nn.ReLU() for i in range(5)]

    def __call__(self, x: mx.array) -> mx.array:
        """x (B, H, W, C) -> (B, H, W, C)."""
        y = x
        for layer in self.conv:
            y = layer(y)
        return nn.relu(x + y)


class Upsample(nn.Module):
    """Each pixel twice, along both sides."""

    def __call__(self, x: mx.array) -> mx.array:
        """x (B, H, W, C) -> (B, 2 H, 2 W, C)."""
        return doubled(x)


class Layers(nn.Module):
    """One layer after the other."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = layers

    def __call__(self, x: mx.array) -> mx.array:
        for layer in self.layers:
            x = layer(x)
        return x

    def striped(self, x: mx.array, walk: Stripes) -> mx.array:
        """The same of one array, in stripes; kept is what each level but the largest ends with."""
        rows = whole(x)
        for layer in self.layers:
            channels = rows.shape[2]
            if isinstance(layer, Upsample):
                rows = through(layer, walk.keep(rows, spending=True), channels, halo=0, up=2)
            elif isinstance(layer, TinyBlock):
                rows = through(layer, rows, channels, halo=TinyBlock.HALO)
            elif isinstance(layer, Conv2d) and layer.stride == (2, 2):
                rows = walk.keep(through(layer, rows, layer.weight.shape[0], halo=1, down=2), spending=True)
            elif isinstance(layer, Conv2d):
                rows = through(layer, rows, layer.weight.shape[0], halo=1)
            else:
                rows = through(layer, rows, channels, halo=0)
        rows = walk.keep(rows, spending=True)
        return rows.take(0, rows.shape[0])


class TinyAutoencoder(nn.Module):
    """Pictures to latents and back; the latents are those that the UNet works on, without any scaling."""

    def __init__(self, config: TinyVAEConfig) -> None:
        super().__init__()
        self.config = config
        C, z = config.channels, config.latent_channels
        encoder: list[nn.Module] = [Conv2d(3, C, 3, padding=1), TinyBlock(C)]
        for _ in range(3):
            encoder.append(Conv2d(C, C, 3, stride=2, padding=1, bias=False))
            encoder += [TinyBlock(C) for _ in range(3)]
        self.encoder = Layers([*encoder, Conv2d(C, z, 3, padding=1)])
        decoder: list[nn.Module] = [Conv2d(z, C, 3, padding=1), nn.ReLU()]
        for _ in range(3):
            decoder += [TinyBlock(C) for _ in range(3)]
            decoder += [Upsample(), Conv2d(C, C, 3, padding=1, bias=False)]
        self.decoder = Layers([*decoder, TinyBlock(C), Conv2d(C, 3, 3, padding=1)])

    def encode(self, x: mx.array, tiling: Tiling | None = None) -> tuple[mx.array, mx.array]:
        """Pictures (B, H, W, 3) in [-1, 1] -> their latents (B, H / 8, W / 8, 4), and a log variance that is none.

        tiling: as in AutoencoderKL.
        """
        latents = made(self.encoder, x / 2 + 0.5, 1, tiling, self.config.channels)
        return latents, mx.full(latents.shape, CERTAIN, latents.dtype)

    def decode(self, z: mx.array, tiling: Tiling | None = None) -> mx.array:
        """Latents (B, h, w, 4) -> pictures (B, 8 h, 8 w, 3), about [-1, 1]; tiling: as in AutoencoderKL."""
        return made(self.decoder, mx.tanh(z / 3) * 3, self.config.factor, tiling, self.config.channels) * 2 - 1
