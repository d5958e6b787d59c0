"""Cross-entropy on the tokens to be learnt, on as many CPU cores as there are."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any

import mlx.core as mx
import mlx.nn as nn

MAX_STREAMS = 8

_SPLITTABLE = ("llama", "qwen2", "qwen3")
"""mlx-lm's models that are ``model.model`` and then nothing but the projection to the
vocabulary (others scale or cap their logits)."""


def masked_loss(
    model: Any, tokens: mx.array, picks: mx.array, weights: mx.array
) -> tuple[mx.array, mx.array]:
    """Mean loss of predicting the tokens that follow the picked positions.

    On a CPU, MLX computes one stream of operations on one core; so the rows are dealt out to
    several streams and computed side by side.

    Args:
        model: one of mlx-lm's.
        tokens: shape (rows, length), int32.
        picks: shape (rows, picks), int32: positions below length - 1.
        weights: shape (rows, picks): >= 0; 0 where a pick is padding.

    Returns:
        The weighted mean in nats, and the sum of the weights: mlx-lm's ``loss=`` seam.
    """
    rows, streams = tokens.shape[0], _streams()
    parts = min(rows, len(streams))
    losses = []
    for part in range(parts):
        here = slice(part * rows // parts, (part + 1) * rows // parts)
        with mx.stream(streams[part]):
            losses.append(_summed(model, tokens[here], picks[here], weights[here]))
    total = weights.sum()
    # A batch without any weight must give 0, not 0 / 0.
    return sum(losses[1:], losses[0]) / mx.maximum(total, 1e-9), total


def _summed(model: Any, tokens: mx.array, picks: mx.array, weights: mx.array) -> mx.array:
    logits = _picked_logits(model, tokens[:, :-1], picks)
    targets = mx.take_along_axis(tokens[:, 1:], picks, axis=1)
    return (nn.losses.cross_entropy(logits.astype(mx.float32), targets) * weights).sum()


def _picked_logits(model: Any, inputs: mx.array, picks: mx.array) -> mx.array:
    """Logits at the picked positions, shape (rows, picks, vocabulary)."""
    if getattr(model, "model_type", None) not in _SPLITTABLE:
        return mx.take_along_axis(model(inputs), picks[:, :, None], axis=1)
    hidden = mx.take_along_axis(model.model(inputs), picks[:, :, None], axis=1)
    if model.args.tie_word_embeddings:
        logits: mx.array = model.model.embed_tokens.as_linear(hidden)
    else:
        logits = model.lm_head(hidden)
    return logits


@lru_cache(maxsize=1)
def _streams() -> tuple[Any, ...]:
    """One stream a core on a CPU; the default stream alone on a GPU, which is parallel itself."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    if mx.default_device() != mx.Device(mx.cpu) or cores == 1:
        return (mx.default_stream(mx.default_device()),)
    # The default stream stays free for the optimizer, which waits for all of them.
    return tuple(mx.new_stream(mx.cpu) for _ in range(min(cores, MAX_STREAMS)))
