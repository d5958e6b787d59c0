"""Logits of one text after another, some tokens at a time, from MLX and from llama.cpp.

With a vocabulary of 262,144 tokens, the logits of 1,536 positions take 1.6 GB. So both libraries
go through a text in pieces, with the earlier tokens' keys and values in their caches.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from agentr_lite.actors.mlx.blas import use_fast_blas
from agentr_lite.convert.safetensors_io import FloatArray

PIECE = 256
"""Tokens at a time."""
_EXACT_BYTES = 4 << 30
"""On a GPU, larger models stay in their own precision: in f32 they may not fit."""


class MlxLogits:
    """A model directory in MLX; keys, values and, if possible, weights are f32.

    Attributes:
        exact: whether it computes in f32.
        tokenizer: mlx-lm's tokenizer of the directory.
    """

    def __init__(self, model_dir: Path) -> None:
        """
        Raises:
            ModelError: MLX cannot load the model.
        """
        # Before MLX is imported.
        use_fast_blas()
        import mlx.core as mx

        from agentr_lite.actors.mlx.adapters import Adapters
        from agentr_lite.actors.mlx.device import load_model, on_cpu

        self._model, self.tokenizer = load_model(model_dir)
        size = sum(file.stat().st_size for file in model_dir.glob("*.safetensors"))
        self.exact = on_cpu() or size < _EXACT_BYTES
        if self.exact:
            self._model.set_dtype(mx.float32)
        self._adapters = Adapters(self._model)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        import mlx.core as mx

        del self._model, self._adapters
        gc.collect()
        mx.clear_cache()

    def pieces(self, tokens: Sequence[int], adapter: Path | None = None) -> Iterator[FloatArray]:
        """Logits after each token, shape (at most ``PIECE``, vocabulary), in order.

        Args:
            tokens: a text.
            adapter: mlx-lm's adapter directory; None: the base.

        Raises:
            ModelError: the adapter cannot be used.
        """
        import mlx.core as mx
        from mlx_lm.models.cache import make_prompt_cache

        from agentr_lite.actors.mlx.device import compiled_on_gpu_only

        self._adapters.use(adapter)
        cache = make_prompt_cache(self._model)
        for start in range(0, len(tokens), PIECE):
            piece = mx.array([list(tokens[start : start + PIECE])])
            with compiled_on_gpu_only():
                yield np.array(self._model(piece, cache=cache)[0].astype(mx.float32))


class LlamaCppLogits:
    """A GGUF file in llama.cpp, on the CPU; keys and values are f32.

    Attributes:
        model: the loaded model with its vocabulary.
    """

    def __init__(self, gguf: Path, *, longest: int) -> None:
        """
        Args:
            gguf: the file.
            longest: most tokens of a text.

        Raises:
            ModelError: llama.cpp cannot load the model.
        """
        from agentr_lite.actors.llamacpp.adapters import Adapters
        from agentr_lite.actors.llamacpp.context import Context
        from agentr_lite.actors.llamacpp.machine import physical_cores
        from agentr_lite.actors.llamacpp.model import Model

        with contextlib.ExitStack() as stack:
            self.model = Model(gguf, n_gpu_layers=0)
            stack.callback(self.model.close)
            self._adapters = Adapters(self.model)
            stack.callback(self._adapters.close)
            self._context: Any = Context(
                self.model,
                n_cells=longest,
                n_batch=PIECE,
                n_threads=physical_cores(),
                exact=True,
            )
            stack.callback(self._context.close)
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def pieces(self, tokens: Sequence[int], adapter: Path | None = None) -> Iterator[FloatArray]:
        """Logits after each token, shape (at most ``PIECE``, vocabulary), in order.

        Args:
            tokens: a text.
            adapter: a GGUF adapter; None: the base.

        Raises:
            ModelError: the adapter cannot be used.
        """
        self._context.set_adapter(self._adapters.load(adapter) if adapter is not None else None)
        self._context.clear()
        for start in range(0, len(tokens), PIECE):
            piece = list(tokens[start : start + PIECE])
            logits = self._context.decode(
                piece, range(start, start + len(piece)), [0] * len(piece), outputs=len(piece)
            )
            yield np.array(logits, np.float32)
