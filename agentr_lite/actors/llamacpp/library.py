"""Loads llama.cpp: sets the environment that it needs, and captures its log.

Import llama_cpp only through ``load_library``: two settings have no effect after the import.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections import deque
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from agentr_lite.core.errors import ModelError

_LEVEL_ERROR, _LEVEL_CONTINUE = 4, 5
_GPU, _INTEGRATED_GPU = 1, 2
"""ggml_backend_dev_type; the other types compute in RAM beside the processor."""
_MESSAGE_CHARS = 300

_errors: deque[str] = deque(maxlen=20)
_last_level = 0
_log_callback: Any = None  # ctypes does not keep a reference to it


@cache
def load_library() -> ModuleType:
    """The low-level module ``llama_cpp.llama_cpp``, with its log captured.

    Raises:
        ModelError: the package is not installed or its shared library does not load.
    """
    # By default, libgomp's threads spin at barriers. With any other load on the machine, a step
    # then takes tens of times longer.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # Without this, an internal error starts a debugger.
    os.environ.setdefault("GGML_NO_BACKTRACE", "1")
    try:
        import llama_cpp
        from llama_cpp import llama_cpp as low_level
    except (ImportError, OSError, RuntimeError) as error:
        raise ModelError(
            f"llama.cpp cannot be loaded: {error}",
            hint="Install llama-cpp-python again: pip install --force-reinstall llama-cpp-python",
        ) from error
    global _log_callback
    _log_callback = low_level.llama_log_callback(_on_log)
    low_level.llama_log_set(_log_callback, ctypes.c_void_p(0))
    low_level.llama_backend_init()
    low_level.agentr_version = llama_cpp.__version__
    return low_level


def library_version() -> str:
    """Version of llama-cpp-python, e.g. ``0.3.36``."""
    return str(load_library().agentr_version)


def system_info() -> dict[str, bool]:
    """CPU features that llama.cpp was compiled with, e.g. ``{"AVX2": True}``."""
    text = load_library().llama_print_system_info().decode("utf-8", "replace")
    return {
        name: value == "1"
        for name, value in re.findall(r"([A-Z0-9_]+) = (\d)", text.partition("CPU")[2])
    }


def uses_gpu() -> bool:
    """Whether this build of llama.cpp can use a GPU of this machine."""
    return bool(load_library().llama_supports_gpu_offload())


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU that llama.cpp computes on."""

    name: str
    """The card's own, e.g. ``NVIDIA H100``."""
    free_bytes: int
    total_bytes: int
    shares_ram: bool
    """Its memory is the machine's RAM, as on a Mac."""


def gpus() -> list[Gpu]:
    """The GPUs that layers are spread over; empty: this build or machine has none."""
    lib: Any = load_library()._lib
    # llama.cpp's library depends on ggml's, so their functions are found through it.
    count, get = lib.ggml_backend_dev_count, lib.ggml_backend_dev_get
    kind, describe, memory = (
        lib.ggml_backend_dev_type,
        lib.ggml_backend_dev_description,
        lib.ggml_backend_dev_memory,
    )
    count.restype, get.restype = ctypes.c_size_t, ctypes.c_void_p
    get.argtypes = [ctypes.c_size_t]
    kind.argtypes, describe.argtypes = [ctypes.c_void_p], [ctypes.c_void_p]
    describe.restype = ctypes.c_char_p
    memory.argtypes = [ctypes.c_void_p] + [ctypes.POINTER(ctypes.c_size_t)] * 2
    memory.restype = None
    found = []
    for index in range(count()):
        device = get(index)
        if kind(device) not in (_GPU, _INTEGRATED_GPU):
            continue
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        memory(device, ctypes.byref(free), ctypes.byref(total))
        name = (describe(device) or b"").decode("utf-8", "replace")
        shares = kind(device) == _INTEGRATED_GPU or sys.platform == "darwin"
        found.append(Gpu(name, free.value, total.value, shares))
    return found


def library_files(name: str) -> list[Path]:
    """The files of one of llama.cpp's shared libraries, e.g. ``ggml-cpu``."""
    package = Path(str(load_library().__file__)).parent
    return sorted({file.resolve() for file in package.glob(f"lib/*{name}*") if file.is_file()})


def clear_errors() -> None:
    """Forget the errors that llama.cpp has logged so far."""
    _errors.clear()


def last_error() -> str:
    """The first error that llama.cpp logged since ``clear_errors``, on one line; or empty."""
    return " ".join(_errors[0].split())[:_MESSAGE_CHARS] if _errors else ""


def _on_log(level: int, text: bytes, user_data: Any) -> None:
    global _last_level
    _last_level = level if level != _LEVEL_CONTINUE else _last_level
    if _last_level == _LEVEL_ERROR and level != _LEVEL_CONTINUE:
        _errors.append(text.decode("utf-8", "replace"))
