"""Loading MLX models, and what differs between a CPU and a GPU.

Import this after ``agentr_lite.actors.mlx.blas.use_fast_blas``: it imports MLX.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx_lm import load
from mlx_lm.utils import maybe_set_recommended_wired_limit

from agentr_lite.core.errors import ModelError


def load_model(model_dir: Path) -> tuple[Any, Any]:
    """A model and its tokenizer from a local directory; float32 where a CPU computes.

    Raises:
        ModelError: missing, incomplete, or of a kind that mlx-lm does not know.
    """
    # mlx-lm would take a missing path for the name of a model to download.
    if not (model_dir / "config.json").is_file():
        raise ModelError(
            f"no model directory {model_dir}",
            hint="Needed: a directory in Hugging Face's or MLX's format, with config.json.",
        )
    try:
        with quiet():
            model, tokenizer = load(str(model_dir))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"mlx-lm cannot load {model_dir}: {reason}") from error
    if on_cpu():
        # 16-bit floats are emulated on the CPU.
        model.set_dtype(mx.float32)
    return model, tokenizer


def on_cpu() -> bool:
    """Whether MLX computes on the CPU."""
    return bool(mx.default_device() == mx.Device(mx.cpu))


def quiet() -> contextlib.redirect_stdout[io.StringIO]:
    """mlx-lm prints its own progress in colour on stdout, which is for data."""
    return contextlib.redirect_stdout(io.StringIO())


def wire_memory() -> Callable[[], None]:
    """Keep what is computed with in a GPU's memory, as mlx-lm does; returns what undoes it.

    Without it macOS may page a large model out between steps.
    """
    before = None if on_cpu() else maybe_set_recommended_wired_limit()

    def undo() -> None:
        if before is not None:
            mx.synchronize()
            mx.set_wired_limit(before)

    return undo


@contextlib.contextmanager
def compiled_on_gpu_only() -> Iterator[None]:
    """On a CPU MLX compiles kernels with g++: 13 s at the start for 6 % of speed after it."""
    if not on_cpu():
        yield
        return
    mx.disable_compile()
    try:
        yield
    finally:
        mx.enable_compile()
