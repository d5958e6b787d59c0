"""Attention on a CPU, by a kernel of our own in llama.cpp's graph.

When many conversations decode one token each, llama.cpp's CPU back end computes attention for one
cell and one head after another. With SmolLM2-135M and conversations of 1,000 tokens, this takes
half of a step. The kernel (``attention.c``) computes several cells at once and reads the keys of a
group of heads once. llama.cpp hands it the nodes of its graph through ``cb_eval``, so it works with
any build of llama.cpp. Without a C compiler, llama.cpp computes them itself, more slowly.
"""

from __future__ import annotations

import ctypes
import platform
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from agentr_lite.actors.llamacpp.library import load_library, system_info
from agentr_lite.core.compiled import c_source, compiled_library
from agentr_lite.core.errors import ModelError

_FLAGS = ("-O3", "-fopenmp", "-fno-math-errno", "-fno-trapping-math")
_AVX2 = ("-mavx2", "-mfma", "-mf16c")
_AVX512 = ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl")


class Attention:
    """The kernel for one context: what ``llama_context_params`` needs, and its memory.

    Attributes:
        callback: for ``cb_eval``.
        data: for ``cb_eval_user_data``.
    """

    def __init__(self, kernel: ctypes.CDLL, threads: int) -> None:
        """
        Args:
            kernel: see ``attention_kernel``.
            threads: that compute a step.

        Raises:
            ModelError: there is no memory.
        """
        self._kernel = kernel
        kind: Any = load_library().ggml_backend_sched_eval_callback
        self.callback = ctypes.cast(kernel.attention_step, kind)
        lib: Any = load_library()._lib
        self.data: int | None = kernel.attention_new(
            threads,
            ctypes.cast(lib.ggml_backend_buffer_get_base, ctypes.c_void_p),
            ctypes.cast(lib.ggml_backend_buffer_get_size, ctypes.c_void_p),
        )
        if not self.data:
            raise ModelError(
                "there is no memory for the attention of a context",
                hint="Close other programs.",
            )

    @property
    def steps(self) -> int:
        """Layers that it has computed, each for one batch."""
        return int(self._kernel.attention_steps(self.data))

    def use_threads(self, count: int) -> None:
        """Compute with ``count`` threads from now on."""
        self._kernel.attention_threads(self.data, count)

    def close(self) -> None:
        """Free its memory; the context must be freed before."""
        self._kernel.attention_free(self.data)
        self.data = None


@cache
def attention_kernel() -> ctypes.CDLL | None:
    """The compiled kernel; None where it cannot be compiled, or has no code for this processor."""
    flags = _processor_flags()
    if flags is None or not _headers().exists():
        return None
    try:
        kernel = _compiled(flags)
    except (OSError, subprocess.SubprocessError):
        # llama.cpp does the same, more slowly.
        return None
    return kernel if _headers_fit(kernel) else None


def _compiled(flags: tuple[str, ...]) -> ctypes.CDLL:
    source = c_source(Path(__file__).with_suffix(".c"))
    # The header decides where a tensor's fields lie, so it belongs to what the cached library's
    # name is computed from.
    source = source.replace('#include "ggml.h"', _headers().read_text("utf-8"))
    kernel = ctypes.CDLL(str(compiled_library("attention", source, (*_FLAGS, *flags))))
    kernel.attention_new.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
    kernel.attention_new.restype = ctypes.c_void_p
    kernel.attention_free.argtypes = [ctypes.c_void_p]
    kernel.attention_threads.argtypes = [ctypes.c_void_p, ctypes.c_int]
    kernel.attention_steps.argtypes = [ctypes.c_void_p]
    kernel.attention_steps.restype = ctypes.c_int64
    kernel.attention_layout.argtypes = [ctypes.c_void_p] * 3
    kernel.attention_layout.restype = ctypes.c_bool
    return kernel


def _headers() -> Path:
    """What llama-cpp-python's build leaves of llama.cpp's own headers."""
    return Path(str(load_library().__file__)).parents[1] / "include" / "ggml.h"


def _processor_flags() -> tuple[str, ...] | None:
    """For the compiler: what llama.cpp itself was compiled with, so this processor has it."""
    if platform.machine() in ("aarch64", "arm64"):
        return ()
    built = system_info()
    if not all(built.get(name) for name in ("AVX2", "FMA", "F16C")):
        return None
    return (*_AVX2, *_AVX512) if built.get("AVX512") else _AVX2


def _headers_fit(kernel: ctypes.CDLL) -> bool:
    """Whether the headers describe the loaded library: another package may have brought them."""
    lib: Any = load_library()._lib

    class Memory(ctypes.Structure):
        _fields_ = (
            ("size", ctypes.c_size_t),
            ("buffer", ctypes.c_void_p),
            ("no_alloc", ctypes.c_bool),
        )

    make, free = lib.ggml_init, lib.ggml_free
    make.argtypes, make.restype = [Memory], ctypes.c_void_p
    free.argtypes, free.restype = [ctypes.c_void_p], None
    tensor, name, data = lib.ggml_new_tensor_1d, lib.ggml_get_name, lib.ggml_get_data
    tensor.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int64]
    tensor.restype = name.restype = data.restype = ctypes.c_void_p
    name.argtypes = data.argtypes = [ctypes.c_void_p]
    called = lib.ggml_op_name
    called.argtypes, called.restype = [ctypes.c_int], ctypes.c_char_p
    memory = make(Memory(1 << 16, None, False))
    if not memory:
        return False
    try:
        made = tensor(memory, 0, 48)
        same = kernel.attention_layout(made, name(made), data(made))
        return bool(same) and called(kernel.attention_operation()) == b"FLASH_ATTN_EXT"
    finally:
        free(memory)
