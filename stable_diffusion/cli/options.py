"""The options that both commands share, and the Settings that they make."""

import argparse
import math
import sys
from collections.abc import Sequence
from typing import Any

from ..diffusion.samplers import SAMPLERS
from ..diffusion.spacing import SPACINGS
from ..pictures.images import MULTIPLE
from ..presets import DEFAULT_MODEL, PRESETS
from ..settings import Settings


class Parser(argparse.ArgumentParser):
    """Takes every option with hyphens and with underscores, but shows one of the spellings."""

    def __init__(self, description: str) -> None:
        presets = "\n".join(f"  {name:18} {preset.about}" for name, preset in PRESETS.items())
        super().__init__(
            description=description,
            epilog=f"models that have a name:\n{presets}",
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


def _side(text: str) -> int:
    """A width or a height in pixels, of which a multiple of 8 can be made."""
    value = int(text)
    if value < MULTIPLE:
        raise argparse.ArgumentTypeError(f"{value} pixels are too few: at least {MULTIPLE}")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is too few: at least 1")
    return value


def add_common(parser: Parser) -> None:
    """Everything but the prompt, and what only image-to-image has."""
    add = parser.add_argument_group("the picture").add_argument
    add(
        "--model",
        default=DEFAULT_MODEL,
        help="a name from below, a Hugging Face repo, or a folder (default: %(default)s)",
    )
    add("--negative_prompt", default="", metavar="TEXT", help="what the picture should not show")
    add("--seed", type=int, default=None, help="picture k has seed + k; without it, a new seed each time")
    add("--n_images", type=_count, default=1, metavar="N", help="how many pictures (default: 1)")
    add("--steps", type=_count, metavar="N", help="how many steps from noise to picture")
    add(
        "--cfg",
        type=float,
        metavar="SCALE",
        help="how strongly the prompt steers; 1 or 0: not at all more than the model itself",
    )
    add("--width", type=_side, metavar="PIXELS")
    add("--height", type=_side, metavar="PIXELS")

    add = parser.add_argument_group("the way from noise to picture").add_argument
    add("--sampler", choices=sorted(SAMPLERS), help="how to move from one noise level to the next")
    add("--spacing", choices=sorted(SPACINGS), help="which noise levels to visit")
    add("--eta", type=float, help="how much noise euler_a (usually 1) and ddim (usually 0) add at each step")
    add("--s-churn", type=float, default=0.0, help="how much noise euler and heun add at each step (default: 0)")
    add("--s-tmin", type=float, default=0.0, metavar="SIGMA", help="add it only at noise levels from here (default: 0)")
    add("--s-tmax", type=float, default=math.inf, metavar="SIGMA", help="and up to here (default: all)")
    add("--s-noise", type=float, default=1.0, help="the strength of that noise (default: 1)")
    add(
        "--cfg-rescale",
        type=float,
        default=0.0,
        metavar="0..1",
        help="take back the contrast that a high --cfg adds (default: 0)",
    )
    add(
        "--clip-skip",
        type=int,
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
        help="the picture, or a sheet of all of them (default: %(default)s)",
    )
    add("--n_rows", type=_count, default=1, metavar="N", help="rows of the sheet (default: 1)")
    add("--overwrite", action="store_true", help="replace files that exist, instead of finding a free name")
    add("--plan", action="store_true", help="print what would be done, and stop")
    add("-pp", "--print_parser", action="store_true", help="print all settings first")
    add("-v", "--verbose", action="store_true", help="print times and memory at the end")

    add = parser.add_argument_group("memory and speed").add_argument
    add(
        "-q",
        "--quantize",
        nargs="?",
        type=int,
        const=8,
        choices=(2, 3, 4, 6, 8),
        metavar="BITS",
        help="keep the weights in so many bits (8 when no number is given)",
    )
    add("--no-float16", dest="float16", action="store_const", const=False, help="full precision, also on a GPU")
    add("--batch-size", type=_count, metavar="N", help="pictures to work on at the same time (default: all)")
    add(
        "--decoding_batch_size",
        type=_count,
        default=1,
        metavar="N",
        help="pictures to decode at the same time (default: 1)",
    )
    add("--preload-models", action="store_true", help="read all weights before the first step")


def settings_of(args: argparse.Namespace, seed: int) -> Settings:
    """The Settings that a command line asks for. Raises ValueError for a value that no run could have."""
    names: Sequence[str] = (
        "prompt", "negative_prompt", "n_images", "steps", "cfg", "cfg_rescale", "sampler", "spacing", "eta",
        "s_churn", "s_tmin", "s_tmax", "s_noise", "clip_skip", "strength", "strength_mode", "start_step",
    )  # fmt: skip
    given = {name: getattr(args, name) for name in names if hasattr(args, name)}
    return Settings(**given, seed=seed, image_weight=0.0 if getattr(args, "pure_noise", False) else 1.0)
