"""Cross-entropy on the masked tokens, on as many CPU cores as there are."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any

import mlx.core as mx
import mlx.nn as nn

MAX_STREAMS = 8


def masked_loss(model: nn.Module, tokens: mx.array, mask: mx.array) -> tuple[mx.array, mx.array]:
    """Mean loss of predicting each token whose mask is not 0 from those before it.

    On a CPU, MLX computes one stream of operations on one core; so the rows are dealt out to
    several streams and computed side by side.

    Args:
        model: tokens (rows, length) -> logits (rows, length, vocabulary).
        tokens: shape (rows, length), int32.
        mask: shape (rows, length): weights >= 0; the first column is not used.

    Returns:
        The weighted mean in nats, and the sum of the weights: mlx-lm's ``loss=`` seam.
    """
    weights = mask[:, 1:]
    total = weights.sum()
    rows = tokens.shape[0]
    streams = _streams()
    if len(streams) == 1 or rows == 1:
        losses = [_summed(model, tokens, weights)]
    else:
        parts = min(rows, len(streams))
        losses = []
        for part in range(parts):
            first, end = part * rows // parts, (part + 1) * rows // parts
            with mx.stream(streams[part]):
                losses.append(_summed(model, tokens[first:end], weights[first:end]))
    # A batch without any weight must give 0, not 0 / 0.
    return sum(losses[1:], losses[0]) / mx.maximum(total, 1e-9), total


def _summed(model: nn.Module, tokens: mx.array, weights: mx.array) -> mx.array:
    logits: mx.array = model(tokens[:, :-1])
    losses = nn.losses.cross_entropy(logits.astype(mx.float32), tokens[:, 1:])
    return (losses * weights).sum()


@lru_cache(maxsize=1)
def _streams() -> tuple[Any, ...]:
    """One stream a core on a CPU; the default stream alone on a GPU, which is parallel itself."""
    if mx.default_device() != mx.Device(mx.cpu):
        return (mx.default_stream(mx.default_device()),)
    count = min(os.cpu_count() or 1, MAX_STREAMS)
    # The default stream stays free for the optimizer, which waits for all of them.
    return tuple(mx.new_stream(mx.cpu) for _ in range(count))
