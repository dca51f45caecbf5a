"""What is shown of runs, what is kept of them, and how it is drawn."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from ..diffusion.noising import NoisingKind
from ..diffusion.steps import FrameKind
from ..settings import AMOUNT, COUNT
from ..values import Kind, check, declared, number, one_of, plain, rows, thawed, whole
from .kinds import OPTION_ROWS, JobKind, kind_as_json, kind_of

ONE_OR_MORE = whole(1).strictly()


@dataclass(frozen=True, kw_only=True)
class View:
    """All of it. None: nobody asked.

    Raises ValueError, one sentence, for what cannot be drawn.
    """

    # How runs are laid out
    kind: JobKind | None = None  # None: pictures, or what the file of --from says
    n_images: int | None = declared(None, COUNT)  # of a sheet that is to be made again
    batch_size: int | None = declared(
        None,
        ONE_OR_MORE,
        "how many pictures to work on at the same time (default: 1; all of a triangle or a grid)",
        "N",
    )
    decoding_batch_size: int | None = declared(
        None, ONE_OR_MORE, "how many latents to decode at the same time (default: 1)", "N"
    )
    feather: float | None = declared(
        None,
        Kind(number().read, (*number().rules, ("a number above 0", lambda value: 0 < value < 1e6))).strictly(),
        "soften the edge of the mask by so many pixels",
        "PIXELS",
    )
    # What is shown of their steps
    show_denoising: int | None = declared(
        None, ONE_OR_MORE, "a picture of every N-th step, and a strip of them all", "N"
    )
    save_last_N: int | None = declared(
        None, ONE_OR_MORE, "a picture of each of the last N steps, so that you can choose the best", "N"
    )
    frames: FrameKind | None = declared(
        None,
        one_of("noisy", "clean"),
        "show what a step has come to, noise and all, or what it takes for the finished picture (default: noisy)",
    )
    preview: Literal["full", "linear", "taesd"] | None = declared(
        None,
        one_of("full", "linear", "taesd"),
        "linear: quick, coarse pictures of the steps; taesd: quick, good ones, by a small autoencoder from the Hub; "
        "the finished ones are always full (default: full)",
    )
    show_noising: NoisingKind | None = declared(
        None,
        one_of("ray", "chain", "inversion"),
        "a strip of the way from the picture up to the start: with one noise, with noise added bit by bit, or "
        "without noise, by following the model backwards",
    )
    animate: str | None = None  # the file of the film
    html: str | None = None  # and of the page
    # How they are drawn
    triangle_shape: Literal["triangle", "pyramid"] | None = declared(
        None,
        one_of("triangle", "pyramid"),
        "triangle: each row from its noised picture to the finished one; pyramid: each row from the original through "
        "noise to the finished one, the way in being that of --show-noising (default: triangle, ray)",
    )
    n_rows: int | None = declared(None, ONE_OR_MORE, "rows of the sheet (default: 1)", "N")
    triangle_align: Literal["left", "right"] | None = declared(
        None,
        one_of("left", "right"),
        "left: the noised pictures in one column; right: the finished ones (default: left)",
    )
    highlight: float | None = declared(
        None,
        AMOUNT,
        "frame one row of the triangle, with the way that leads to it, and write both as a strip of their own",
        "STRENGTH",
    )
    fps: float | None = declared(
        None,
        Kind(number().read, (*number().rules, ("from 0.1 to 60", lambda value: 0.1 <= value <= 60))).strictly(),
        "pictures of a film per second (default: 8)",
        "N",
    )
    captions: bool = True  # in films
    sheet_size: int | None = declared(
        None, whole(200).strictly(), "longest side of a sheet at most (default: 6000)", "PIXELS"
    )
    details: bool = False  # said of the noise levels before a run
    # What is kept
    latents: bool = False  # of all steps, in a file
    metadata: bool = True  # in the pictures' files
    originals: bool = True  # likewise: the picture that a run started from, and its mask

    def __post_init__(self) -> None:
        check(self, VIEW_ROWS)

    def only(self, *names: str) -> "View":
        """A view of these alone."""
        return View(**{name: getattr(self, name) for name in names})

    def over(self, other: "View") -> "View":
        """This view, and what it does not ask for as the other one has it."""
        missing = [name for name in ("kind", *VIEW_ROWS) if getattr(self, name) is None]
        return replace(self, **{name: getattr(other, name) for name in missing})

    def as_json(self) -> dict[str, Any]:
        """What was asked for, as JSON can hold it: the part that makes a sheet again."""
        asked = {name: plain(value) for name in VIEW_ROWS if (value := getattr(self, name)) is not None}
        return asked if self.kind is None else asked | kind_as_json(self.kind)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "View":
        """The view that `as_json` wrote down. Raises ValueError for what is unknown or impossible."""
        found = thawed(values, VIEW_ROWS | OPTION_ROWS)
        return cls(kind=kind_of(found), **{name: value for name, value in found.items() if name in VIEW_ROWS})


VIEW_ROWS = rows(View)
