"""Tiny random models with recurrent layers, one of each architecture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from benchmarks.hybrids import FAMILIES, HybridShape, Vocabulary, write_hybrid
from tests.support.tiny_gguf import CHATML, byte_bpe

__all__ = ["FAMILIES", "TRAINED", "tiny_shape", "trained_shape", "write_shape", "write_tiny_hybrid"]

TRAINED = ("lfm2", "qwen35", "qwen35-shared", "granitehybrid")
"""Those whose weights MLX reads. In ``qwen35-shared``, two heads of values share one of keys."""
_RANKS = {"mamba": 8, "jamba": 8}


def tiny_shape(arch: str) -> HybridShape:
    """Four layers of width 64, with at least one of each kind."""
    attention = {"mamba": (), "mamba2": (), "qwen35": (3,)}.get(arch, (1, 3))
    if arch == "nemotron_h":
        attention = (2,)
    return HybridShape(
        arch,
        layers=4,
        width=64,
        heads=4,
        kv_heads=2,
        head=32 if arch == "qwen35" else 16,
        hidden=128,
        attention=attention,
        kernel=3 if arch == "lfm2" else 4,
        inner=128,
        state=32 if arch == "qwen35" else 16,
        groups=2,
        ranks=_RANKS.get(arch, 4),
        context=1024,
    )


def trained_shape(kind: str) -> HybridShape:
    """The same for one of ``TRAINED``."""
    shape = tiny_shape(kind.partition("-")[0])
    changes = {"qwen35": {"groups": 4}, "granitehybrid": {"groups": 1}}
    return replace(shape, **changes.get(kind, {}))


def write_tiny_hybrid(path: Path, arch: str, *, seed: int = 0) -> Path:
    """Write a random model.

    Args:
        path: the file.
        arch: one of ``FAMILIES``.
        seed: of the numbers.
    """
    return write_shape(path, tiny_shape(arch), seed=seed)


def write_shape(path: Path, shape: HybridShape, *, seed: int = 0, pre: str = "qwen2") -> Path:
    """Write a random model of a shape; ``pre`` is llama.cpp's name of the pre-tokenizer."""
    tokens, types, merges = byte_bpe(100)
    end = tokens.index("<|im_end|>")
    vocabulary = Vocabulary(tokens, types, merges, pre, end, CHATML)
    return write_hybrid(path, shape, vocabulary, seed=seed)
