"""The options that both commands share, and the Settings that they make."""

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from ..diffusion.aliases import sampler_name, spacing_name
from ..diffusion.samplers import SAMPLERS, sampler_named
from ..diffusion.spacing import SPACINGS, spacing_named, spacing_options
from ..pictures.images import MULTIPLE
from ..presets import DEFAULT_MODEL, PRESETS
from ..settings import Settings


class Parser(argparse.ArgumentParser):
    """Takes every option with hyphens and with underscores, but shows one of the spellings."""

    def __init__(self, description: str) -> None:
        presets = "\n".join(f"  {name:18} {preset.about}" for name, preset in PRESETS.items())
        super().__init__(
            description=description,
            epilog=f"models that have a name:\n{presets}\n\n"
            "Where no default is named here, it is the model's own. Options can be written with - or _ between words,\n"
            "and a prompt that begins with -- after a word --.",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        spelled = {s.replace("_", "-"): s for s in self._option_string_actions if s.startswith("--")}

        def ours(word: str) -> str:
            name, equals, value = word.partition("=")
            return spelled.get(name.replace("_", "-"), name) + equals + value if word.startswith("--") else word

        words = list(sys.argv[1:] if args is None else args)
        end = words.index("--") if "--" in words else len(words)
        return super().parse_known_args([*map(ours, words[:end]), *words[end:]], namespace)

    def error(self, message: str) -> NoReturn:
        """One line, and not the whole usage before it."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def whole(least: int | None = None, most: int | None = None) -> Callable[[str], int]:
    """A reader of whole numbers between two limits."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a whole number") from None
        if least is not None and value < least:
            raise argparse.ArgumentTypeError(f"{value} is too few: at least {least}")
        if most is not None and value > most:
            raise argparse.ArgumentTypeError(f"{value} is too many: at most {most}")
        return value

    return read


def number(text: str) -> float:
    """A number with a point, maybe."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a number") from None


def _named(reader: Callable[[str], Any]) -> Callable[[str], Any]:
    """A reader whose own sentence is shown where a name is unknown."""

    def read(text: str) -> Any:
        if text == "list":
            return text
        try:
            return reader(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


def _checked_sampler(text: str) -> str:
    sampler_named(sampler_name(text)[0])
    return text


def _checked_spacing(text: str) -> str:
    spacing_named(spacing_name(text))
    return text


_sampler, _spacing = _named(_checked_sampler), _named(_checked_spacing)


def _numbers(text: str) -> tuple[float, ...]:
    """Numbers between commas."""
    return tuple(number(word) for word in text.split(","))


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def samplers_table() -> str:
    """What there is to know of each sampler before choosing one."""
    head = ("sampler", "order", "calls for n steps", "adds noise", "options", "source")
    rows = [
        (name, str(m.order), m.calls, "yes" if m.noise else "no", ", ".join(sorted(m.own_options)), m.source)
        for name, m in SAMPLERS.items()
    ]
    return _table([head, *rows]) + "\n\nOptions are written behind the name, as in unipc:order=3,variant=bh1."


def spacings_table() -> str:
    """What each spacing does, and its options."""
    rows = []
    for name, spacing in SPACINGS.items():
        options = sorted(spacing_options(name) - {"sigma_min", "discard"})
        rows.append((name, ", ".join(options), (spacing.__doc__ or "").splitlines()[0]))
    return _table([("spacing", "options", "levels"), *rows]) + "\n\nAll of them take sigma_min and discard=1 too."


class _OrList(argparse.Action):
    """Stores the value; the word `list` prints what there is instead, and ends."""

    def __init__(self, *args: Any, listing: Callable[[], str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._listing = listing

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, *_: Any) -> None:
        if values == "list":
            print(self._listing())
            parser.exit()
        setattr(namespace, self.dest, values)


_count = whole(1, 10_000)
_side = whole(MULTIPLE, 2**16)


def add_common(parser: Parser) -> None:
    """Everything but the prompt, and what only image-to-image has."""
    add = parser.add_argument_group("the picture").add_argument
    add(
        "--model",
        default=DEFAULT_MODEL,
        help="a name from the list below, a Hugging Face repo, or a folder (default: %(default)s)",
    )
    add("--negative_prompt", default="", metavar="TEXT", help="what the picture should not show")
    add("--seed", type=whole(), metavar="N", help="the same seed gives the same picture; several take N, N + 1, ...")
    add("--n_images", type=_count, default=1, metavar="N", help="how many pictures (default: 1)")
    add("--steps", type=_count, metavar="N", help="how many steps from noise to picture; more are slower and finer")
    add(
        "--cfg",
        type=number,
        metavar="SCALE",
        help="how closely the picture follows the prompt, usually 5 to 10; 1 or 0: without this extra push, in half "
        "the time",
    )
    add("--width", type=_side, metavar="PIXELS", help="a multiple of 8, or the next one below is taken")
    add("--height", type=_side, metavar="PIXELS", help="likewise")

    group = parser.add_argument_group("the way from noise to picture")
    add = group.add_argument
    add(
        "--sampler",
        type=_sampler,
        action=_OrList,
        listing=samplers_table,
        metavar="NAME",
        help="how to move from one noise level to the next; other tools' names are known too, as in 'DPM++ 2M Karras'; "
        "--sampler list shows them all",
    )
    add(
        "--spacing",
        type=_spacing,
        action=_OrList,
        listing=spacings_table,
        metavar="NAME",
        help="which noise levels to visit, perhaps with options, as in karras:rho=5,sigma_min=0.1; "
        "--spacing list shows them all",
    )
    by_hand = group.add_mutually_exclusive_group()
    by_hand.add_argument("--sigmas", type=_numbers, metavar="S,S,...", help="the noise levels themselves, falling")
    by_hand.add_argument("--times", type=_numbers, metavar="T,T,...", help="or their times, from 999 down to 0")
    add(
        "--discretize",
        choices=("none", "timestep", "schedule"),
        default="none",
        help="round to the levels that the model was trained on: timestep rounds only the time that the model is told, "
        "schedule every level (default: none)",
    )
    add(
        "--eta",
        type=number,
        metavar="AMOUNT",
        help="how much fresh noise each step adds, with samplers that do so (1 is their full amount, 0 none)",
    )
    add(
        "--s-churn",
        type=number,
        default=0.0,
        metavar="AMOUNT",
        help="how much noise to add before each step, with euler, heun and dpm2 (default: 0)",
    )
    add("--s-tmin", type=number, default=0.0, metavar="SIGMA", help="add it from this noise level up (default: 0)")
    add("--s-tmax", type=number, default=math.inf, metavar="SIGMA", help="and only up to this one (default: no limit)")
    add(
        "--s-noise",
        type=number,
        default=1.0,
        metavar="FACTOR",
        help="make that noise so many times as strong (default: 1)",
    )
    add(
        "--cfg-rescale",
        type=number,
        metavar="0..1",
        help="take back the contrast that a high --cfg adds",
    )
    add(
        "--clip-skip",
        type=whole(),
        default=0,
        metavar="N",
        help="leave out the last N layers of the text encoder (default: 0)",
    )

    add = parser.add_argument_group("what is written and printed").add_argument
    add(
        "-o",
        "--output",
        default="out.png",
        metavar="FILE",
        help="the picture, or, of several, a sheet with all of them beside out-seed7.png, ... (default: %(default)s)",
    )
    add("--n_rows", type=whole(1), default=1, metavar="N", help="rows of the sheet (default: 1)")
    add("--overwrite", action="store_true", help="replace a file that exists, instead of finding a free name")
    add("--plan", action="store_true", help="print what would be done, and stop")
    add("-pp", "--print_parser", action="store_true", help="print the value of every option first")
    add("-v", "--verbose", action="store_true", help="print the time and memory that it took")

    add = parser.add_argument_group("memory and speed").add_argument
    add(
        "-q",
        "--quantize",
        nargs="?",
        type=whole(),
        const=8,
        choices=(2, 3, 4, 6, 8),
        metavar="BITS",
        help="keep each weight in 2, 3, 4, 6 or 8 bits: less memory, less exact (8 where no number is given)",
    )
    add(
        "--no-float16",
        dest="float16",
        action="store_const",
        const=False,
        help="calculate in full precision (32 bits) on a GPU too",
    )
    add("--batch-size", type=whole(1), metavar="N", help="make so many pictures at the same time (default: all)")
    add(
        "--decoding_batch_size",
        type=whole(1),
        default=1,
        metavar="N",
        help="turn so many latents into pictures at the same time (default: 1)",
    )
    add("--preload-models", action="store_true", help="read all weights before the first step")


def settings_of(args: argparse.Namespace, seed: int) -> Settings:
    """The Settings that a command line asks for. Raises ValueError for a value that no run could have."""
    names: Sequence[str] = (
        "prompt", "negative_prompt", "n_images", "steps", "cfg", "cfg_rescale", "sampler", "spacing", "sigmas", "times",
        "discretize", "eta", "s_churn", "s_tmin", "s_tmax", "s_noise", "clip_skip",
        "strength", "strength_mode", "start_step",
    )  # fmt: skip
    for text in (args.prompt, args.negative_prompt):
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError(f"the prompt {text!r} holds bytes that are no text") from None
    given = {name: getattr(args, name) for name in names if hasattr(args, name)}
    return Settings(**given, seed=seed, image_weight=0.0 if getattr(args, "pure_noise", False) else 1.0)
