"""MLX is fast before it is imported, on every machine that can make it so."""

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import mlx.core as mx
import pytest

from stable_diffusion import backend

ROOT = Path(__file__).parents[1]


def installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


on_linux_cpu = pytest.mark.skipif(
    sys.platform != "linux" or not installed("mlx-cpu"), reason="MLX has a fast BLAS of its own here"
)

# backend.py by itself, which is what stable_diffusion/__init__.py imports first.
ALONE = f"""
import ctypes, ctypes.util, importlib.util, os, sys
from importlib import metadata
def backend():
    spec = importlib.util.spec_from_file_location("backend", {str(ROOT / "stable_diffusion" / "backend.py")!r})
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
loaded = []
CDLL = ctypes.CDLL
def remembered(name, *args, **kwargs):
    if name is not None:
        loaded.append(name)
    return CDLL(name, *args, **kwargs)
ctypes.CDLL = remembered
"""

# The file whose cblas_sgemm a library that is loaded later gets.
OWNER = """
def owner():
    try:
        address = ctypes.cast(ctypes.CDLL(None).cblas_sgemm, ctypes.c_void_p).value
    except AttributeError:
        return "nobody"
    for line in open("/proc/self/maps"):
        start, end = (int(part, 16) for part in line.split()[0].split("-"))
        if start <= address < end:
            return line.split()[-1]
"""


def run(program: str, **environment: str) -> str:
    """What a Python program prints, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def tuned() -> None:
    if run(ALONE + "print(backend().load_blas())") == "None":
        pytest.skip("there is no tuned BLAS on this machine")


@on_linux_cpu
@pytest.mark.usefixtures("tuned")
def test_a_tuned_blas_stands_before_the_wheels_own() -> None:
    program = f"""
import ctypes, stable_diffusion, mlx.core as mx
{OWNER}
a = mx.random.normal((64, 64))
mx.eval(a @ a)
print(owner(), stable_diffusion.backend.advice)
print(open("/proc/self/maps").read())
"""
    first, maps = run(program).split("\n", 1)
    file, advice = first.split(" ")
    assert advice == "None"
    assert "mlx" not in file and file in maps
    assert any(name in Path(file).name for name in ("openblas", "flexiblas", "mkl", "blis")), file


@on_linux_cpu
@pytest.mark.usefixtures("tuned")
def test_a_blas_that_is_there_already_is_left_in_its_place() -> None:
    """As with LD_PRELOAD."""
    program = f"""{ALONE}
name = backend().load_blas()
CDLL(name, mode=ctypes.RTLD_GLOBAL)
loaded.clear()
print(backend().advice, loaded)
"""
    assert run(program) == "None []"


@pytest.mark.parametrize("change", ['sys.platform = "darwin"', "metadata.version = missing"])
def test_nothing_is_loaded_on_a_mac_or_where_mlx_is_not_the_wheel_for_cpus(change: str) -> None:
    program = f"""{ALONE}
def missing(name):
    raise metadata.PackageNotFoundError(name)
os.environ.pop("MLX_DISABLE_COMPILE", None)
{change}
print(backend().advice, loaded, os.environ.get("MLX_DISABLE_COMPILE"))
"""
    assert run(program, PATH="/nowhere") == "None [] None"


@pytest.mark.parametrize("name", ["libmkl_rt.so.3", "libmkl_rt.so.2"])
def test_intels_is_found_where_pip_puts_it(name: str) -> None:
    program = f"""{ALONE}
sys.platform, sys.prefix, metadata.version = "linux", "/environment", lambda name: "1"
ctypes.util.find_library = lambda name: None
class Nothing:
    pass
class Intels:
    cblas_sgemm = None
def only(name, *args, **kwargs):
    if name not in (None, "/environment/lib/{name}"):
        raise OSError(name)
    return Intels() if name else Nothing()
ctypes.CDLL = only
found = backend()
print(found.load_blas(), found.advice)
"""
    assert run(program) == f"/environment/lib/{name} None"


def test_where_there_is_no_tuned_blas_one_line_says_how_to_get_it() -> None:
    program = f"""{ALONE}
sys.platform, metadata.version = "linux", lambda name: "1"
ctypes.util.find_library = lambda name: None
class Nothing:
    pass
def absent(name, *args, **kwargs):
    if name is None:
        return Nothing()
    raise OSError(name)
ctypes.CDLL = absent
print(backend().advice)
"""
    advice = run(program)
    assert "libopenblas0" in advice and "\n" not in advice


def test_a_blas_without_its_c_interface_is_passed_over() -> None:
    program = f"""{ALONE}
sys.platform, metadata.version = "linux", lambda name: "1"
class Library:
    def __init__(self, name):
        if name == "libflexiblas.so.3":
            self.cblas_sgemm = None
ctypes.CDLL = lambda name, *args, **kwargs: Library(name)
print(backend().load_blas())
"""
    assert run(program) == "libflexiblas.so.3"


CORE = """
import ctypes, stable_diffusion
found = ctypes.CDLL(None)
found.openblas_get_corename.restype = ctypes.c_char_p
print(found.openblas_get_corename().decode())
"""


@on_linux_cpu
def test_openblas_takes_kernels_that_know_what_the_processor_can(tuned: None) -> None:
    """By itself it takes its last resort on a processor that is younger than it."""
    if "openblas" not in run(ALONE + "print(backend().load_blas())"):
        pytest.skip("the BLAS here is another")
    if not backend._KERNELS["Haswell"] <= set(Path("/proc/cpuinfo").read_text().split()):
        pytest.skip("an old processor")
    assert run(CORE, OPENBLAS_CORETYPE="Prescott") == "Prescott"  # what a person names is left
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_CORETYPE"}
    found = subprocess.run(
        [sys.executable, "-c", CORE], env={**environment, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert found.stdout.strip() not in ("", "Prescott"), found.stderr


@pytest.mark.parametrize(
    ("core", "flags", "wanted"),
    [
        (b"Prescott", "sse sse2 avx avx2 fma avx512f avx512bw avx512dq avx512vl", "SkylakeX"),
        (b"Prescott", "sse sse2 avx avx2 fma avx512f", "Haswell"),
        (b"Prescott", "sse sse2 avx", None),
        (b"Zen", "sse sse2 avx avx2 fma", None),
    ],
)
def test_kernels_are_named_where_openblas_does_not_know_the_processor(
    core: bytes, flags: str, wanted: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Library:
        @staticmethod
        def openblas_get_corename() -> bytes:
            return core

    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {flags}\nbugs\t\t: none\n")
    monkeypatch.setattr(backend, "_PROCESSORS", tmp_path / "cpuinfo")
    monkeypatch.setattr(Library.openblas_get_corename, "restype", None, raising=False)
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    assert backend._better_kernels(Library()) == wanted  # type: ignore[arg-type]
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Nehalem")
    assert backend._better_kernels(Library()) is None  # type: ignore[arg-type]


def test_when_mlx_was_first_one_line_says_what_to_do() -> None:
    program = f"""{ALONE}
sys.platform, metadata.version = "linux", lambda name: "1"
class Nothing:
    pass
ctypes.CDLL = lambda *args, **kwargs: Nothing()
sys.modules["mlx.core"] = sys
print(backend().advice)
"""
    advice = run(program)
    assert "import stable_diffusion before mlx" in advice and "\n" not in advice


@on_linux_cpu
def test_without_a_compiler_the_nets_still_run(tmp_path: Path) -> None:
    """A fresh TMPDIR, because MLX keeps the kernels there that it compiled before."""
    environment = {name: value for name, value in os.environ.items() if name != "MLX_DISABLE_COMPILE"}
    program = f"""
import os
from stable_diffusion import Settings, StableDiffusion
sd = StableDiffusion({str(ROOT / "tests" / "data" / "sd1")!r}, float16=False)
print(sd.txt2img(Settings(prompt="a", steps=1, width=16, height=16)).shape, os.environ.get("MLX_DISABLE_COMPILE"))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**environment, "PYTHONPATH": str(ROOT), "PATH": str(tmp_path), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "(1, 16, 16, 3) 1"


def test_without_anything_to_run_on_the_commands_say_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "mlx").mkdir()
    (tmp_path / "mlx" / "__init__.py").touch()
    (tmp_path / "mlx" / "core.py").write_text("raise ImportError('libmlx.so: cannot open shared object file')")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    for words in ([str(ROOT / "txt2image.py"), "a house"], [str(ROOT / "image2image.py"), "--help"]):
        done = subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True)
        assert done.returncode == 1 and done.stdout == ""
        assert done.stderr.count("\n") == 1 and "pip install 'mlx[cpu]'" in done.stderr


@pytest.mark.parametrize(("said", "share"), [("max\n", 1.0), (None, 1.0), ("{}\n", 0.5), ("9" * 30, 1.0)])
def test_memory_is_what_a_container_may_use(
    said: str | None, share: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    monkeypatch.setattr(backend, "_CONTAINED", tmp_path / "memory.max")
    if said is not None:
        (tmp_path / "memory.max").write_text(said.format(total // 2))
    assert backend.memory() == int(share * total)


def test_what_is_trimmed_goes_back_to_the_system() -> None:
    program = """
import stable_diffusion, mlx.core as mx
from stable_diffusion import backend
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1])
many = [mx.zeros((2**20,)) + k for k in range(100)]
mx.eval(many)
kept = mx.array([1.0])
before = resident()
del many
backend.trim()
print(kept.item(), (before - resident()) * 4096 > 300 * 2**20)
"""
    if Path("/proc/self/statm").exists() and mx.default_device() == mx.cpu:
        assert run(program) == "1.0 True"
    else:
        backend.trim()  # does no harm


# What share of its work the slower of two streams has done when the other has done half.
SHARE = """
import stable_diffusion, mlx.core as mx, threading, time
from pathlib import Path
def spent():
    return {task.name: int((task / "schedstat").read_text().split()[0]) for task in Path("/proc/self/task").iterdir()}
def chain(stream):
    with mx.stream(stream):
        x = mx.zeros(100_000)
        for _ in range(500):
            x = mx.sin(x)
    return x
y = chain(mx.default_stream(mx.cpu)) + chain(mx.new_stream(mx.cpu))
seen, over = [spent()], threading.Event()
def look():
    while not over.wait(0.002):
        seen.append(spent())
watch = threading.Thread(target=look)
watch.start()
mx.eval(y)
over.set()
watch.join()
worked = {name: seen[-1][name] - seen[0].get(name, 0) for name in seen[-1]}
first, second = sorted(worked, key=worked.get)[-2:]
done = [[(at.get(name, 0) - seen[0].get(name, 0)) / worked[name] for name in (first, second)] for at in seen]
print(min(next(at for at in done if max(at) > 0.5)))
"""


@on_linux_cpu
def test_streams_are_given_their_work_side_by_side() -> None:
    # The second is what a person has asked for, which is left.
    assert float(run(SHARE)) > 0.3 > float(run(SHARE, MLX_BFS_MAX_WIDTH="1"))
