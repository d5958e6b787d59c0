"""Compares a converted adapter in llama.cpp with its source in MLX."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from agentr_lite.console.streams import say
from agentr_lite.convert.cached import copy_of, has_copy, make_copy
from agentr_lite.convert.check import AdapterCheck, check_adapter
from agentr_lite.convert.lora_to_gguf import ADAPTER_FILE, CONFIG_FILE
from agentr_lite.core.errors import ModelError


def compare_adapter(
    source: Path,
    converted: Path,
    base: Path,
    *,
    mlx_base: Path | None,
    exact: bool,
    texts: Sequence[str],
    tolerance: float,
    scratch: Path,
) -> AdapterCheck:
    """Compare on the base itself, and on an unquantized copy where that says nothing.

    Args:
        source: the mlx-lm adapter: a directory, or its file.
        converted: the GGUF adapter made from it.
        base: the model: a GGUF file or its directory.
        mlx_base: the base for MLX; None: made from ``base``.
        exact: compare on an unquantized copy at once.
        texts: what to compare on; empty: the built-in texts.
        tolerance: as in ``check_adapter``.
        scratch: an empty folder for temporary files.

    Raises:
        ModelError: the base cannot be read, or not be made for MLX.
    """
    folder = _adapter_folder(source, scratch)
    if mlx_base is None:
        mlx_base = base if base.is_dir() else _mlx_copy(base)
    gguf_base = None if exact or base.is_dir() else base
    if gguf_base is None:
        say("comparing on an unquantized copy of the base")
    unpack = None if base.is_dir() else base
    result = check_adapter(
        folder, converted, mlx_base, gguf_base, texts=texts, tolerance=tolerance, unpack=unpack
    )
    if gguf_base is not None and not result.conclusive:
        say("the base's own differences hide the adapter's: comparing on an unquantized copy")
        result = check_adapter(
            folder, converted, mlx_base, None, texts=texts, tolerance=tolerance, unpack=unpack
        )
    return result


def _adapter_folder(source: Path, scratch: Path) -> Path:
    """The directory from which MLX reads the adapter ``source``.

    MLX knows only one file name. Another file, such as a checkpoint beside the final adapter, is
    copied under that name to an empty directory: otherwise MLX would read its neighbour.
    """
    if source.is_dir():
        return source
    if source.name == ADAPTER_FILE:
        return source.parent
    folder = scratch / "adapter"
    folder.mkdir()
    shutil.copyfile(source, folder / ADAPTER_FILE)
    shutil.copyfile(source.with_name(CONFIG_FILE), folder / CONFIG_FILE)
    return folder


def _mlx_copy(gguf: Path) -> Path:
    """The base in MLX's format, made from the GGUF file."""
    if not has_copy(gguf):
        say(f"taking the weights for MLX out of {gguf.name}: {copy_of(gguf)}")
    try:
        return make_copy(gguf)
    except ModelError as error:
        error.hint = "Name the weights that the adapter was trained on: --mlx-base DIRECTORY"
        raise
