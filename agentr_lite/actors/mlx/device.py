"""Loads MLX models, and handles the differences between a CPU and a GPU.

Import this after ``agentr_lite.actors.mlx.blas.use_fast_blas``: it imports MLX.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from huggingface_hub.errors import StrictDataclassError
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm import load
from mlx_lm.utils import maybe_set_recommended_wired_limit

from agentr_lite.actors.llamacpp.machine import available_bytes
from agentr_lite.actors.mlx.model_settings import mlx_settings
from agentr_lite.core.damaged import damage_explained
from agentr_lite.core.errors import ModelError
from agentr_lite.core.json_values import read_json_object

_WITH_VECTORS = frozenset({"qwen3_5", "qwen3_5_text", "lfm2", "granitemoehybrid"})
"""Values of ``model_type`` of which a directory may mix types."""


def load_model(model_dir: Path) -> tuple[Any, Any]:
    """Load a model and its tokenizer from a local directory; on a CPU, as float32.

    Raises:
        ModelError: the model is missing, incomplete, or of a kind that mlx-lm does not know or
            would compute wrongly.
    """
    # mlx-lm would take a missing path for the name of a model to download.
    if not (model_dir / "config.json").is_file():
        raise ModelError(
            f"no model directory {model_dir}",
            hint="Needed: a directory in Hugging Face's or MLX's format, with config.json.",
        )
    try:
        config = read_json_object(model_dir / "config.json")
        with quiet(), damage_explained(model_dir):
            model, tokenizer = load(str(model_dir), model_config=mlx_settings(config))
    except (OSError, ValueError, StrictDataclassError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"mlx-lm cannot load {model_dir}: {reason}") from error
    if config.get("model_type") == "gemma3_text":
        _scale_embeddings_exactly(model)
    if on_cpu():
        # A CPU only emulates 16-bit floats.
        model.set_dtype(mx.float32)
    elif str(config.get("model_type")).startswith("gemma"):
        # Gemma's activations are too large for float16.
        model.set_dtype(mx.bfloat16, lambda dtype: dtype == mx.float16)
    elif config.get("model_type") in _WITH_VECTORS:
        _narrow_vectors(model)
    return model, tokenizer


def _narrow_vectors(model: Any) -> None:
    """Let a model compute in its matrices' type, whatever the type of its vectors.

    A directory made from a GGUF file has f32 vectors, with which all states would become f32. The
    logarithm of a decay stays f32, as mlx-lm keeps it.
    """
    arrays: list[Any] = tree_flatten(model.parameters())
    kinds = {array.dtype for _, array in arrays} & {mx.float16, mx.bfloat16}
    if len(kinds) == 1:
        narrow = kinds.pop()
        model.update(
            tree_unflatten(
                [
                    (name, array.astype(narrow))
                    for name, array in arrays
                    if array.dtype == mx.float32 and not name.endswith("A_log")
                ]
            )
        )


class _Rescaled(nn.Embedding):
    """Gemma 3's embeddings; the output head, which shares the weights, is not changed."""

    factor = 1.0

    def __call__(self, x: mx.array) -> mx.array:
        return super().__call__(x) * self.factor


def _scale_embeddings_exactly(model: Any) -> None:
    """Undo mlx-lm's rounding of the factor of Gemma 3's embeddings to bfloat16.

    llama.cpp does not round it: for a width of 640, the two would differ by 0.2 %, and
    log-likelihoods by up to 0.07.
    """
    embedding = model.model.embed_tokens
    if type(embedding) is nn.Embedding:
        exact = embedding.weight.shape[-1] ** 0.5
        embedding.__class__ = _Rescaled
        embedding.factor = exact / mx.array(exact, mx.bfloat16).astype(mx.float32).item()


def on_cpu() -> bool:
    """Whether MLX computes on the CPU."""
    return bool(mx.default_device() == mx.Device(mx.cpu))


def free_bytes() -> int:
    """Free memory where MLX keeps its arrays: a CUDA card's own, or else RAM."""
    if on_cpu():
        return available_bytes()
    # Only cards with a memory of their own report what is free; a Mac's GPU uses the RAM.
    free = mx.device_info().get("free_memory")
    return int(free) if isinstance(free, int | float) else available_bytes()


def quiet() -> contextlib.redirect_stdout[io.StringIO]:
    """Redirect mlx-lm's coloured progress, which it prints on stdout; stdout is for data."""
    return contextlib.redirect_stdout(io.StringIO())


def wire_memory() -> Callable[[], None]:
    """Keep the arrays in a GPU's memory, as mlx-lm does.

    Without this, macOS may page a large model out between steps.

    Returns:
        A function that undoes it.
    """
    before = None if on_cpu() else maybe_set_recommended_wired_limit()

    def undo() -> None:
        if before is not None:
            mx.synchronize()
            mx.set_wired_limit(before)

    return undo


@contextlib.contextmanager
def compiled_on_gpu_only() -> Iterator[None]:
    """Switch MLX's compilation off on a CPU: g++ takes 13 s at the start and saves 6 % later."""
    if not on_cpu():
        yield
        return
    mx.disable_compile()
    try:
        yield
    finally:
        mx.enable_compile()
