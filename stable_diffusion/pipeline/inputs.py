"""What a run is given besides its settings."""

from dataclasses import dataclass

import mlx.core as mx


@dataclass(frozen=True, eq=False)
class Inputs:
    """The image that a run starts from, and the mask of what is to be repainted; from MLX or NumPy.

    Raises ValueError for values out of range, a mask without an image, and a mask of another size.
    """

    image: mx.array | None = None  # (H, W, 3), or (1, H, W, 3), in [-1, 1]
    mask: mx.array | None = None  # (H, W) in [0, 1], 1 = repaint

    def __post_init__(self) -> None:
        image = _checked(self.image, "image", -1.0)
        object.__setattr__(self, "image", image[0] if image is not None and image.shape[:1] == (1,) else image)
        object.__setattr__(self, "mask", _checked(self.mask, "mask", 0.0))
        if self.mask is None:
            return
        if self.image is None:
            raise ValueError("a mask needs an image")
        if self.mask.shape != (size := self.image.shape[:2]):
            raise ValueError(f"the mask has shape {self.mask.shape}: the image's is {size}")


def _checked(values: mx.array | None, name: str, low: float) -> mx.array | None:
    """The same as float32. Raises ValueError for values outside [low, 1]."""
    if values is None:
        return None
    values = mx.array(values).astype(mx.float32)
    least, most = float(values.min()), float(values.max())
    if least < low - 1e-3 or most > 1 + 1e-3:
        raise ValueError(f"the {name} has values from {least:g} to {most:g}: they must be from {low:g} to 1")
    return values


NOTHING = Inputs()
