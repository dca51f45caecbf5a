"""What both commands do around the library: messages, bars, files, and the exit status."""

import argparse
import contextlib
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import mlx.core as mx
from tqdm import tqdm

from .. import backend
from ..pictures.images import Picture, check_writable, free_stem, multiple, save, written
from ..pictures.metadata import Attached
from ..pipeline import StableDiffusion
from ..presets import DEFAULT_MODEL

INTERRUPTED = 130  # the shell's own status for Ctrl-C


def note(text: str) -> None:
    """One line for the person, out of the way of what may be piped."""
    tqdm.write(text, file=sys.stderr)


def tell(text: str) -> None:
    """One line of the result."""
    tqdm.write(text, file=sys.stdout)


def run(command: Callable[[argparse.Namespace], None], args: argparse.Namespace) -> int:
    """Run a command and turn what goes wrong into one sentence and an exit status."""
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *_, **__: note(f"note: {message}")
        try:
            if args.print_parser:
                for name, value in sorted(vars(args).items()):
                    tell(f"{name} = {value!r}")
            if backend.advice:
                note(f"note: {backend.advice}")
            command(args)
        except KeyboardInterrupt:
            note("stopped")
            return INTERRUPTED
        except MemoryError as error:
            note(
                f"error: {error}" if str(error) else "error: there is not enough memory: make fewer or smaller pictures"
            )
            return 1
        except (ValueError, ArithmeticError, OSError, RuntimeError) as error:  # RuntimeError: MLX's own
            note(f"error: {error}")
            return 1
    if args.verbose:
        note(f"{time.perf_counter() - started:.1f} s, at most {mx.get_peak_memory() / 2**30:.2f} GiB of memory")
    return 0


def load_model(args: argparse.Namespace) -> StableDiffusion:
    """The model of the command line, its weights read at once with a bar where that was asked for."""
    sd = StableDiffusion(args.model or DEFAULT_MODEL, float16=args.float16, quantize=args.quantize)
    if args.preload_models:
        for net in tqdm(sd.nets.values(), desc="loading", unit="net", leave=False):
            mx.eval(net.parameters())
    return sd


def multiple_of_8(side: int | None, name: str) -> int | None:
    """A side that pictures can have; says so where it is not the one that was asked for."""
    if side is None or side == multiple(side):
        return side
    note(f"note: {name} {side} is not a multiple of 8: {multiple(side)} is taken")
    return multiple(side)


class Output:
    """The files of a run, each written as soon as it is there, under a name that was free.

    Raises ValueError, before anything is made, for a name that can't be written.
    """

    def __init__(self, args: argparse.Namespace, endings: Sequence[str]) -> None:
        path = Path(os.path.expanduser(args.output))
        if path.is_dir() or args.output.endswith("/"):
            raise ValueError(f"{path} is a folder: name a file in it, such as {path / 'out.png'}")
        path = path if path.suffix else path.with_suffix(".png")
        check_writable(path.with_stem(path.stem + max(endings, key=len)))
        if args.save_prompt and path.suffix.lower() != ".png":
            note(f"note: only .png files keep the settings: {path.name} will not")
        self._overwrite = args.overwrite
        self._path = path if args.overwrite else free_stem(path, endings)

    def write(self, picture: Picture, ending: str, attached: Attached | None = None) -> None:
        """Write a picture under the name of the output with an ending."""
        path = self._free(self._path.with_stem(self._path.stem + ending))
        save(picture, path, attached)
        tell(str(path))

    @contextlib.contextmanager
    def file(self, suffix: str) -> Iterator[Path]:
        """A place to write another kind of file to, under the name of the output."""
        path = self._free(self._path.with_suffix(suffix))
        with written(path) as unfinished:
            yield unfinished
        tell(str(path))

    def _free(self, path: Path) -> Path:
        return path if self._overwrite else free_stem(path)  # another run may have taken the name by now
