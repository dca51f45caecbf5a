"""A picture's file as a request: what it says of settings, model and view."""

import re
from collections.abc import Collection, Generator
from dataclasses import dataclass, field, replace

from ..exchange.likeness import likeness
from ..exchange.tools import ToolsPicture, read_tool
from ..pictures.images import Picture
from ..pictures.metadata import Attached, read_attached
from ..settings import Settings, random_seed
from ..weights.checkpoint import CheckpointError
from ..weights.folders import lora_named
from .events import Note
from .kinds import Pictures
from .model import LoRA, Model
from .recipe import IMAGE, MASK, RECIPE, Batch, Recipe
from .view import VIEW_ROWS, View

_MOST = 40  # names that are not understood, in a note


@dataclass(frozen=True, eq=False)
class Replay:
    """What such a file asks for."""

    path: str
    settings: Settings
    attached: Attached
    model: Model | None = None  # None: it names none that can be loaded
    view: View = field(default_factory=View)
    batch: Batch | None = None
    recipe: Recipe | None = None  # None: another tool's
    tool: str | None = None
    by_model: tuple[str, ...] = ()  # rules for settings of that tool: see jobs.translation
    loras: tuple[LoRA, ...] = ()  # that it names, and --lora-dir has
    no_model: str = ""  # why there is none: the sentence for somebody who does not name one either

    @property
    def picture(self) -> Picture:
        """The picture that it was made from. Raises ValueError where there is none."""
        if self.recipe is None:
            raise ValueError("name the picture to start from: there is none to take instead")
        if self.recipe.image is None:
            raise ValueError(
                f"{self.path} was made from a prompt alone: name a picture to start from, or use txt2image"
            )
        if (kept := self.attached.pictures.get(IMAGE)) is None:
            raise ValueError(
                f"{self.path} does not carry the picture that it was made from: name it ({self.picture_name})"
            )
        return kept.convert("RGB")

    @property
    def picture_name(self) -> str:
        known = self.recipe.image if self.recipe else None
        return (known or {}).get("name", "its picture")

    @property
    def mask(self) -> Picture | None:
        """Its mask, if it was made with one. Raises ValueError where it does not carry it."""
        if self.recipe is None or self.recipe.mask is None:
            return None
        if MASK not in self.attached.pictures:
            raise ValueError(
                f"{self.path} was made with a mask that it does not carry: name it with --mask, or paint the whole "
                "picture with --no-alpha"
            )
        return self.attached.pictures[MASK].convert("L")


def read_replay(path: str, from_image: bool, lora_dir: str | None = None) -> Generator[Note, None, Replay]:
    """The file of a picture; from_image: a picture is to start from one; lora_dir: where LoRAs of its names are.

    Raises ValueError, one sentence, for a file that says nothing, or nothing that can be read.
    """
    attached = read_attached(path)
    if RECIPE in attached.texts:
        try:
            recipe = Recipe.from_json(attached.texts[RECIPE])
        except ValueError as error:
            raise ValueError(f"{path} can't be made again: {error}") from None
        if not from_image and recipe.image is not None:
            raise ValueError(f"{path} was made from a picture: use image2image with --from")
        model = replace(recipe.model, named_by=path)
        return Replay(path, recipe.settings, attached, model, recipe.view, recipe.batch, recipe)
    try:
        picture = read_tool(attached.texts)
    except ValueError as error:
        raise ValueError(f"{path} says nothing of how it was made: {error}") from None
    return (yield from _of_tool(path, attached, picture, from_image, lora_dir))


def _of_tool(
    path: str, attached: Attached, picture: ToolsPicture, from_image: bool, lora_dir: str | None
) -> Generator[Note, None, Replay]:
    """Another tool's picture."""
    found = picture.said
    strange = list(found.not_understood)
    settings = {"seed": random_seed(), **found.settings}  # where it says none, or -1, any will do
    if not from_image and "strength" in settings:
        strange.append(f"Denoising strength: {settings.pop('strength'):g} (without a picture to start from)")
    alike = likeness(picture.tool, settings) if "seed" in found.settings else None
    if alike is not None:
        settings |= alike.settings
    loras = []
    for entry in found.loras:
        try:
            loras.append(_found(entry, lora_dir))
        except CheckpointError as error:
            strange.append(f"the LoRA {_amounts(entry)} ({error})")
    if strange:
        more = f"; and {len(strange) - _MOST} more" if len(strange) > _MOST else ""
        yield Note(f"note: not understood of what {path} says: {'; '.join(strange[:_MOST])}{more}")
    if loras:
        taken = ", ".join(_amounts((name, unet, text)) for name, unet, text, _ in loras)
        yield Note(f"note: with the LoRAs that {path} names, unless --lora names others: {taken}")
    whose = f"{path} is {picture.tool}" + (f" ({picture.read})" if picture.read else "")
    if alike is not None:
        yield Note(f"note: {whose}; {alike}")
    else:
        yield Note(f"note: {whose}: the same settings, but not its noise, so it will be another picture")
    named = f"with the model {found.model!r}" if found.model else "by another tool, which names no model"
    return Replay(
        path,
        Settings(**settings),
        attached,
        tool=picture.tool,
        by_model=(*found.by_model, *(alike.by_model if alike else ())),
        loras=tuple(loras),
        no_model=f"{path} was made {named}: name a model with --model",
    )


def _found(entry: tuple[str, float, float], folder: str | None) -> LoRA:
    """A LoRA that another tool's file names, in a folder. Raises CheckpointError where it isn't there."""
    called, unet, text = entry
    if folder is None:
        raise CheckpointError("--lora-dir names the folder that it is in")
    plain = re.sub(r"(?i)\.(safetensors|ckpt|pt|bin)$", "", called.replace("\\", "/"))
    last = plain.rpartition("/")[2]
    try:
        file = lora_named(plain, folder)
    except CheckpointError:
        file = lora_named(last, folder)  # it may lie in another folder here
    return str(file), unet, text, None


def _amounts(entry: tuple[str, float, float]) -> str:
    name, unet, text = entry
    return f"{name[:100]} {unet:g}" + (f" (text {text:g})" if text != unet else "")


def remaining(view: View, asked: View, named: Collection[str]) -> View:
    """A file's view without its kind of job, and how that is drawn, where somebody asks for something else instead.

    asked: what is asked for; named: the settings that have been given other values.
    """
    own, other = view.kind or Pictures(), asked.kind or view.kind or Pictures()
    if type(own) is type(other) and not own.contradicts & set(named):
        return view
    return view.only(*(VIEW_ROWS.keys() - {"triangle_shape", "triangle_align", "highlight", "n_images", "n_rows"}))
