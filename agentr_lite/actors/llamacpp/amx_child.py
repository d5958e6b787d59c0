"""The child process in which llama.cpp's AMX kernels are tried; see ``amx``."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from agentr_lite.actors.llamacpp.context import Context
from agentr_lite.actors.llamacpp.copies import quantize
from agentr_lite.actors.llamacpp.model import Model
from agentr_lite.core.child import serve

_TYPES = ("q8_0", "q4_k_m")
"""Their kernels have separate code."""
_CELLS = 128
_BATCHES = (70, 17, 1)
"""Full tiles, a part of one, and a single row."""
_TOLERANCE = 0.05
"""Largest difference of a logit, relative to the largest one. Other kernels round activations
otherwise, which gives a tenth of this; a wrong product gives more."""


def _answer(model: str) -> bool:
    """Whether a model's quantized copies give the same logits with AMX as without."""
    with tempfile.TemporaryDirectory() as folder:
        for kind in _TYPES:
            file = Path(folder) / f"{kind}.gguf"
            quantize(Path(model), file, kind)
            plain, repacked = (_logits(file, repacked=way) for way in (False, True))
            gap = np.abs(plain - repacked).max()
            # What is not a number is not smaller than anything.
            if not gap <= _TOLERANCE * np.abs(plain).max():
                return False
    return True


def _logits(path: Path, *, repacked: bool) -> npt.NDArray[np.float32]:
    """Shape (tokens, vocabulary)."""
    model = Model(path, n_gpu_layers=0, tried=True, repacked=repacked)
    context = Context(
        model, n_cells=_CELLS, n_batch=_CELLS, n_threads=1, flash_attention=False, sequences=1
    )
    parts, done = [], 0
    for count in _BATCHES:
        tokens = [(7 * i) % model.n_vocab for i in range(done, done + count)]
        logits = context.decode(tokens, range(done, done + count), [0] * count, outputs=count)
        parts.append(logits.copy())
        done += count
    context.close()
    model.close()
    return np.concatenate(parts)


def main() -> None:
    """The child's program."""
    serve(_answer)
