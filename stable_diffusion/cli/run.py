"""What both commands do around the library: messages, bars, files, and the exit status."""

import argparse
import os
import random
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import mlx.core as mx
from tqdm import tqdm

from .. import backend
from ..diffusion.plan import Plan
from ..diffusion.samplers import Step
from ..pictures.images import Picture, check_writable, free_stem, grid, multiple, save, to_picture
from ..pipeline import StableDiffusion
from ..settings import CompleteSettings, Settings

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


def seed_of(args: argparse.Namespace) -> int:
    """The seed that was asked for, or a new one, small enough to be typed again."""
    return random.randrange(2**31) if args.seed is None else args.seed


def load_model(args: argparse.Namespace) -> StableDiffusion:
    """The model of the command line, its weights read at once with a bar where that was asked for."""
    sd = StableDiffusion(args.model, float16=args.float16, quantize=args.quantize)
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


def announce(args: argparse.Namespace, plan: Plan, calls: int, settings: CompleteSettings) -> None:
    """The plan in one line: the result where only the plan was asked for."""
    s, last = settings, settings.seed + settings.n_images - 1
    seeds = f"seed {s.seed}" if s.n_images == 1 else f"seeds {s.seed} to {last}"
    times = "1 network call" if calls == 1 else f"{calls} network calls"
    levels = s.spacing if s.sigmas is None else "levels by hand"
    (tell if args.plan else note)(f"{plan}; {s.sampler}, {levels}, {times}; {s.width} x {s.height}, {seeds}")


def parts(settings: Settings, batch_size: int | None) -> Iterator[Settings]:
    """The same pictures in batches; it makes no difference to any of them."""
    size = batch_size or settings.n_images
    for first in range(0, settings.n_images, size):
        yield replace(settings, seed=settings.seed + first, n_images=min(size, settings.n_images - first))


def walked(steps: Iterable[Step], plan: Plan) -> mx.array:
    """Take all steps, with a bar; the latents at the end."""
    last = None
    for last in tqdm(steps, total=plan.steps_run, desc="steps", unit="step", leave=False):
        pass
    assert last is not None
    return last.x


def decoded(sd: StableDiffusion, latents: mx.array, size: int) -> Iterator[Picture]:
    """The pictures of latents, decoded so many at a time, with a bar."""
    size = min(size, latents.shape[0])
    with tqdm(total=latents.shape[0], desc="decoding", unit="picture", leave=False) as bar:
        for first in range(0, latents.shape[0], size):
            for picture in sd.decode(latents[first : first + size]):
                yield to_picture(picture)
                bar.update()


class Output:
    """The files of a run: each picture is written as soon as it is there, a sheet of them at the end.

    One picture gets the name of the sheet. Leaving the context writes the sheet of what there is, also after Ctrl-C.
    Raises ValueError, before anything is made, for a name that can't be written.
    """

    def __init__(self, args: argparse.Namespace, settings: Settings) -> None:
        path = Path(os.path.expanduser(args.output))
        if path.is_dir() or args.output.endswith("/"):
            raise ValueError(f"{path} is a folder: name a file in it, such as {path / 'out.png'}")
        path = path if path.suffix else path.with_suffix(".png")
        n, seed = settings.n_images, settings.seed
        self._endings = [f"-seed{seed + k}" for k in range(n)] if n > 1 else [""]
        check_writable(path.with_stem(path.stem + self._endings[-1]))
        self._overwrite, self._rows = args.overwrite, args.n_rows
        self._path = path if args.overwrite else free_stem(path, self._endings)
        self._pictures: list[Picture] = []

    def __enter__(self) -> "Output":
        return self

    @property
    def count(self) -> int:
        """Pictures that were written."""
        return len(self._pictures)

    def add(self, picture: Picture) -> None:
        """Write the next picture."""
        self._write(picture, self._endings[len(self._pictures)])
        self._pictures.append(picture)

    def beside(self, picture: Picture, k: int | None, ending: str) -> None:
        """Write a picture that belongs to picture k of the run, or to all of it."""
        self._write(picture, ("" if k is None else self._endings[k]) + ending)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if len(self._endings) > 1 and self._pictures:
            self._write(grid(self._pictures, self._rows), "")

    def _write(self, picture: Picture, ending: str) -> None:
        path = self._path.with_stem(self._path.stem + ending)
        path = path if self._overwrite else free_stem(path)  # another run may have taken the name by now
        save(picture, path)
        tell(str(path))
