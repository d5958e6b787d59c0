"""Gives MLX on a Linux CPU a fast matrix product.

MLX's wheels for Linux link Netlib's reference BLAS: about 4 GFLOPS a core, where numpy's own
OpenBLAS does 130. MLX needs one BLAS function for its matrix products, ``cblas_sgemm``, and the
dynamic linker takes it from whatever was loaded globally before: so a small library that forwards
it to numpy's OpenBLAS makes LoRA training 8 to 10 times faster. Where that cannot be done (no C
compiler, a numpy with another BLAS) MLX works as before, only slower.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import os
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from agentr_lite.core.config import home

# numpy's OpenBLAS counts in 64-bit integers, MLX calls with 32-bit ones.
_SHIM_SOURCE = """\
#include <stdint.h>
typedef void (*sgemm_fn)(int, int, int, int64_t, int64_t, int64_t, float, const float *, int64_t,
                         const float *, int64_t, float, float *, int64_t);
static sgemm_fn target;
void agentr_lite_set_sgemm(void *function) { target = (sgemm_fn)function; }
void cblas_sgemm(int order, int trans_a, int trans_b, int m, int n, int k, float alpha,
                 const float *a, int lda, const float *b, int ldb, float beta, float *c, int ldc) {
  target(order, trans_a, trans_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}
"""


@dataclass(frozen=True)
class BlasStatus:
    """Whether MLX's matrix products are fast, and why or why not."""

    fast: bool
    reason: str


@lru_cache(maxsize=1)
def use_fast_blas() -> BlasStatus:
    """Put numpy's OpenBLAS under MLX. Call it before MLX is imported; more calls cost nothing.

    OpenBLAS is set to one thread for the whole process: its threads wait by spinning, and with
    another busy process on two cores that made a training step 7 times slower. MLX's streams
    (see ``agentr_lite.train.loss``) use the other cores.
    """
    if not sys.platform.startswith("linux"):
        return BlasStatus(True, "this platform's MLX has a fast BLAS")
    mlx, numpy = _packages_dirs("mlx"), _packages_dirs("numpy")
    if not mlx or not numpy:
        return BlasStatus(False, "MLX is not installed")
    if not _beside(mlx, "mlx_cpu.libs/libblas*"):
        return BlasStatus(True, "this MLX does not use the reference BLAS")
    if "mlx.core" in sys.modules:
        return BlasStatus(False, "MLX was imported before the fast BLAS could be loaded")
    libraries = _beside(numpy, "numpy.libs/libscipy_openblas64_*")
    if not libraries:
        return BlasStatus(False, "numpy has no OpenBLAS of its own")
    try:
        openblas = ctypes.CDLL(str(libraries[0]))
        sgemm = openblas.scipy_cblas_sgemm64_
        openblas.scipy_openblas_set_num_threads64_(1)
        shim = ctypes.CDLL(str(_shim_library()), mode=ctypes.RTLD_GLOBAL)
    except (OSError, AttributeError, subprocess.SubprocessError) as error:
        return BlasStatus(False, f"the fast BLAS cannot be put under MLX ({_one_line(error)})")
    shim.agentr_lite_set_sgemm(ctypes.cast(sgemm, ctypes.c_void_p))
    return BlasStatus(True, f"OpenBLAS of numpy ({libraries[0].name})")


def _packages_dirs(package: str) -> list[Path]:
    """The directories that a package is installed in, found without importing it.

    MLX is a namespace package: a folder called ``mlx`` in the working directory belongs to it, too.
    """
    spec = importlib.util.find_spec(package)
    return [Path(place).parent for place in (spec and spec.submodule_search_locations) or ()]


def _beside(folders: list[Path], pattern: str) -> list[Path]:
    return [found for folder in folders for found in sorted(folder.glob(pattern))]


def _shim_library() -> Path:
    """The compiled shim: from the cache, or made now.

    Raises:
        OSError: no compiler, or nowhere to write.
        subprocess.SubprocessError: the compiler fails.
    """
    digest = hashlib.sha256(_SHIM_SOURCE.encode()).hexdigest()[:12]
    folder = home() / "cache"
    library = folder / f"sgemm_shim_{sysconfig.get_platform()}_{digest}.so"
    if library.exists():
        return library
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        source = Path(scratch) / "shim.c"
        source.write_text(_SHIM_SOURCE)
        made = Path(scratch) / "shim.so"
        compiler = os.environ.get("CC", "cc")
        subprocess.run(
            [compiler, "-shared", "-fPIC", "-O2", "-o", str(made), str(source)],
            check=True,
            capture_output=True,
            timeout=60,
        )
        # A rename, so that another process never loads half a library.
        made.replace(library)
    return library


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
