"""What both commands do around the library: messages, bars, files, and the exit status."""

import argparse
import random
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import mlx.core as mx
from PIL.Image import Image
from tqdm import tqdm

from .. import backend
from ..diffusion.plan import Plan
from ..diffusion.samplers import Step
from ..pictures import images
from ..pipeline import StableDiffusion
from ..settings import CompleteSettings, Settings

INTERRUPTED = 130  # the shell's own status for Ctrl-C


def note(text: str) -> None:
    """One line for the person, out of the way of what may be piped."""
    tqdm.write(text, file=sys.stderr)


def run(command: Callable[[argparse.Namespace], None], args: argparse.Namespace) -> int:
    """Run a command and turn what goes wrong into one sentence and an exit status."""
    warnings.showwarning = lambda message, *_, **__: note(f"note: {message}")
    started = time.perf_counter()
    try:
        if args.print_parser:
            for name, value in sorted(vars(args).items()):
                print(f"{name} = {value!r}")
        if backend.advice:
            note(f"note: {backend.advice}")
        command(args)
    except KeyboardInterrupt:
        note("stopped")
        return INTERRUPTED
    except (ValueError, FloatingPointError, OSError, MemoryError) as error:
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
    if side is None or side % images.MULTIPLE == 0:
        return side
    fitting = side // images.MULTIPLE * images.MULTIPLE
    note(f"note: {name} {side} is not a multiple of {images.MULTIPLE}: taking {fitting}")
    return fitting


def announce(plan: Plan, calls: int, settings: CompleteSettings) -> None:
    """The plan in one line."""
    s, last = settings, settings.seed + settings.n_images - 1
    seeds = f"seed {s.seed}" if s.n_images == 1 else f"seeds {s.seed} to {last}"
    note(f"{plan}; {s.sampler}, {s.spacing}, {calls} network calls; {s.width} x {s.height}, {seeds}")


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


def decoded(sd: StableDiffusion, latents: mx.array, size: int) -> Iterator[Image]:
    """The pictures of latents, decoded so many at a time, with a bar."""
    with tqdm(total=latents.shape[0], desc="decoding", unit="picture", leave=False) as bar:
        for first in range(0, latents.shape[0], size):
            for picture in sd.decode(latents[first : first + size]):
                yield images.to_picture(picture)
                bar.update()


class Output:
    """The files of a run: each picture is written as soon as it is there, a sheet of them at the end.

    One picture gets the name of the sheet. Leaving the context writes the sheet of what there is, also after Ctrl-C.
    """

    def __init__(self, args: argparse.Namespace, settings: Settings) -> None:
        path = Path(args.output).expanduser()
        path = path if path.suffix else path.with_suffix(".png")
        images.check_writable(path)
        self._n_images, self._rows = settings.n_images, args.n_rows
        self._endings = [f"-seed{settings.seed + k}" for k in range(self._n_images)] if self._n_images > 1 else [""]
        self._path = path if args.overwrite else images.free_stem(path, self._endings)
        self._pictures: list[Image] = []

    def __enter__(self) -> "Output":
        return self

    def add(self, picture: Image) -> None:
        """Write the next picture."""
        path = self._path.with_stem(self._path.stem + self._endings[len(self._pictures)])
        images.save(picture, path)
        self._pictures.append(picture)
        print(path)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._n_images > 1 and self._pictures:
            images.save(images.grid(self._pictures, self._rows), self._path)
            print(self._path)
