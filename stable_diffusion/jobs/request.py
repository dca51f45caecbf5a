"""What a person asks for, as one value, whoever asks: a command line, a picture's file, a server, a program."""

from dataclasses import dataclass, field

from ..settings import Perturbation, Settings
from .lines import Line
from .model import Model
from .originals import Originals
from .recipe import Batch
from .view import View


@dataclass(frozen=True, kw_only=True)
class Request:
    """All of it. Nothing below changes one: what is decided on the way is in a Layout, what is made in a Record."""

    settings: Settings = field(default_factory=Settings)
    inputs: Originals | None = None
    model: Model = field(default_factory=Model)
    view: View = field(default_factory=View)
    lines: tuple[Line, ...] = ()  # of a file of prompts, each with settings of its own, instead of the settings above
    variations: tuple[Perturbation, ...] = ()  # to add to the settings' lineage; they keep to the mask, if there is one
    batch: Batch | None = None  # the runs that the picture to be made again shared its network calls with
    tool: str | None = None  # whose picture it is, where it is another tool's
    by_model: tuple[str, ...] = ()  # rules for settings of that tool that mean another thing with each family
