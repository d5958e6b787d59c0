"""The order of rows and columns in the matrices of linear attention (Qwen3.5).

Several heads of values may share one head of keys. Hugging Face's and MLX's format keeps the value
heads of a key head together; llama.cpp takes one value head of each key head in turn::

    2 key heads, 6 value heads
    grouped (MLX)     k0v0 k0v1 k0v2 k1v0 k1v1 k1v2
    tiled (GGUF)      k0v0 k1v0 k0v1 k1v1 k0v2 k1v2

Source: ``_LinearAttentionVReorderBase`` in llama.cpp's converter.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Index = npt.NDArray[np.int64]

_TENSOR = re.compile(r"^blk\.\d+\.([a-z_0-9.]+)$")


@dataclass(frozen=True)
class LinearHeads:
    """The heads of linear attention."""

    keys: int
    """Heads of keys, and of queries."""
    values: int
    """Heads of values: a multiple of ``keys``."""
    key_width: int
    value_width: int

    @property
    def fit(self) -> bool:
        """Whether there are heads at all, and as many of values for each head of keys."""
        sizes = (self.keys, self.values, self.key_width, self.value_width)
        return min(sizes) > 0 and self.values % self.keys == 0


@dataclass(frozen=True)
class Order:
    """Where GGUF's rows and columns come from: ``gguf[i] = mlx[rows[i]]``; None: the same order."""

    rows: Index | None = None
    columns: Index | None = None


def linear_order(name: str, heads: LinearHeads) -> Order:
    """The order of a tensor.

    Args:
        name: GGUF's.
        heads: of the model.
    """
    matched = _TENSOR.match(name)
    if matched is None or heads.keys == heads.values:
        return Order()
    mixed = 2 * heads.keys * heads.key_width
    match matched.group(1):
        case "attn_qkv.weight" | "ssm_conv1d.weight":
            # Queries and keys come first, in the same order in both formats.
            values = mixed + _tiled(heads, heads.value_width)
            return Order(rows=np.concatenate([np.arange(mixed), values]))
        case "attn_gate.weight":
            return Order(rows=_tiled(heads, heads.value_width))
        case "ssm_alpha.weight" | "ssm_beta.weight" | "ssm_a" | "ssm_dt.bias":
            return Order(rows=_tiled(heads, 1))
        case "ssm_out.weight":
            return Order(columns=_tiled(heads, heads.value_width))
    return Order()


def _tiled(heads: LinearHeads, width: int) -> Index:
    grouped = np.arange(heads.values * width).reshape(heads.keys, -1, width)
    return np.ascontiguousarray(grouped.swapaxes(0, 1)).reshape(-1)
