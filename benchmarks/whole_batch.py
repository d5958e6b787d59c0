"""How batches were computed before they were split into parts; for comparison.

All rows of a batch are padded to one length and computed in one go, on one MLX stream a core, and
all activations are kept, unless the model is large. Import this after ``use_fast_blas``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx_lm.tuner.trainer import grad_checkpoint
from mlx_lm.utils import get_total_parameters

from agentr_lite.train.batches import Tokenized

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


PAD_MULTIPLE = 32
LARGE_MODEL = 150_000_000


def make_batch(examples: Sequence[Tokenized]) -> tuple[mx.array, mx.array, mx.array]:
    """Tokens, picks and weights of a batch, padded to multiples of 32."""
    picks = [np.flatnonzero(example.mask[1:]) for example in examples]
    rows = len(examples)
    length = 1 + _padded(max(len(example.tokens) for example in examples) - 1)
    tokens = np.zeros((rows, length), np.int32)
    padded_picks = np.zeros((rows, _padded(max(map(len, picks)))), np.int32)
    weights = np.zeros(padded_picks.shape, np.float32)
    for row, (example, positions) in enumerate(zip(examples, picks, strict=True)):
        tokens[row, : len(example.tokens)] = example.tokens
        padded_picks[row, : len(positions)] = positions
        weights[row, : len(positions)] = example.weight
    return mx.array(tokens), mx.array(padded_picks), mx.array(weights)


def gradients(model: Any, examples: Sequence[Tokenized]) -> tuple[float, Any]:
    """Loss and gradients of one batch."""
    if get_total_parameters(model) >= LARGE_MODEL:
        grad_checkpoint(model.layers[0])
    (loss, _), gradient = nn.value_and_grad(model, masked_loss)(model, *make_batch(examples))
    mx.eval(loss, gradient)
    return loss.item(), gradient


def loss(model: Any, examples: Sequence[Tokenized]) -> float:
    """Validation loss of one batch."""
    value: Any = masked_loss(model, *make_batch(examples))[0].item()
    return float(value)


def _padded(length: int) -> int:
    return PAD_MULTIPLE * max(1, -(-length // PAD_MULTIPLE))
