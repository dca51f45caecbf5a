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
    plain: Picture | None  # the same before its edge was softened

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
    plain = hole and fitted(hole, width, height, inside=args.fit)
    if plain is None and args.feather:
        raise ValueError("--feather softens the edge of a mask, and there is none: name one with --mask")
    hole = feathered(plain, args.feather) if plain is not None and args.feather else plain
    start = Start(name, picture, hole, plain)
    recipe = source and source.recipe
    if recipe and recipe.image and recipe.image.get("sha256") != digest(picture):
        note(f"note: this is not the picture that {source.path} was made from")  # type: ignore[union-attr]
    return start


def _originals(args: argparse.Namespace, source: Source | None) -> tuple[Picture, Picture | None, str]:
    """The picture, the mask and the picture's name."""
    recipe = source.recipe if source else None
    if args.image not in (None, "-"):
        picture, name = read_picture(args.image), str(args.image).replace("\\", "/").split("/")[-1]
        hole = None if args.mask or args.no_alpha else read_transparency(args.image)
    else:
        if source is None or recipe is None:
            raise ValueError("name the picture to start from: there is none to take instead")
        if recipe.image is None:
            raise ValueError(
                f"{source.path} was made from a prompt alone: name a picture to start from, or use txt2image"
            )
        name, hole, kept = recipe.image.get("name", "its picture"), None, source.attached.pictures.get(IMAGE)
        if kept is None:
            raise ValueError(f"{source.path} does not carry the picture that it was made from: name it ({name})")
        picture = kept.convert("RGB")
    if args.mask:
        hole = read_mask(args.mask)
    elif hole is None and source and recipe and recipe.mask is not None and not args.no_alpha:
        if MASK not in source.attached.pictures:
            raise ValueError(
                f"{source.path} was made with a mask that it does not carry: name it with --mask, or paint the whole "
                "picture with --no-alpha"
            )
        hole = source.attached.pictures[MASK].convert("L")
    return picture, hole, name
