"""Copies of a model in another type of numbers, which a processor may read faster.

llama.cpp's kernels for CPUs differ by type in how they compute batches, so in wide batches a larger
type can be the faster one. docs/models.md has what was measured.
"""

from __future__ import annotations

import ctypes
import tempfile
from collections.abc import Mapping
from pathlib import Path

from agentr_lite.actors.download.fetched import check_space
from agentr_lite.actors.llamacpp.gguf_header import check_model_file
from agentr_lite.actors.llamacpp.library import clear_errors, last_error, load_library
from agentr_lite.actors.llamacpp.machine import physical_cores
from agentr_lite.actors.llamacpp.trial import check_opens
from agentr_lite.core.errors import ModelError

TYPES: Mapping[str, tuple[str, float]] = {
    "f16": ("LLAMA_FTYPE_MOSTLY_F16", 16),
    "q8_0": ("LLAMA_FTYPE_MOSTLY_Q8_0", 8.5),
    "q4_k_m": ("LLAMA_FTYPE_MOSTLY_Q4_K_M", 4.9),
}
"""Name to llama.cpp's constant, and bits a parameter."""


def write_copy(source: Path, target: Path, kind: str) -> None:
    """Write a model's parameters in another type; what is not a matrix stays as it is.

    A quantized file is dequantized first, so a copy is never more exact than its source.

    Args:
        source: a GGUF file.
        target: the file to write; one that is there is replaced when the copy is complete.
        kind: one of ``TYPES``.

    Raises:
        ModelError: the source is damaged, is in several files, or has a type that llama.cpp cannot
            convert; or the disk has too little space.
    """
    bits = TYPES[kind][1]
    header = check_model_file(source)
    if header.metadata.get("split.count", 1) not in (0, 1):
        raise ModelError(
            f"{source} is the first of several files; copies are made of single files",
            hint="Join them with llama.cpp's llama-gguf-split --merge.",
        )
    check_opens(source)
    target.parent.mkdir(parents=True, exist_ok=True)
    needed = round((header.parameters() or 0) * bits / 8)
    check_space(target.parent, needed)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".copy.") as scratch:
        made = Path(scratch) / target.name
        quantize(source, made, kind)
        check_model_file(made)
        made.replace(target)


def quantize(source: Path, target: Path, kind: str) -> None:
    """Let llama.cpp write a model in another type, without further checks.

    Args:
        source: a GGUF file that llama.cpp can open.
        target: the file to write.
        kind: one of ``TYPES``.

    Raises:
        ModelError: llama.cpp cannot do it.
    """
    library = load_library()
    settings = library.llama_model_quantize_default_params()
    settings.ftype = getattr(library, TYPES[kind][0])
    settings.allow_requantize = True
    settings.nthread = physical_cores()
    clear_errors()
    failed = library.llama_model_quantize(
        str(source).encode(), str(target).encode(), ctypes.byref(settings)
    )
    if failed or not target.exists():
        raise ModelError(
            f"llama.cpp cannot copy {source} as {kind}: {last_error() or 'it gave no reason'}",
            hint="Is the disk full? Some types cannot be converted; q8_0 and f16 can.",
        )
