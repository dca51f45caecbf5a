"""The options of both commands, in groups. Those of settings, views and models come from where these are declared."""

import argparse
from typing import Any

from ..config import TILE
from ..diffusion.noise import slider
from ..jobs.axes import READERS
from ..jobs.kinds import OPTION_ROWS, read_strengths
from ..jobs.model import LORA, MODEL_ROWS, TAUGHT
from ..settings import AMOUNT, ROWS, read_perturbation
from ..values import number
from ..version import __version__
from .parser import DECLARED, Completion, Help, Once, OrList, Parser, reading
from .tables import models_table, samplers_table, spacings_table


def _add(group: Any, *flags: str, dest: str | None = None, **more: Any) -> None:
    """An option that is declared with a setting, a view or a model, under the name of its last flag."""
    name = dest or flags[-1].removeprefix("--").replace("-", "_")
    row = DECLARED[name]
    metavar = row.metavar or f"{{{','.join(row.kind.words)}}}"
    given = {"type": reading(READERS.get(name, row.kind.read)), "metavar": metavar, "help": row.about, "dest": name}
    if "const" in more and "nargs" not in more:  # it takes no value
        del given["type"], given["metavar"]
    group.add_argument(*flags, **{**given, **more})


# What an option is that needs no value.
YES: dict[str, Any] = {"action": "store_const", "const": True}


def add_common(parser: Parser) -> None:
    """Everything but the prompt, and what only image-to-image has."""
    group = parser.add_argument_group("the picture")
    about = MODEL_ROWS["name"].about
    group.add_argument("--model", action=OrList, listing=models_table, metavar="NAME", help=about)
    for flag in ("--negative_prompt", "--seed", "--n_images", "--steps", "--cfg", "--width", "--height"):
        _add(group, flag)
    group.add_argument(
        "--prompts",
        action=Once,
        metavar="FILE",
        help="a picture for each line of a file: a .txt has a prompt a line, with AUTOMATIC1111's or kohya's flags if "
        "you like, a .csv settings in columns, a .jsonl objects of them; - is standard input; --batch-size N works on "
        "N lines at the same time",
    )

    group = parser.add_argument_group("what lies on the model")
    _add(group, "--lora", dest="loras", type=reading(LORA.read), action="append")
    _add(group, "--lora-partial", **YES)
    _add(group, "--lora-dir")
    _add(group, "--embedding", dest="embeddings", type=reading(TAUGHT.read), action="append")
    _add(group, "--vae")
    _add(group, "--prediction")

    group = parser.add_argument_group("the way from noise to picture")
    for flag, listing in (("--sampler", samplers_table), ("--spacing", spacings_table)):
        name = flag.removeprefix("--")
        _add(group, flag, type=reading(READERS[name], besides="list"), action=OrList, listing=listing)
    by_hand = group.add_mutually_exclusive_group()
    _add(by_hand, "--sigmas")
    _add(by_hand, "--times")
    for flag in ("--discretize", "--eta", "--s-churn", "--s-tmin", "--s-tmax", "--s-noise", "--cfg-rescale"):
        _add(group, flag)
    _add(group, "--clip-skip")

    group = parser.add_argument_group("the same picture as another tool's")
    for flag in ("--noise-source", "--start-scale", "--of-batch", "--step-noise-source", "--step-seed-delta"):
        _add(group, flag)
    for flag in ("--variation-seed", "--variation-strength", "--prompt-syntax"):
        _add(group, flag)
    cut, about = group.add_mutually_exclusive_group(), ROWS["cut_prompt"].about
    cut.add_argument("--cut-prompt", action="store_const", const=True, help=about)
    cut.add_argument(
        "--no-cut-prompt", dest="cut_prompt", action="store_const", const=False, help="tell all of it (the default)"
    )

    group = parser.add_argument_group("what is written and printed")
    add = group.add_argument
    add(
        "-o",
        "--output",
        default="out.png",
        metavar="FILE",
        help="where the picture goes; a name that ends in / is a folder. Several pictures go into out-seed7.png, ..., "
        "and a sheet of them into this file (default: %(default)s)",
    )
    _add(group, "--n_rows")
    add("--overwrite", action="store_true", help="replace files that exist, instead of finding a free name")
    save = "write the prompt and all settings into PNG files, so that --from can make them again (the default)"
    add("-sp", "--save_prompt", action="store_true", default=True, help=save)
    add("--no-metadata", dest="save_prompt", action="store_false", help="leave them out")
    add("--plan", action="store_true", help="print what would be done, and stop; loads no weights")
    add("-pp", "--print_parser", action="store_true", help="print the value of every option first")
    add(
        "--print-completion",
        action=Completion,
        choices=("bash", "zsh", "tcsh"),
        help="print what a shell needs to complete these options (needs shtab)",
    )
    add("--version", action="version", version=f"stable-diffusion-mlx {__version__}", help="print the version")
    add(
        "-v",
        "--verbose",
        action="store_true",
        help="print the noise levels before a run, and how long it took and how much memory after it",
    )
    add(
        "-h",
        "--help",
        nargs="?",
        action=Help,
        metavar="all",
        default=argparse.SUPPRESS,
        help="show this page; --help all shows every option",
    )

    group = parser.add_argument_group("memory and speed")
    _add(group, "-q", "--quantize", nargs="?", const=8)
    _add(group, "--tile", nargs="?", const=TILE)
    group.add_argument(
        "--no-float16",
        dest="float16",
        action="store_const",
        const=False,
        help="calculate in full precision (32 bits) on a GPU too",
    )
    for flag in ("--batch-size", "--deep-cache", "--decoding_batch_size"):
        _add(group, flag)
    group.add_argument(
        "--low-memory",
        action="store_true",
        help="have only the net in memory that works: text encoders, UNet and autoencoder in turn; the same pictures, "
        "read anew for each turn; steps are shown when a picture is finished (chosen by itself where there is no room)",
    )
    group.add_argument("--preload-models", action="store_true", help="read all weights before the first step")


def add_start(parser: Parser) -> None:
    """Options of what image-to-image starts from."""
    group = parser.add_argument_group("how much of the picture is kept")
    start, add = group.add_mutually_exclusive_group(), group.add_argument
    _add(start, "--strength")
    _add(start, "--start-step")
    start.add_argument(
        "--start-time",
        type=reading(number(0, 999).strictly().read),
        metavar="T",
        help="start at this time, from 0 to 999, and run all of --steps from there: strength mode full, (T + 1) / 1000",
    )
    _add(group, "--strength-mode")
    add("--mask", action=Once, metavar="FILE", help="a picture of the same size: white is painted anew, black is kept")
    _add(group, "--feather")
    alpha = group.add_mutually_exclusive_group()
    alpha.add_argument(
        "--alpha",
        action="store_const",
        const=True,
        help="repaint whatever is transparent in the picture; by default only a hole in it: at least 0.5 %% of the "
        "picture, wholly transparent, and no mere corners, shadows or specks",
    )
    alpha.add_argument(
        "--no-alpha",
        dest="alpha",
        action="store_const",
        const=False,
        help="paint the whole picture: use neither its transparent part nor the mask in the file of --from as a mask",
    )
    _add(group, "--loopback")
    add(
        "--pure-noise",
        dest="image_weight",
        action="store_const",
        const=0.0,
        help="start from noise alone, without the picture; with a mask, only the masked part does",
    )
    _add(group, "--start")
    _add(group, "--source-prompt")
    add(
        "--fit",
        action="store_true",
        help="scale the picture to fit into --width x --height, instead of filling it; a side that is not named is "
        "that of the model's own pictures",
    )
    add(
        "--full-size",
        action="store_true",
        help="keep the size of the picture; without --width and --height, a larger one than the model's own pictures "
        "is brought to their area",
    )
    add(
        "--no-source",
        dest="originals",
        action="store_false",
        help="do not keep the picture and the mask in the files; --from will then need them",
    )


def add_variations(parser: Parser) -> Any:
    """Options that go on from a picture that is there; the group of them."""
    group = parser.add_argument_group("going on from a picture")
    group.add_argument(
        "--from",
        dest="replay",
        action=Once,
        metavar="PNG",
        help="make the picture in this file again; any option you name takes the place of the file's own",
    )
    amount = group.add_mutually_exclusive_group()
    _add(amount, "--perturb", type=reading(AMOUNT.read), help=OPTION_ROWS["perturb"].about, metavar="AMOUNT")
    amount.add_argument(
        "--variation-slider",
        dest="perturb",
        type=reading(lambda word: slider(AMOUNT.read(word))),
        metavar="V",
        help="the same, on the scale of other tools' variation strength",
    )
    group.add_argument(
        "--variation",
        type=reading(read_perturbation),
        action="append",
        metavar="SEED:AMOUNT",
        help="the one variation with that seed; name several to vary it step by step",
    )
    return group


def add_mask_of_variations(group: Any) -> None:
    """Without a picture to start from, a mask is for variations alone."""
    group.add_argument(
        "--mask",
        action=Once,
        metavar="FILE",
        help="let the variations change only the part that is white in this picture",
    )


def add_frames(parser: Parser) -> None:
    """Options that show the steps of any run."""
    group = parser.add_argument_group("seeing the steps")
    _add(group, "-sd", "--show_denoising")
    _add(group, "--save_last_N")
    _add(group, "--frames")
    group.add_argument(
        "--animate",
        action=Once,
        metavar="FILE",
        help="the steps as a film, and the sheet as it comes about: FILE.webp, .gif, .apng, or .mp4 "
        "with the package imageio-ffmpeg",
    )
    _add(group, "--fps")
    group.add_argument(
        "--no-captions", dest="captions", action="store_false", help="leave the lines under a film's pictures out"
    )
    group.add_argument(
        "--html",
        action=Once,
        metavar="FILE",
        help="one page to explore all of it in, in any browser: every step, every row",
    )
    _add(group, "--preview")
    _add(group, "--grid", nargs="+")
    _add(group, "--sheet-size")
    group.add_argument(
        "--save-latents",
        action="store_true",
        help="write all steps into a .safetensors file too, from which --redraw makes sheets",
    )
    group.add_argument(
        "--redraw",
        action=Once,
        metavar="FILE",
        help="draw the sheet in such a file again, with other options; needs no model",
    )


def add_laboratory(parser: Parser) -> None:
    """Options that show image-to-image."""
    group = parser.add_argument_group("seeing image-to-image")
    _add(group, "--show-noising")
    _add(group, "-gt", "--generate_triangle", nargs="?", const=read_strengths("10"))
    _add(group, "--triangle-shape")
    _add(group, "--triangle-align")
    _add(group, "--highlight")
