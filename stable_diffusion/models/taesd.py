"""TAESD, the tiny autoencoder (Bohan 2023, madebyollin/taesd): 5 MB that do nearly what 335 MB do."""

import mlx.core as mx
import mlx.nn as nn

from ..compute.chain import Chain, Layer, Residual, Window
from ..compute.convolution import Conv2d, doubled
from ..compute.stripes import Tiling, made
from ..config import TinyVAEConfig

CERTAIN = -30.0  # log variance of latents that have none; the least that Stable Diffusion's own encoder gives


class TinyBlock(Chain):
    """Three convolutions, and the input added."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        # The places between them are activations, as in the files' names.
        self.conv = [Conv2d(channels, channels, 3, padding=1) if i % 2 == 0 else nn.ReLU() for i in range(5)]

    def links(self) -> list[Layer]:
        return [Residual(self.conv), nn.ReLU()]


class Upsample(nn.Module):
    """Each pixel twice, along both sides."""

    window = Window(up=2)

    def __call__(self, x: mx.array) -> mx.array:
        """x (B, H, W, C) -> (B, 2 H, 2 W, C)."""
        return doubled(x)


class Layers(Chain):
    """One layer after the other."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = layers

    def links(self) -> list[Layer]:
        return list(self.layers)


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
