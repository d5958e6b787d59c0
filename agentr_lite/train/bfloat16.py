"""Matrix products of bfloat16 factors with float32 sums, on processors with units for them.

The package ``onednn-cpu-gomp`` (the extra ``bfloat16``) brings the library. A product rounds its
factors to 8 bits of precision. Everything else of a training stays float32: weights, activations,
attention, the loss, gradients and the optimizer.

Import this after ``agentr_lite.actors.mlx.blas.use_fast_blas``: it must be loaded first.
"""

from __future__ import annotations

import contextlib
import ctypes
import subprocess
from collections.abc import Iterator
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from agentr_lite.actors.mlx.blas import products_by, use_fast_blas
from agentr_lite.core.compiled import compiled_library
from agentr_lite.core.errors import UsageError

PACKAGE = "onednn-cpu-gomp"
# Source: oneDNN, dnnl_cpu_isa_t: the bits of AVX-512 with bfloat16, which AMX has as well.
_BFLOAT16_UNITS = 0xE7
_HINT = "Set train.products to float32."


@contextlib.contextmanager
def bfloat16_products() -> Iterator[None]:
    """Within: MLX's matrix products on the CPU round their factors to bfloat16.

    Raises:
        UsageError: oneDNN is not installed, or this machine cannot do it.
    """
    with products_by(_sgemm()):
        yield


def check_bfloat16() -> None:
    """Find out whether this machine can compute such products.

    Raises:
        UsageError: oneDNN is not installed, or this machine cannot do it.
    """
    _sgemm()


@lru_cache(maxsize=1)
def _sgemm() -> int:
    """Address of the function that takes the place of OpenBLAS's."""
    exact = use_fast_blas().sgemm
    if exact is None:
        raise UsageError(
            f"train.products is bfloat16, but {use_fast_blas().reason}",
            hint=f"It concerns training on an x86 processor with Linux. {_HINT}",
        )
    file = _library_file()
    try:
        onednn = ctypes.CDLL(str(file), ctypes.RTLD_GLOBAL)
        source = Path(__file__).with_suffix(".c").read_text("utf-8")
        ours = ctypes.CDLL(str(compiled_library("bfloat16", source)))
    except (OSError, subprocess.SubprocessError) as error:
        raise UsageError(
            f"oneDNN cannot be used: {' '.join(str(error).split())}",
            hint=f"It needs libgomp and a C compiler. {_HINT}",
        ) from error
    units = onednn.dnnl_get_effective_cpu_isa()
    if units & _BFLOAT16_UNITS != _BFLOAT16_UNITS:
        raise UsageError(
            "train.products is bfloat16, but this processor has no units for it",
            hint=f"AMX or AVX512-BF16 is needed. {_HINT}",
        )
    if ours.begin(ctypes.c_void_p(exact)):
        raise UsageError("oneDNN does not start on this processor", hint=_HINT)
    address = ctypes.cast(ours.sgemm, ctypes.c_void_p).value
    assert address is not None
    return address


def _library_file() -> Path:
    """The library that the package installed, with the interface that ``bfloat16.c`` declares."""
    try:
        installed = metadata.files(PACKAGE) or []
    except metadata.PackageNotFoundError:
        installed = []
    for file in installed:
        path = Path(str(file.locate()))
        if file.name == "libdnnl.so.3" and path.exists():
            return path
    raise UsageError(
        f"train.products is bfloat16, which needs oneDNN 3 ({PACKAGE})",
        hint=f"pip install 'agentr-lite[bfloat16]', or {_HINT[0].lower()}{_HINT[1:]}",
    )
