"""What MLX runs on, decided before MLX is imported.

MLX's wheel for Linux CPUs carries the reference BLAS: right, and some thirty times slower than a tuned one. A tuned one
that is loaded first, with its symbols global, takes its place. On macOS MLX has Accelerate and Metal; with CUDA it has
cuBLAS: there is nothing to do, but to ask GPUs for whole float32 products.
"""

import _ctypes
import ctypes
import ctypes.util
import os
import re
import shutil
import sys
from importlib import metadata
from pathlib import Path

# Intel's, which pip install mkl puts into the environment's own lib.
_MKL = ("libmkl_rt.so.3", "libmkl_rt.so.2")

# In order of preference. Debian and Ubuntu, Fedora, Arch; then others that carry the same functions.
_LIBRARIES = (
    "libopenblas.so.0",
    "libopenblasp.so.0",
    "libopenblas.so",
    "libflexiblas.so.3",
    *_MKL,
    "libblis.so.4",
)

# Of glibc's malloc.h. Without these, every large array is fresh pages from the system, cleared one by one.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4

# MLX hands some hundred operations ahead to its streams, and without this one piece of work after the other: the second
# stream stood still until the first had been given everything. So wide, it goes through all pieces side by side.
_WIDTH = "100000"

# OpenBLAS has kernels for the processors of its day. A younger one gets those of 2004, four times slower than those of
# the best older one that has all of its instructions: which those are, by what it can do.
_LAST_RESORT = b"Prescott"
_KERNELS = {"SkylakeX": {"avx512f", "avx512bw", "avx512dq", "avx512vl"}, "Haswell": {"avx2", "fma"}}

_CONTAINED = Path("/sys/fs/cgroup/memory.max")
_PROCESSORS = Path("/proc/cpuinfo")

_SLOW = "matrix products run some 30 times slower than they could here"
ADVICE = f"{_SLOW}; install a fast BLAS: sudo apt install libopenblas0"
TOO_LATE = f"{_SLOW}; import stable_diffusion before mlx, which then takes a fast BLAS"


def _on_linux_cpu() -> bool:
    """Is MLX here its wheel for Linux CPUs?"""
    if sys.platform != "linux":
        return False
    try:
        metadata.version("mlx-cpu")
    except metadata.PackageNotFoundError:
        return False
    return True


def load_blas() -> str | None:
    """Put a tuned BLAS in the place of MLX's, and return its name, or None where none was found.

    It has no effect once MLX has been imported: its own is bound then.
    """
    here = Path(sys.prefix) / "lib"
    candidates = (*_LIBRARIES, ctypes.util.find_library("openblas"), *(str(here / name) for name in _MKL))
    for name in filter(None, candidates):
        try:
            library = ctypes.CDLL(name, mode=ctypes.RTLD_LOCAL)
            library.cblas_sgemm  # noqa: B018  a BLAS without its C interface is of no use to MLX
            if kernels := _better_kernels(library):
                os.environ["OPENBLAS_CORETYPE"] = kernels  # which it reads when it is loaded
                _ctypes.dlclose(library._handle)
            ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
        except (OSError, AttributeError):
            continue
        return name
    return None


def _better_kernels(library: ctypes.CDLL) -> str | None:
    """The kernels that OpenBLAS should take on a processor that it does not know, where nobody has named others."""
    if "OPENBLAS_CORETYPE" in os.environ or not hasattr(library, "openblas_get_corename"):
        return None
    library.openblas_get_corename.restype = ctypes.c_char_p
    if library.openblas_get_corename() != _LAST_RESORT:
        return None
    try:
        about = re.search(r"^flags\s*:(.*)", _PROCESSORS.read_text(), re.MULTILINE)
    except OSError:
        return None
    can = set(about[1].split()) if about else set()
    return next((name for name, needs in _KERNELS.items() if needs <= can), None)


def prepare() -> str | None:
    """Make MLX exact, and fast where it would be slow; returns one line of advice where that takes the user's hand."""
    # On GPUs float32 products of 10 bits' precision, unless it is told otherwise: 1e-3 in a net's output.
    os.environ.setdefault("MLX_ENABLE_TF32", "0")
    if not _on_linux_cpu():
        return None
    if hasattr(libc := ctypes.CDLL(None), "mallopt"):  # other libraries than glibc have none
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    os.environ.setdefault("MLX_BFS_MAX_WIDTH", _WIDTH)
    if not compiles:
        os.environ.setdefault("MLX_DISABLE_COMPILE", "1")  # it fails without a compiler up to 0.31
    if hasattr(ctypes.CDLL(None), "cblas_sgemm"):
        return None  # LD_PRELOAD has brought one
    if "mlx.core" in sys.modules:
        return TOO_LATE
    return None if load_blas() else ADVICE


def trim() -> None:
    """Give memory that was freed back to the system, where the C library would keep it."""
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(ctypes.c_size_t(0))


def memory() -> int:
    """Bytes of memory that this machine has, or its container may use."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        return min(total, int(_CONTAINED.read_text()))
    except (OSError, ValueError):  # no container, or one without a limit
        return total


def check() -> None:
    """Raise ImportError, in one sentence, where MLX is only half installed, as it is on Linux without an extra."""
    try:
        import mlx.core  # noqa: F401
    except ImportError as error:
        if sys.platform != "linux":
            raise
        raise ImportError(
            f"MLX has nothing to run on here ({error}): pip install 'mlx[cpu]' or, with an NVIDIA GPU, 'mlx[cuda]'"
        ) from None


# Does MLX make loops of C++ of what it is to compile, on this CPU?
compiles = _on_linux_cpu() and shutil.which("g++") is not None and "MLX_DISABLE_COMPILE" not in os.environ
advice = prepare()
check()
