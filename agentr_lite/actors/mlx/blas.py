"""Gives MLX on a Linux CPU a fast matrix product.

MLX's wheels for Linux link Netlib's reference BLAS, which reaches about 4 GFLOPS on a core; numpy's
own OpenBLAS reaches 130. For its matrix products, MLX needs one BLAS function, ``cblas_sgemm``. The
dynamic linker takes it from a library that was loaded globally before. So a small library that
forwards the function to numpy's OpenBLAS makes LoRA training 8 to 10 times faster. Without a C
compiler, or if numpy has another BLAS, MLX works as well, but slowly.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from agentr_lite.core.compiled import compiled_library

# numpy's OpenBLAS takes 64-bit integers; MLX passes 32-bit ones.
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
    """Whether MLX's matrix products are fast, and the reason."""

    fast: bool
    reason: str
    sgemm: int | None = field(default=None, repr=False)
    """Address of OpenBLAS's ``cblas_sgemm`` with 64-bit integers, if MLX uses it."""
    shim: ctypes.CDLL | None = field(default=None, repr=False)
    """The library through which MLX calls it."""


@lru_cache(maxsize=1)
def use_fast_blas() -> BlasStatus:
    """Let MLX use numpy's OpenBLAS. Call this before MLX is imported; further calls cost nothing.

    OpenBLAS is set to one thread for the whole process, because its threads wait by spinning:
    beside another busy process on two cores, this made a training step 7 times slower. MLX's
    streams (see ``agentr_lite.train.loss``) use the other cores.
    """
    if not sys.platform.startswith("linux"):
        return BlasStatus(True, "this platform's MLX has a fast BLAS")
    mlx, numpy = _packages_dirs("mlx"), _packages_dirs("numpy")
    if not mlx or not numpy:
        return BlasStatus(False, "MLX is not installed")
    # The wheels for CUDA bring the same BLAS, for what runs on the processor.
    if not _beside(mlx, "mlx_c*.libs/libblas*"):
        return BlasStatus(True, "this MLX does not use the reference BLAS")
    if "mlx.core" in sys.modules:
        return BlasStatus(False, "MLX was imported before the fast BLAS could be loaded")
    libraries = _beside(numpy, "numpy.libs/libscipy_openblas64_*")
    if not libraries:
        return BlasStatus(False, "this numpy does not bring its own OpenBLAS")
    try:
        openblas = ctypes.CDLL(str(libraries[0]))
        sgemm = openblas.scipy_cblas_sgemm64_
        openblas.scipy_openblas_set_num_threads64_(1)
        shim = ctypes.CDLL(str(compiled_library("sgemm_shim", _SHIM_SOURCE)), ctypes.RTLD_GLOBAL)
    except (OSError, AttributeError, subprocess.SubprocessError) as error:
        return BlasStatus(False, f"MLX cannot use the fast BLAS ({_one_line(error)})")
    function = ctypes.cast(sgemm, ctypes.c_void_p)
    shim.agentr_lite_set_sgemm(function)
    return BlasStatus(True, f"OpenBLAS of numpy ({libraries[0].name})", function.value, shim)


@contextlib.contextmanager
def products_by(sgemm: int) -> Iterator[None]:
    """Within: MLX's matrix products are computed by another function, in the whole process.

    Args:
        sgemm: address of a function with the arguments of OpenBLAS's ``cblas_sgemm`` with 64-bit
            integers.
    """
    status = use_fast_blas()
    assert status.shim is not None
    status.shim.agentr_lite_set_sgemm(ctypes.c_void_p(sgemm))
    try:
        yield
    finally:
        status.shim.agentr_lite_set_sgemm(ctypes.c_void_p(status.sgemm))


def _packages_dirs(package: str) -> list[Path]:
    """The directories in which a package is installed, without importing it.

    There may be several: MLX is a namespace package, and a folder called ``mlx`` in the working
    directory belongs to it as well.
    """
    spec = importlib.util.find_spec(package)
    return [Path(place).parent for place in (spec and spec.submodule_search_locations) or ()]


def _beside(folders: list[Path], pattern: str) -> list[Path]:
    return [file for folder in folders for file in sorted(folder.glob(pattern))]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
