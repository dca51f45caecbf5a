"""The command that makes another form of a model: python -m stable_diffusion.convert."""

import argparse
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx

from ..jobs.events import Event, Note, Written
from ..jobs.model import LORA, MODEL_ROWS
from ..pipeline import StableDiffusion
from ..weights.checkpoint import CheckpointError
from ..weights.family import UNET
from ..weights.kinds import what_is
from ..weights.pickles import read_pickle
from ..weights.repo import ENDING
from ..weights.saving import write_tensors
from ..weights.tensors import read_header
from ..whole import folder_beside
from .parser import reading
from .terminal import run

PICKLES = (".ckpt", ".pt", ".pth", ".bin")
DTYPES = {"float32": mx.float32, "float16": mx.float16, "bfloat16": mx.bfloat16}


def convert(argv: Sequence[str] | None, ready: Callable[[], None] = lambda: None) -> int:
    """A model, or an embedding, in another form. Returns the exit status; ready: called before the work begins."""
    parser = argparse.ArgumentParser(
        prog="python -m stable_diffusion.convert",
        description="Make a folder in the diffusers layout, or one .safetensors file, of a model in any form.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("source", help="a model as --model takes it, or a .ckpt or .pt, which is read without running it")
    add("target", help=f"a file that ends in {ENDING}, or else a folder; neither may be there already")
    add("--dtype", choices=sorted(DTYPES), help="the numbers to write (default: as they are, half precision for fp8)")
    for flag, dest, kind in (("--lora", "loras", reading(LORA.read)), ("--vae", "vae", str)):
        more: dict[str, Any] = {"action": "append"} if dest == "loras" else {}
        add(flag, dest=dest, type=kind, metavar=MODEL_ROWS[dest].metavar, help=MODEL_ROWS[dest].about, **more)
    add("--lora-partial", action="store_true", help=MODEL_ROWS["lora_partial"].about)
    quantize = MODEL_ROWS["quantize"]
    add("-q", "--quantize", nargs="?", const=8, type=reading(quantize.kind.read), metavar="BITS", help=quantize.about)
    add("--prediction", choices=MODEL_ROWS["prediction"].kind.words, help=MODEL_ROWS["prediction"].about)
    args = parser.parse_args(argv)
    ready()
    return run(lambda: _converted(args))


def _converted(args: argparse.Namespace) -> Generator[Event, None, None]:
    target, source = Path(args.target).expanduser(), Path(args.source).expanduser()
    if target.suffix.lower() in PICKLES:
        raise CheckpointError(f"{target}: pickles are read here and not written: name a {ENDING} file, or a folder")
    if target.exists() and (target.is_file() or any(target.iterdir())):
        raise CheckpointError(f"{target} is there already: name another")
    if source.suffix.lower() not in PICKLES or source.is_dir():
        yield from _saved(args, args.source, target)
        return
    tensors = read_pickle(source)
    if not tensors:
        raise CheckpointError(f"{source} has no tensors")
    if not any(name.startswith(UNET) for name in tensors):
        yield from _extra(args, source, target, tensors)
        return
    with folder_beside(target) as folder:
        file = folder / f"{source.stem}{ENDING}"
        write_tensors(file, tensors)
        del tensors
        yield from _saved(args, str(file), target)


def _extra(
    args: argparse.Namespace, source: Path, target: Path, tensors: dict[str, mx.array]
) -> Generator[Event, None, None]:
    """A LoRA, an embedding or an autoencoder: the same tensors in a file that nothing can be run by."""
    if target.suffix.lower() != ENDING:
        raise CheckpointError(f"{source} is no whole model, and has no form as a folder: name a {ENDING} file")
    for flag, value in (("--lora", args.loras), ("--vae", args.vae), ("--quantize", args.quantize)):
        if value:
            raise CheckpointError(f"{source} is no whole model: leave {flag} out")
    if len(tensors) == 1 and (name := next(iter(tensors))).startswith("string_to_param."):
        tensors = {"emb_params": tensors[name]}
    if args.dtype:
        floats = {name: array.astype(DTYPES[args.dtype]) for name, array in tensors.items() if _is_float(array)}
        tensors = tensors | floats
    write_tensors(target, tensors)
    yield Note(f"note: {source.name} is {what_is(read_header(target))}")
    yield Written(target)


def _is_float(array: mx.array) -> bool:
    return bool(mx.issubdtype(array.dtype, mx.floating))


def _saved(args: argparse.Namespace, source: str, target: Path) -> Generator[Event, None, None]:
    sd = StableDiffusion(
        source, float16=False, quantize=args.quantize, loras=[entry[:3] for entry in args.loras or ()], vae=args.vae,
        prediction=args.prediction, lora_partial=args.lora_partial,
    )  # fmt: skip
    yield from (Note(f"note: {said}") for said in sd.notes)
    if said := sd.save(target, DTYPES[args.dtype] if args.dtype else "read"):
        some = ", ".join(said[:4]) + (f" and {len(said) - 4} more" if len(said) > 4 else "")
        yield Note(f"note: other tools will read this file as a different model: its form cannot tell them {some}")
    yield Written(target)
