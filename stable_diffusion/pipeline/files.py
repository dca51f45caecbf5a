"""What a PNG file of ours carries: its recipe, the text that other tools read, and what it was made from."""

from dataclasses import replace

from ..pictures.images import Picture, digest
from ..pictures.metadata import Attached
from .parameters import parameters
from .recipe import Recipe

TEXT, RECIPE = "parameters", "stable-diffusion-mlx"  # keywords of texts
IMAGE, MASK = "siMg", "smSk"  # private chunks: the picture and the mask that image-to-image started from


def attached(
    recipe: Recipe, image: Picture | None = None, mask: Picture | None = None, name: str = "", keep: bool = True
) -> Attached:
    """For `pictures.images.save`: everything that makes a picture again.

    image, mask: what it was made from, and the image's name; with keep they lie in the file themselves, or else only
    what they can be known by.
    """
    if image is not None:
        recipe = replace(recipe, image={"name": name, "sha256": digest(image)})
    if mask is not None:
        recipe = replace(recipe, mask={"sha256": digest(mask)})
    pictures = {place: picture for place, picture in ((IMAGE, image), (MASK, mask)) if picture is not None}
    return Attached({TEXT: parameters(recipe), RECIPE: recipe.as_json()}, pictures if keep else {})
