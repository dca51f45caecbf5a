"""The options of both commands, in groups."""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from ..diffusion.noise import slider
from ..diffusion.samplers import SAMPLERS
from ..diffusion.spacing import SPACINGS, spacing_options
from ..pictures.images import MULTIPLE
from ..presets import DEFAULT_MODEL, PRESETS
from .readers import a_sampler, a_spacing, above_0, axis, number, numbers, share, strengths, variation, whole


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
        help=f"a name from the list below, a Hugging Face repo, or a folder (default: {DEFAULT_MODEL})",
    )
    add("--negative_prompt", metavar="TEXT", help="what the picture should not show")
    add("--seed", type=whole(), metavar="N", help="the same seed gives the same picture; several take N, N + 1, ...")
    add("--n_images", type=_count, metavar="N", help="how many pictures (default: 1)")
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
        type=a_sampler,
        action=_OrList,
        listing=samplers_table,
        metavar="NAME",
        help="how to move from one noise level to the next; other tools' names are known too, as in 'DPM++ 2M Karras'; "
        "--sampler list shows them all",
    )
    add(
        "--spacing",
        type=a_spacing,
        action=_OrList,
        listing=spacings_table,
        metavar="NAME",
        help="which noise levels to visit, perhaps with options, as in karras:rho=5,sigma_min=0.1; "
        "--spacing list shows them all",
    )
    by_hand = group.add_mutually_exclusive_group()
    by_hand.add_argument("--sigmas", type=numbers, metavar="S,S,...", help="the noise levels themselves, falling")
    by_hand.add_argument("--times", type=numbers, metavar="T,T,...", help="or their times, from 999 down to 0")
    add(
        "--discretize",
        choices=("none", "timestep", "schedule"),
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
        metavar="AMOUNT",
        help="how much noise to add before each step, with euler, heun and dpm2 (default: 0)",
    )
    add("--s-tmin", type=number, metavar="SIGMA", help="add it from this noise level up (default: 0)")
    add("--s-tmax", type=number, metavar="SIGMA", help="and only up to this one (default: no limit)")
    add(
        "--s-noise",
        type=number,
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
    add("--n_rows", type=whole(1), metavar="N", help="rows of the sheet (default: 1)")
    add("--overwrite", action="store_true", help="replace a file that exists, instead of finding a free name")
    save = "write the prompt and all settings into PNG files, so that --from can make them again (the default)"
    add("-sp", "--save_prompt", action="store_true", default=True, help=save)
    add("--no-metadata", dest="save_prompt", action="store_false", help="leave them out")
    add("--plan", action="store_true", help="print what would be done, and stop; loads no weights")
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
    add(
        "--batch-size",
        type=whole(1),
        metavar="N",
        help="make so many pictures at the same time (default: 1; all of a triangle or a grid)",
    )
    add(
        "--decoding_batch_size",
        type=whole(1),
        metavar="N",
        help="turn so many latents into pictures at the same time (default: 1)",
    )
    add("--preload-models", action="store_true", help="read all weights before the first step")


def add_start(parser: Parser) -> None:
    """Options of what image-to-image starts from."""
    group = parser.add_argument_group("how much of the picture is kept")
    start, add = group.add_mutually_exclusive_group(), group.add_argument
    start.add_argument(
        "--strength",
        type=number,
        metavar="0..1",
        help="how much may change: 0 nothing, 1 nearly everything",
    )
    start.add_argument(
        "--start-step", type=whole(), metavar="K", help="instead of a strength: leave out the first K of the steps"
    )
    add(
        "--strength-mode",
        choices=("level", "skip", "full"),
        help="level: start at exactly the noise of this strength, with fewer steps; full: start there, with all steps; "
        "skip: lay the steps of a whole run, and leave out the first ones (default: level)",
    )
    add("--mask", metavar="FILE", help="a picture of the same size: white is painted anew, black is kept as it is")
    add("--feather", type=above_0, metavar="PIXELS", help="soften the edge of the mask")
    add(
        "--no-alpha",
        action="store_true",
        help="paint the whole picture: take neither its transparent part nor the mask in the file of --from for a mask",
    )
    add(
        "--pure-noise",
        dest="image_weight",
        action="store_const",
        const=0.0,
        help="start from noise alone, without the picture; with a mask, so inside it",
    )
    add(
        "--start",
        choices=("noise", "inversion"),
        help="noise: from the picture with noise on it; inversion: from where the model itself, followed backwards, "
        "leads from the picture, so that more of it stays (default: noise)",
    )
    add("--source-prompt", metavar="TEXT", help="for the inversion: what the picture shows (default: nothing is said)")
    add("--fit", action="store_true", help="scale the picture to fit into --width x --height, instead of filling it")
    add(
        "--no-source",
        dest="source_picture",
        action="store_false",
        help="do not keep the picture and the mask in the files; --from will then need them",
    )


def add_variations(parser: Parser) -> argparse._ArgumentGroup:
    """Options that go on from a picture that is there; the group of them."""
    group = parser.add_argument_group("going on from a picture")
    add = group.add_argument
    add(
        "--from",
        dest="source",
        metavar="PNG",
        help="make this picture again, from what its file says; every option that is named takes the place of its own",
    )
    amount = group.add_mutually_exclusive_group()
    amount.add_argument(
        "--perturb",
        type=share,
        metavar="AMOUNT",
        help="a variation of the picture, or --n_images of them: 0.05 is nearly the same, 1 is another one",
    )
    amount.add_argument(
        "--variation-slider",
        dest="perturb",
        type=lambda text: slider(share(text)),
        metavar="V",
        help="the same, in the measure of other tools' variation strength",
    )
    add(
        "--variation",
        type=variation,
        action="append",
        metavar="SEED:AMOUNT",
        help="the one variation of that seed; again for variations of variations",
    )
    return group


def add_frames(parser: Parser) -> None:
    """Options that show the steps of any run."""
    add = parser.add_argument_group("seeing the steps").add_argument
    add(
        "-sd",
        "--show_denoising",
        type=whole(1),
        metavar="N",
        help="a picture of every N-th step, and a strip of them all",
    )
    add("--save_last_N", type=whole(1), metavar="N", help="a picture of each of the last N steps, to choose the best")
    add(
        "--frames",
        choices=("noisy", "clean"),
        help="show what a step has come to, noise and all, or what it takes for the finished picture (default: noisy)",
    )
    add("--animate", metavar="FILE", help="the steps as an animation: FILE.webp or FILE.gif")
    add(
        "--preview",
        choices=("full", "linear"),
        help="linear: quick and coarse pictures of the steps; the finished ones are always full (default: full)",
    )
    add(
        "--grid",
        type=axis,
        nargs="+",
        metavar="SETTING=A,B",
        help="a sheet over one or two settings, as in --grid sampler=euler,heun cfg=3,7.5; with | for the comma where "
        "values have commas",
    )
    add("--sheet-size", type=whole(200), metavar="PIXELS", help="longest side of a sheet at most (default: 6000)")
    add(
        "--save-latents",
        action="store_true",
        help="write all steps into a .safetensors file too, from which --redraw makes sheets",
    )
    add("--redraw", metavar="FILE", help="make the sheet of such a file again, with other options, without the model")


def add_laboratory(parser: Parser) -> None:
    """Options that show image-to-image."""
    add = parser.add_argument_group("seeing image-to-image").add_argument
    add(
        "--show-noising",
        choices=("ray", "chain", "inversion"),
        help="a strip of the way from the picture up to the start: with one noise, with noise added bit by bit, or "
        "without noise, by following the model backwards",
    )
    add(
        "-gt",
        "--generate_triangle",
        nargs="?",
        const="0.2,0.4,0.6,0.8,1",
        type=strengths,
        metavar="STRENGTHS",
        help="a sheet of all steps at many strengths: 0.1,0.5,0.9, or 0.1:1:0.1 from, to and by, or 5 for five of them "
        "up to 1 (default: 5); -sd N shows every N-th step",
    )
    add(
        "--triangle-align",
        choices=("left", "right"),
        help="left: the noised pictures in one column; right: the finished ones (default: left)",
    )
    add(
        "--highlight",
        type=share,
        metavar="STRENGTH",
        help="frame one row of the triangle, with the way that leads to it, and write both as a strip of their own",
    )
