"""Tiny random models with recurrent layers, one of each architecture."""

from __future__ import annotations

from pathlib import Path

from benchmarks.hybrids import FAMILIES, HybridShape, Vocabulary, write_hybrid
from tests.support.tiny_gguf import CHATML, byte_bpe

__all__ = ["FAMILIES", "tiny_shape", "write_tiny_hybrid"]

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


def write_tiny_hybrid(path: Path, arch: str, *, seed: int = 0) -> Path:
    """Write a random model.

    Args:
        path: the file.
        arch: one of ``FAMILIES``.
        seed: of the numbers.
    """
    tokens, types, merges = byte_bpe(100)
    end = tokens.index("<|im_end|>")
    vocabulary = Vocabulary(tokens, types, merges, "qwen2", end, CHATML)
    return write_hybrid(path, tiny_shape(arch), vocabulary, seed=seed)
