"""A job shared by several processes on this machine, as mlx.launch starts them; and what happens where one fails."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from PIL import Image

from stable_diffusion.jobs.ranks import LOST
from tests.commands import SD1, img, made, pixels, same, txt

ROOT = Path(__file__).parents[1]
WORDS = ("a house", "--model", SD1, "--steps", "4", "--sampler", "euler", "--width", "32", "--height", "32")
PATIENCE = 120  # seconds until what hangs is a failure

pytestmark = pytest.mark.skipif(
    not mx.distributed.is_available("ring"), reason="MLX has no ring here for processes to talk in"
)


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)).save("in.png")


def started(
    *words: str, script: str = "txt2image", patches: Mapping[int, str] = {}, n: int = 2
) -> list[subprocess.Popen[str]]:
    """n processes of a command that share a job. patches: lines that some of them run before it."""
    free = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    Path("hosts.json").write_text(json.dumps([[f"127.0.0.1:{s.getsockname()[1]}"] for s in free]))
    for server in free:
        server.close()
    found = []
    for rank in range(n):
        code = f"import sys, {script}\n{patches.get(rank, '')}\nsys.exit({script}.main({list(words)!r}))"
        env = os.environ | {"PYTHONPATH": str(ROOT), "MLX_RANK": str(rank), "MLX_HOSTFILE": "hosts.json"}
        out = subprocess.PIPE
        found.append(subprocess.Popen([sys.executable, "-c", code], env=env, stdout=out, stderr=out, text=True))
    return found


def ended(ranks: list[subprocess.Popen[str]]) -> list[tuple[int, str, str]]:
    """(exit status, standard output, standard error) of each."""
    try:
        said = [rank.communicate(timeout=PATIENCE) for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    return [(rank.returncode, out, err) for rank, (out, err) in zip(ranks, said, strict=True)]


def own(err: str) -> list[str]:
    """What a command itself says: no bars, and not MLX's own words."""
    return [
        line
        for line in err.replace("\r", "\n").split("\n")
        if line.strip() and "step/s" not in line and "[ring]" not in line
    ]


def dying(after: int, how: str) -> str:
    """Lines that let a rank do something in the middle of its walk, after so many of its steps."""
    return f"""
import os, time, stable_diffusion
from itertools import islice
whole = stable_diffusion.StableDiffusion.walk
def walk(self, *args):
    yield from islice(whole(self, *args), {after})
    {how}
stable_diffusion.StableDiffusion.walk = walk
"""


def test_shared_pictures_are_the_same_to_the_bit_and_the_first_rank_alone_speaks() -> None:
    (status, out, err), second = ended(started(*WORDS, "--n_images", "3", "-o", "shared.png"))
    assert status == 0 and second == (0, "", "")
    seed = int(err.split("seeds ")[1].split()[0])  # a random one, of the first rank
    files = ["shared.png", *(f"shared-seed{seed + k}.png" for k in range(3))]
    assert made(("in.png", "hosts.json")) == sorted(files) and sorted(out.split()) == sorted(files)
    assert "3 pictures are shared by 2 ranks" in err
    assert txt("a house", "--seed", str(seed), "--n_images", "3", "-o", "alone.png") == 0
    assert all(same(name, name.replace("shared", "alone")) for name in files)


def test_a_shared_triangle_is_that_of_one_process_and_its_rows_can_be_made_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ("--seed", "3", "-gt", "0.25,0.5,0.75,1")
    inputs = ("in.png", "a house", "--model", SD1, "--steps", "4", "--sampler", "euler")
    first, *others = ended(started(*inputs, *words, "-o", "shared.png", script="image2image", n=3))
    assert first[0] == 0 and others == [(0, "", "")] * 2
    assert img("in.png", "a house", *words, "-o", "alone.png") == 0
    for ending in ("-triangle", "-strength0.25", "-strength0.5", "-strength0.75", "-strength1"):
        assert np.abs(pixels(f"shared{ending}.png") - pixels(f"alone{ending}.png")).max() <= 1
    assert img("--from", "shared-strength1.png", "-o", "again.png") == 0
    assert same("again.png", "shared-strength1.png")
    assert "made together with 1 others" in capsys.readouterr().err  # of its own rank


def test_more_ranks_than_pictures_and_a_loopback() -> None:
    first, second = ended(started(*WORDS, "--seed", "1", "-o", "shared.png"))
    assert first[0] == 0 and second == (0, "", "")
    assert "nothing in this job can be shared" in first[2]
    inputs = ("in.png", "a house", "--model", SD1, "--steps", "2", "--seed", "1")
    first, second = ended(started(*inputs, "--loopback", "2", "-o", "loop.png", script="image2image"))
    assert first[0] == 0 and second == (0, "", "") and Path("loop-round2.png").exists()


def test_a_rank_that_dies_ends_the_run_and_what_is_finished_is_saved() -> None:
    first, second = ended(
        started(*WORDS, "--seed", "1", "--n_images", "4", "-o", "out.png", patches={1: dying(6, "os._exit(9)")})
    )
    assert second[0] == 9
    assert first[0] == 1 and own(first[2])[-1] == f"error: {LOST}"
    assert {"out-seed1.png", "out-seed2.png", "out.png"} <= set(made()) and "out-seed4.png" not in made()


def test_a_rank_that_fails_says_why_through_the_first() -> None:
    failing = dying(2, "raise FloatingPointError('step 3 gave a NaN')")
    first, second = ended(started(*WORDS, "--seed", "1", "--n_images", "2", patches={1: failing}))
    assert first[0] == 1 and own(first[2])[-1] == "error: rank 1: step 3 gave a NaN"
    assert second == (0, "", "")


def test_where_the_first_fails_all_end() -> None:
    failing = dying(2, "raise FloatingPointError('step 3 gave a NaN')")
    first, second = ended(started(*WORDS, "--seed", "1", "--n_images", "2", patches={0: failing}))
    assert first[0] == 1 and own(first[2])[-1] == "error: step 3 gave a NaN"
    assert second == (0, "", "")


def test_what_is_wrong_for_all_is_said_once() -> None:
    first, second = ended(started(*WORDS, "--eta", "0.5"))
    assert first[0] == 1 and [line for line in own(first[2]) if line.startswith("error: ")] == own(first[2])[-1:]
    assert "has no eta" in first[2] and second == (0, "", "")


def test_a_rank_that_says_nothing_is_not_waited_for_without_end() -> None:
    patches = {
        0: "import stable_diffusion.jobs.ranks as r\nr.SHORT, r.SLOWER = 3.0, 0.0",
        1: dying(2, "time.sleep(10000)"),
    }
    ranks = started(*WORDS, "--seed", "1", "--n_images", "4", "-o", "out.png", patches=patches)
    _, err = ranks[0].communicate(timeout=PATIENCE)
    ranks[1].kill()
    ranks[1].communicate()
    assert ranks[0].returncode == 1 and own(err)[-1] == f"error: {LOST}"


def test_ranks_with_other_pictures_are_refused() -> None:
    Image.new("RGB", (32, 32)).save("other.png")
    patches = {1: "import stable_diffusion.jobs.originals as o\n"
    "plain = o.read_picture\no.read_picture = lambda path, *a, **k: plain('other.png', *a, **k)"}  # fmt: skip
    inputs = ("in.png", "a house", "--model", SD1, "--steps", "2", "--seed", "1", "--n_images", "2")
    first, second = ended(started(*inputs, script="image2image", patches=patches))
    assert first[0] == 1 and "rank 1 has another model, picture or version than the first" in own(first[2])[-1]
    assert second == (0, "", "")


def test_ctrl_c_on_the_first_rank_stops_all() -> None:
    waiting = dying(6, "time.sleep(10000)")
    ranks = started(*WORDS, "--seed", "1", "--n_images", "4", "-o", "out.png", patches={0: waiting})
    start = time.monotonic()
    while not Path("out-seed1.png").exists() and time.monotonic() < start + PATIENCE:
        time.sleep(0.1)
    ranks[0].send_signal(signal.SIGINT)
    first, second = ended(ranks)
    assert first[0] == 130 and own(first[2])[-1] == "stopped"
    assert second == (0, "", "") and "out.png" in made()


def test_ranks_that_talk_by_nccl_are_told_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLX_RANK", "0")
    monkeypatch.setenv("NCCL_HOST_IP", "127.0.0.1")
    with pytest.raises(SystemExit, match="2"):
        txt("a house")
    assert "give mlx.launch --backend ring" in capsys.readouterr().err


def test_mlx_launch_starts_them() -> None:
    launch = shutil.which("mlx.launch", path=Path(sys.executable).parent)
    if launch is None:
        pytest.skip("no mlx.launch beside this Python")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
    script = [str(ROOT / "txt2image.py"), *WORDS, "--seed", "1", "--n_images", "2", "-o", "shared.png"]
    command = [launch, "-n", "2", "-p", port, "--", sys.executable, *script]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL)
    assert "2 pictures are shared by 2 ranks" in done.stderr
    assert txt("a house", "--seed", "1", "--n_images", "2", "-o", "alone.png") == 0
    assert same("shared-seed2.png", "alone-seed2.png") and same("shared.png", "alone.png")


def test_a_process_that_is_alone_knows_nothing_of_ranks() -> None:
    code = f"""
import sys, txt2image, mlx.core as mx
mx.distributed.init = None
assert txt2image.main({[*WORDS, "--seed", "1"]!r}) == 0
assert "stable_diffusion.jobs.ranks" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
    assert made() == ["out.png"]
