"""llama.cpp's own dequantized copy of a GGUF file."""

from __future__ import annotations

import ctypes
from pathlib import Path

from agentr_lite.actors.llamacpp.library import clear_errors, last_error, load_library
from agentr_lite.actors.llamacpp.machine import physical_cores
from agentr_lite.core.errors import ModelError


def write_unpacked(source: Path, target: Path) -> None:
    """Write ``source`` with f32 matrices, which llama.cpp multiplies without rounding anything.

    Quantized and f16 matrices make llama.cpp round the activations, too. The copy takes four bytes
    of disk per parameter.

    Raises:
        ModelError: llama.cpp cannot write it.
    """
    lib = load_library()
    parameters = lib.llama_model_quantize_default_params()
    parameters.ftype = lib.LLAMA_FTYPE_ALL_F32
    parameters.allow_requantize = True
    parameters.nthread = physical_cores()
    clear_errors()
    status = lib.llama_model_quantize(
        str(source).encode(), str(target).encode(), ctypes.byref(parameters)
    )
    if status != 0:
        raise ModelError(
            f"llama.cpp cannot write {source} as f32: {last_error() or f'status {status}'}",
            hint="It needs four bytes of disk per parameter in the folder for temporary files.",
        )
