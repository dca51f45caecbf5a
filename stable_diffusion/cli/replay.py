"""--from: what a picture's file says of settings, model and view, as far as the command line says nothing else."""

import argparse
from dataclasses import dataclass
from typing import Any

from ..pictures.metadata import Attached, read_attached
from ..pipeline.files import RECIPE, TEXT
from ..pipeline.parameters import read_parameters
from ..pipeline.recipe import Recipe
from ..settings import Settings
from ..weights.checkpoint import CheckpointError
from .run import note

# What a sheet's file says beyond the settings of a run, by the option's name; with the kinds that its values have.
_VIEW: dict[str, type | tuple[type, ...]] = {
    "n_images": int,
    "n_rows": int,
    "perturb": (int, float),
    "generate_triangle": list,
    "triangle_align": str,
    "highlight": (int, float),
    "grid": list,
    "show_denoising": int,
    "save_last_N": int,
    "frames": str,
    "preview": str,
    "show_noising": str,
    "batch_size": int,
    "decoding_batch_size": int,
    "sheet_size": int,
    "feather": (int, float),
}


@dataclass(frozen=True)
class Source:
    """A picture's file."""

    path: str
    settings: Settings
    attached: Attached
    recipe: Recipe | None  # None: another tool's


def read_source(args: argparse.Namespace) -> Source | None:
    """The file of --from; what it says of model and view goes into the options that were not given.

    Raises ValueError, one sentence, for a file that says nothing, or nothing that can be read.
    """
    if args.source is None:
        return None
    path, attached = args.source, read_attached(args.source)
    if RECIPE in attached.texts:
        try:
            recipe = Recipe.from_json(attached.texts[RECIPE])
            view = _view(recipe.view)
        except ValueError as error:
            raise ValueError(f"{path} can't be made again: {error}") from None
        for name, value in _kept(view, args).items():
            if getattr(args, name, value) is None:
                setattr(args, name, value)
        if args.model is None:
            args.model = recipe.model
        if args.float16 is None:
            args.float16 = recipe.float16
        if args.quantize is None:
            args.quantize = recipe.quantize
        return Source(path, recipe.settings, attached, recipe)
    if TEXT in attached.texts:
        return _foreign(args, attached)
    raise ValueError(f"{path} says nothing of how it was made: it carries neither our settings nor another tool's")


def _view(values: Any) -> dict[str, Any]:
    """The view of a recipe, checked. Raises ValueError for what is damaged."""
    view: dict[str, Any] = {}
    for name, value in values.items():
        if name not in _VIEW or not isinstance(value, _VIEW[name]) or isinstance(value, bool):
            raise ValueError(f"its settings are damaged (view: {name} is {value!r})")
        view[name] = value
    try:
        if "generate_triangle" in view:
            view["generate_triangle"] = tuple(float(value) for value in view["generate_triangle"])
        if "grid" in view:
            view["grid"] = [(str(name), tuple(map(_hashable, of))) for name, of in view["grid"]]
    except (TypeError, ValueError) as error:
        raise ValueError(f"its settings are damaged ({error})") from None
    return view


def _kept(view: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """The view without its triangle, grid or family where the command line asks for something else instead."""
    named = {name for name, value in vars(args).items() if value is not None}
    if "generate_triangle" in view:
        gone = named & {"grid", "perturb", "n_images", "strength", "start_step"}
    elif "grid" in view:
        gone = named & {"generate_triangle", "perturb", "n_images", "variation", *(name for name, _ in view["grid"])}
    else:
        gone = named & {"generate_triangle", "grid"}
    layout = ("generate_triangle", "triangle_align", "highlight", "grid", "perturb", "n_images", "n_rows")
    return {name: value for name, value in view.items() if not (gone and name in layout)}


def _hashable(value: Any) -> Any:
    return tuple(map(_hashable, value)) if isinstance(value, list) else value


def _foreign(args: argparse.Namespace, attached: Attached) -> Source:
    """Another tool's picture: as far as its words are known; what is not understood is said."""
    path, found = args.source, read_parameters(attached.texts[TEXT])
    strange, settings = list(found.not_understood), dict(found.settings)
    if not hasattr(args, "image") and "strength" in settings:
        strange.append(f"Denoising strength: {settings.pop('strength'):g} (without a picture to start from)")
    if args.model is None:
        named = f"with the model {found.model!r}" if found.model else "by another tool, which names no model"
        raise ValueError(f"{path} was made {named}: name a model with --model")
    if strange:
        note(f"note: not understood of what {path} says: {'; '.join(strange)}")
    note(f"note: {path} is another tool's: the same settings, but not its noise, so it will be another picture")
    return Source(path, Settings(**settings), attached, None)


def missing_model(source: Source | None, model: str | None, error: CheckpointError) -> CheckpointError:
    """The same error, and where the name of the model came from."""
    if source is None or source.recipe is None or model != source.recipe.model:
        return error
    was = f"{source.path} was made with the model {model!r} ({source.recipe.model_hash[:10]})"
    return CheckpointError(f"{was}, which can't be had: name where it is with --model ({error})")
