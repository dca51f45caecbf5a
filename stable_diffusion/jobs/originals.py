"""What image-to-image starts from: a picture, and perhaps a mask, read and made to fit."""

from collections.abc import Generator
from dataclasses import dataclass
from functools import cached_property

from ..pictures.images import Picture, digest, feathered, fitted, multiple, of_area, to_array, to_mask
from ..pictures.reading import read_mask, read_picture, read_transparency
from ..pipeline import NOTHING, Inputs
from .events import Note
from .replay import Replay


@dataclass(frozen=True, eq=False)
class Originals:
    """Pictures of one size, which a model can work on. A mask without a picture is for perturbations alone."""

    picture: Picture | None = None
    mask: Picture | None = None  # grey: white is to be painted anew
    name: str = ""  # of the picture
    feather: float | None = None  # how far the mask's edge is to be softened, in pixels

    @cached_property
    def soft_mask(self) -> Picture | None:
        """The mask as it is painted through."""
        return feathered(self.mask, self.feather) if self.mask is not None and self.feather else self.mask

    @cached_property
    def arrays(self) -> Inputs:
        """Both as a run takes them."""
        if self.picture is None:
            return NOTHING
        return Inputs(to_array(self.picture), None if self.soft_mask is None else to_mask(self.soft_mask))


def side(pixels: int | None, name: str) -> Generator[Note, None, int | None]:
    """A side that pictures can have; says so where it is not the one that was asked for."""
    if pixels is None or pixels == multiple(pixels):
        return pixels
    yield Note(f"note: {name} {pixels} is not a multiple of 8: {multiple(pixels)} is taken")
    return multiple(pixels)


def read_originals(
    image: str | None,
    mask: str | None,
    replay: Replay | None = None,
    *,
    width: int | None = None,
    height: int | None = None,
    fit: bool = False,
    alpha: bool | None = None,
    feather: float | None = None,
    area: int | None = None,
) -> Generator[Note, None, Originals]:
    """The files of a picture and a mask, or else what the file of a replay carries.

    fit: scale to fit into width x height, instead of filling it. alpha: where no mask is named, the transparent part
    of the picture, or the mask of the replay, is the mask; None: where it is a hole and no mere edge. area: pixels that
    a picture has at the most where neither width nor height is named; None: it keeps its size. Raises ValueError for
    what cannot be read, and for a mask that is not as large as its picture.
    """
    original, hole, name = _pictures(image, mask, replay, alpha)
    width = yield from side(width, "width")
    height = yield from side(height, "height")
    if hole is not None and hole.size != original.size:
        raise ValueError(
            f"the mask is {hole.width} x {hole.height}, and the picture {original.width} x {original.height}"
        )
    large = area is not None and width is None and height is None and original.width * original.height > area
    if large and area is not None:
        width, height = of_area(original, area)
    picture = fitted(original, width, height, inside=fit)
    if large:
        sizes = f"from {original.width} x {original.height} to {picture.width} x {picture.height}"
        yield Note(f"note: the picture is scaled {sizes}, the model's own size: --full-size, --width, --height: larger")
    elif picture.size != original.size:
        sizes = f"from {original.width} x {original.height} to {picture.width} x {picture.height}"
        yield Note(f"note: the picture is scaled and cut {sizes}, multiples of 8")
    plain = hole and fitted(hole, width, height, inside=fit)
    if plain is not None:
        yield _share(plain, "leave --mask out" if mask else "--no-alpha")
    if plain is None and alpha:
        yield Note("note: nothing in the picture is transparent: --alpha does nothing, and all of it is repainted")
    if plain is None and feather:
        raise ValueError("--feather softens the edge of a mask, and there is none: name one with --mask")
    known = replay.recipe.image if replay and replay.recipe else None
    if replay and known and known.get("sha256") != digest(picture):
        yield Note(f"note: this is not the picture that {replay.path} was made from")
    return Originals(picture, plain, name, feather)


def _pictures(
    image: str | None, mask: str | None, replay: Replay | None, alpha: bool | None
) -> tuple[Picture, Picture | None, str]:
    """The picture, the mask and the picture's name."""
    if image not in (None, "-"):
        picture, name = read_picture(image), image.replace("\\", "/").split("/")[-1]
        hole = read_transparency(image, any_at_all=alpha is True) if alpha is not False and not mask else None
    elif replay is None:
        raise ValueError("name the picture to start from: there is none to take instead")
    else:
        picture, name, hole = replay.picture, replay.picture_name, None
    if mask:
        hole = read_mask(mask)
    elif hole is None and replay and alpha is not False:
        hole = replay.mask
    return picture, hole, name


def _share(mask: Picture, remedy: str) -> Note:
    """How much of the picture a mask gives to be repainted, and how to have all of it repainted."""
    share = float(to_mask(mask).mean())
    if share == 0:
        return Note("note: the mask is black everywhere: nothing is repainted")
    if share == 1:
        return Note("note: the mask is white everywhere: all of the picture is repainted")
    return Note(f"note: {share:.2%} of the picture is repainted, the rest is kept ({remedy} to repaint all of it)")
