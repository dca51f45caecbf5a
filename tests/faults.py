"""What is left when a job is killed, stopped, or runs out of disk: whole files, all that were announced, and no others.

Run by hand, `python tests/faults.py`; `.ci/run` does with few `--rounds`. Ends with status 1 where something was lost.
"""

import argparse
import contextlib
import io
import itertools
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import txt2image  # noqa: E402
from stable_diffusion.jobs.record import load_record  # noqa: E402
from stable_diffusion.weights.nets import describe  # noqa: E402

MODEL = str(ROOT / "tests" / "data" / "sd1")
SENT = {signal.SIGKILL: (-9,), signal.SIGINT: (130,), signal.SIGTERM: (143,)}


class Ended(NamedTuple):
    """What a run said, and how it ended."""

    status: int
    out: str
    err: str

    @property
    def began(self) -> bool:
        """Did it come to a line of the program's own, or did the signal end Python itself, as it started?"""
        return self.status not in (-2, -15) and not (self.out == "" and "init_import_site" in self.err)

    @property
    def errors(self) -> list[str]:
        return [line for line in self.err.splitlines() if line.startswith("error: ")]


def started(folder: Path, *words: str, command: str = "txt2image", **more: Any) -> subprocess.Popen[str]:
    """A command in a folder, in a process of its own that takes signals as in a terminal."""
    sketch = str(ROOT / "stable_diffusion" / "demo" / "sketch.png")
    start = ["a house"] if command == "txt2image" else [sketch, "a house"]
    quick = ["--model", MODEL, "--steps", "4", "--seed", "1", "--width", "64", "--height", "64"]
    return subprocess.Popen(
        [sys.executable, str(ROOT / f"{command}.py"), *start, *quick, *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        **{"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), **more},
    )


def ended(process: subprocess.Popen[str], before: str = "") -> Ended:
    try:
        out, err = process.communicate(timeout=300)
    finally:
        process.kill()
    return Ended(process.returncode, before + out, err)


def check_files(folder: Path, announced: str, unfinished: bool = False) -> int:
    """Assert that every file is whole, and that those that were announced are there. Returns how many there are."""
    files = [path for path in folder.iterdir() if path.is_file()]
    for path in files:
        if path.name.startswith(".unfinished-"):
            assert unfinished, f"{path.name} was left behind"
        elif path.suffix == ".safetensors":
            load_record(path)
        else:
            with Image.open(path) as picture:
                for frame in range(getattr(picture, "n_frames", 1)):
                    picture.seek(frame)
                    picture.load()
    names = {path.name for path in files}
    lost = [name for name in announced.split("\n")[:-1] if name not in names]
    assert not lost, f"announced, and not there: {lost}"
    return len(files)


def check_cleared(folder: Path) -> None:
    """Assert that the next run in a folder removes what a process that is gone has left there."""
    words = ["b", "--model", MODEL, "--steps", "1", "--width", "16", "--height", "16", "-o", str(folder / "next.png")]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        assert txt2image.main(words) == 0
    assert not list(folder.glob(".unfinished-*")), "the next run left .unfinished- files"


def signals(sent: signal.Signals, rounds: int, dice: random.Random, folder: Path) -> str:
    """A signal at random moments: of the imports, of the walk, of writing."""
    kept, finished = 0, 0
    for number in range(rounds):
        place = folder / str(number)
        place.mkdir()
        command = dice.choice(["txt2image", "image2image"])
        more = dice.choice([[], ["--save-latents"], ["--animate", "film.webp"], ["--batch-size", "4"]])
        process = started(place, "--n_images", "24", *more, command=command)
        before = ""
        if dice.random() < 0.8:  # once there is something to lose
            assert process.stdout is not None
            before = process.stdout.readline()
            time.sleep(dice.uniform(0, 0.6))
        else:
            time.sleep(dice.uniform(0, 2))
        process.send_signal(sent)
        result = ended(process, before)
        about = f"round {number}, {command} {more}: {result}"
        assert result.status in (0, *SENT[sent]) or not result.began, about
        assert "Traceback" not in result.err or not result.began, about
        kept += check_files(place, result.out, unfinished=sent == signal.SIGKILL)
        finished += result.status == 0
        check_cleared(place)
        shutil.rmtree(place)
    return f"{rounds} rounds, {kept} whole files kept, {finished} had ended before"


def full_disk(folder: Path, rounds: int, **more: Any) -> str:
    """A disk that has no room for all pictures: those that fitted are whole, and the rest is one sentence."""
    kept = 0
    kinds = itertools.product(
        ([], ["--save-latents"], ["--animate", "film.webp"]), ("png", "jpg", "tif", "bmp", "webp")
    )
    runs = list(itertools.islice(kinds, rounds))
    for more_words, ending in runs:
        words = ["-o", f"a.{ending}", "--n_images", "20", "--show_denoising", "1", *more_words]
        result = ended(started(folder, *words, **more))
        assert result.status == 1 and len(result.errors) == 1, result
        assert "can't be written" in result.errors[0] and "Traceback" not in result.err, result
        kept += check_files(folder, result.out)
        for path in folder.iterdir():
            path.unlink()
    return f"{len(runs)} runs, {kept} whole files kept"


def small_disk(rounds: int, folder: Path) -> str:
    with mounted(folder, "size=64k") as disk:
        return full_disk(disk, rounds) if disk else "skipped: no file system can be mounted here"


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path | None]:
    """A small file system in memory for a while; None where that is not allowed."""
    disk = folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        yield None
        return
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def small_files(rounds: int, folder: Path) -> str:
    """Files that may not become as large as a sheet."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (16_000, 16_000))

    return full_disk(folder, rounds, preexec_fn=limit)


def one_name(folder: Path) -> str:
    """Eight processes that all want the same names lose nothing to each other."""
    results = [ended(process) for process in [started(folder, "--n_images", "5", "-o", "a.png") for _ in range(8)]]
    assert all(result.status == 0 for result in results), results
    announced = [name for result in results for name in result.out.split()]
    assert len(set(announced)) == len(announced) == 8 * 6, "two processes announced the same name"
    assert check_files(folder, "".join(result.out for result in results)) == 8 * 6
    return "8 processes, 48 files"


def closed_folder(folder: Path) -> str:
    """A folder that can't be written to is told before any work."""
    if os.geteuid():
        folder.chmod(0o555)
        said = _refused(folder)
        folder.chmod(0o755)
        return said
    with mounted(folder, "ro") as disk:  # to root, all other folders are open
        return _refused(disk) if disk else "skipped: this is root, who may write everywhere"


def _refused(folder: Path) -> str:
    result = ended(started(folder, "-o", "a.png"))
    assert result.status == 1 and result.out == "" and len(result.errors) == 1, result
    said = re.search(r"a\.png can't be written \((Permission denied|Read-only file system)\)", result.errors[0])
    assert said, result
    assert list(folder.iterdir()) == []
    return f"told, {said[1]}"


def converting(folder: Path, target: str) -> subprocess.Popen[str]:
    """The conversion of a small model, in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "stable_diffusion.convert", MODEL, target],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def check_model(folder: Path, target: str, there: bool) -> None:
    """Assert that a model is whole, or not there at all, and that nothing unfinished is left beside it."""
    if (folder / target).exists():
        describe(folder / target)
    else:
        assert not there, f"{target} was announced, and is not there"
    left = [path.name for path in folder.iterdir() if path.name != target]
    assert not left, f"{left} was left behind"


def converts(rounds: int, dice: random.Random, folder: Path) -> str:
    """Signals at random moments of a conversion, some of them twice; what a kill leaves, the next conversion clears."""
    whole = 0
    for number in range(2 * rounds):
        sent, target = dice.choice(list(SENT)), dice.choice(["model.safetensors", "model"])
        place = folder / str(number)
        place.mkdir()
        process = converting(place, target)
        time.sleep(dice.uniform(0.2, 3))
        for _ in range(dice.randint(1, 2)):
            process.send_signal(sent)
        result = ended(process)
        about = f"round {number}, {target}: {result}"
        assert result.status in (0, *SENT[sent]) or not result.began, about
        assert "Traceback" not in result.err or not result.began, about
        whole += (place / target).exists()
        if sent == signal.SIGKILL:
            after = ended(converting(place, "next.safetensors"))
            assert after.status == 0, after
            (place / "next.safetensors").unlink()
        check_model(place, target, there=target in result.out)
        shutil.rmtree(place)
    return f"{2 * rounds} rounds, {whole} models were whole by then"


def one_model(folder: Path) -> str:
    """Of two conversions to one name one wins, and the other says that it is there already."""
    for target in ("model.safetensors", "model"):
        results = [ended(process) for process in [converting(folder, target) for _ in range(2)]]
        assert sorted(result.status for result in results) == [0, 1], results
        (lost,) = [result for result in results if result.status]
        assert lost.errors == [f"error: {target} is there already: name another"], lost
        check_model(folder, target, there=True)
        shutil.rmtree(folder / target) if (folder / target).is_dir() else (folder / target).unlink()
    return "a file and a folder, one winner each"


def flat_memory(folder: Path) -> str:
    """A hundred pictures in one process take no more memory than twenty."""
    process = started(folder, "--n_images", "100")
    assert process.stdout is not None
    sizes = []
    for _ in range(100):
        assert process.stdout.readline(), ended(process)
        said = subprocess.run(["ps", "-o", "rss=", "-p", str(process.pid)], capture_output=True, text=True, check=False)
        sizes.append(int(said.stdout or 0) / 1024)
    result = ended(process)
    assert result.status == 0, result
    early, late = max(sizes[10:20]), max(sizes[90:])
    pictures = 100 * 64 * 64 * 3 / 2**20  # that are kept for the sheet
    assert late - early < 8 + pictures, f"{early:.0f} MiB at 20 pictures, {late:.0f} MiB at 100"
    return f"{early:.0f} MiB at 20 pictures, {late:.0f} MiB at 100"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100, help="of each signal (default: 100)")
    parser.add_argument("--seed", type=int, default=random.randrange(2**31), help="of the moments")
    args = parser.parse_args()
    print(f"--rounds {args.rounds} --seed {args.seed}", flush=True)
    dice = random.Random(args.seed)

    checks: dict[str, Callable[[Path], str]] = {
        **{sent.name: partial(signals, sent, args.rounds, dice) for sent in SENT},
        "64 kB disk": partial(small_disk, args.rounds),
        "files of 16 kB": partial(small_files, args.rounds),
        "eight processes, one name": one_name,
        "read-only folder": closed_folder,
        "convert, signals": partial(converts, args.rounds, dice),
        "convert, twice at once": one_model,
        "100 pictures": flat_memory,
    }
    return sum(_fails(name, check) for name, check in checks.items()) and 1


def _fails(name: str, check: Callable[[Path], str]) -> bool:
    started_at = time.perf_counter()
    with _folder() as folder:
        try:
            said = check(folder)
        except Exception:
            said = f"FAILED\n{traceback.format_exc()}"
    print(f"{name}: {said} ({time.perf_counter() - started_at:.0f} s)", flush=True)
    return said.startswith("FAILED")


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """An empty folder that everybody may look into."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "files").mkdir()
        os.environ["XDG_CACHE_HOME"] = str(folder)
        yield folder / "files"


if __name__ == "__main__":
    sys.exit(main())
