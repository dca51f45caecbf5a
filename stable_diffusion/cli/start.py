"""What image-to-image starts from: a picture, and perhaps a mask, read and made to fit."""

import argparse
from dataclasses import dataclass

import mlx.core as mx

from ..pictures.images import (
    Picture,
    digest,
    feathered,
    fitted,
    read_mask,
    read_picture,
    read_transparency,
    to_array,
    to_mask,
)
from ..pipeline.files import IMAGE, MASK
from .replay import Source
from .run import multiple_of_8, note


@dataclass(frozen=True)
class Start:
    """Both at a size that a model can work on."""

    name: str
    picture: Picture
    hole: Picture | None  # grey: white is to be painted anew

    @property
    def image(self) -> mx.array:
        """(H, W, 3) in [-1, 1]."""
        return to_array(self.picture)

    @property
    def mask(self) -> mx.array | None:
        """(H, W) in [0, 1]."""
        return None if self.hole is None else to_mask(self.hole)


def read_start(args: argparse.Namespace, source: Source | None) -> Start:
    """The picture and the mask that the command line names, or else those that the file of --from carries.

    Raises ValueError for what cannot be read, and for a mask that is not as large as its picture.
    """
    original, hole, name = _originals(args, source)
    width, height = multiple_of_8(args.width, "width"), multiple_of_8(args.height, "height")
    if hole is not None and hole.size != original.size:
        raise ValueError(
            f"the mask is {hole.width} x {hole.height}, and the picture {original.width} x {original.height}"
        )
    picture = fitted(original, width, height, inside=args.fit)
    if picture.size != original.size:
        sizes = f"from {original.width} x {original.height} to {picture.width} x {picture.height}"
        note(f"note: the picture is scaled and cut {sizes}, multiples of 8")
    hole = hole and fitted(hole, width, height, inside=args.fit)
    if hole is not None and args.feather:
        hole = feathered(hole, args.feather)
    start = Start(name, picture, hole)
    recipe = source and source.recipe
    if recipe and recipe.image and recipe.image.get("sha256") != digest(picture):
        note(f"note: this is not the picture that {source.path} was made from")  # type: ignore[union-attr]
    return start


def _originals(args: argparse.Namespace, source: Source | None) -> tuple[Picture, Picture | None, str]:
    if args.image not in (None, "-"):
        hole = read_mask(args.mask) if args.mask else None if args.no_alpha else read_transparency(args.image)
        return read_picture(args.image), hole, str(args.image).replace("\\", "/").split("/")[-1]
    if source is None or source.recipe is None:
        raise ValueError("name the picture to start from: there is none to take instead")
    if source.recipe.image is None:
        raise ValueError(f"{source.path} was made from a prompt alone: name a picture to start from, or use txt2image")
    name = source.recipe.image.get("name", "its picture")
    picture = source.attached.pictures.get(IMAGE)
    if picture is None:
        raise ValueError(f"{source.path} does not carry the picture that it was made from: name it ({name})")
    hole = read_mask(args.mask) if args.mask else None if args.no_alpha else source.attached.pictures.get(MASK)
    return picture.convert("RGB"), hole and hole.convert("L"), name
