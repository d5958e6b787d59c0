"""The linear attention of Qwen3.5, some tokens at a time.

Outside of Metal's kernels, mlx-lm computes it token by token, and in training everywhere. Here the
tokens of a block are computed together, with the state only between blocks. Within a block, with
decays g and G_t = g_1 ... g_t, keys k, values v, step sizes b and the state S before it::

    what token t writes    d_t = b_t (v_t - G_t S k_t - sum over i < t of (G_t / G_i) (k_i k_t) d_i)
    what it reads          y_t = G_t S q_t + sum over i <= t of (G_t / G_i) (k_i q_t) d_i
    the state after it     S'  = G_n S + sum over i of (G_n / G_i) d_i k_i

The first line is a triangular system, which does not depend on the state: it is solved for all
blocks at once.

Source: Parallelizing Linear Transformers with the Delta Rule (arXiv 2406.06484) and Gated Delta
Networks (arXiv 2412.06464) for the form with blocks.

Import this after ``agentr_lite.actors.mlx.blas.use_fast_blas``: it imports MLX.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import mlx.core as mx
from mlx_lm.models import gated_delta

BLOCK = 32
"""Tokens of a block: a power of two."""
_LEAST_DECAY = 1e-30
"""A smaller decay counts as this one, so that its logarithm is finite."""


@contextlib.contextmanager
def delta_in_blocks() -> Iterator[None]:
    """Within: mlx-lm's models compute linear attention block by block, but for single tokens."""
    stock = gated_delta.gated_delta_ops

    def ops(
        q: mx.array,
        k: mx.array,
        v: mx.array,
        g: mx.array,
        beta: mx.array,
        state: mx.array | None = None,
        mask: mx.array | None = None,
    ) -> tuple[mx.array, mx.array]:
        if q.shape[1] < 2 or g.ndim != 3 or mask is not None:
            result: Any = stock(q, k, v, g, beta, state, mask)
            return result[0], result[1]
        return gated_delta_blocks(q, k, v, g, beta, state)

    # ``gated_delta_update`` looks it up at every call.
    gated_delta.gated_delta_ops = ops
    try:
        yield
    finally:
        gated_delta.gated_delta_ops = stock


def gated_delta_blocks(
    q: mx.array,
    k: mx.array,
    v: mx.array,
    g: mx.array,
    beta: mx.array,
    state: mx.array | None = None,
) -> tuple[mx.array, mx.array]:
    """mlx-lm's ``gated_delta_ops`` with one decay a head, up to rounding.

    Args:
        q: queries, shape (rows, tokens, key heads, key width).
        k: keys, the same shape.
        v: values, shape (rows, tokens, value heads, value width).
        g: decays in [0, 1], shape (rows, tokens, value heads).
        beta: step sizes, the same shape.
        state: shape (rows, value heads, value width, key width); None: zeros.

    Returns:
        What the tokens read, in the shape of ``v``, and the state after them.
    """
    rows, tokens, heads, value_width = v.shape
    kind, repeats = q.dtype, heads // q.shape[2]
    if state is None:
        state = mx.zeros((rows, heads, value_width, q.shape[-1]), mx.float32)
    blocks = -(-tokens // BLOCK)
    padding = blocks * BLOCK - tokens

    def split(array: mx.array, repeated: int = 1) -> mx.array:
        """To (rows, heads, blocks, BLOCK, width); what is added writes nothing."""
        array = array.astype(mx.float32)
        if repeated > 1:
            array = mx.repeat(array, repeated, axis=2)
        if padding:
            array = mx.pad(array, [(0, 0), (0, padding), (0, 0), (0, 0)])
        parts = array.reshape(rows, blocks, BLOCK, heads, array.shape[-1])
        return parts.transpose(0, 3, 1, 2, 4)

    queries, keys, values = split(q, repeats), split(k, repeats), split(v)
    steps = split(beta[..., None])
    # Logarithms: added tokens do not decay.
    decays = mx.cumsum(split(mx.log(mx.maximum(g, _LEAST_DECAY))[..., None]), axis=-2)
    between = decays - decays.swapaxes(-1, -2)
    seen = mx.tril(mx.ones((BLOCK, BLOCK), mx.bool_))
    between = mx.exp(mx.where(seen, between, -mx.inf))
    since = mx.exp(decays)
    written = mx.tril(steps * between * (keys @ keys.swapaxes(-1, -2)), -1)
    solved = _inverse(written)
    own = solved @ (steps * values)
    # What the state before the block takes away from what is written.
    known = solved @ (steps * since * keys)
    read = between * (queries @ keys.swapaxes(-1, -2))
    from_state = since * queries
    left = mx.exp(decays[..., -1:, :] - decays) * keys
    whole = since[..., -1:, :]
    outputs = []
    for block in range(blocks):
        turned = state.swapaxes(-1, -2)
        delta = own[:, :, block] - known[:, :, block] @ turned
        outputs.append(from_state[:, :, block] @ turned + read[:, :, block] @ delta)
        state = whole[:, :, block] * state + delta.swapaxes(-1, -2) @ left[:, :, block]
    joined = mx.stack(outputs, axis=2).transpose(0, 2, 3, 1, 4)
    result = joined.reshape(rows, blocks * BLOCK, heads, value_width)[:, :tokens]
    return result.astype(kind), state


def _inverse(below: mx.array) -> mx.array:
    """The inverse of ``1 + below``, block by block, each level from the inverses on its diagonal.

    Args:
        below: strictly lower triangular, shape (..., BLOCK, BLOCK).
    """
    shape = below.shape[:-2]
    inverses = mx.ones((*shape, BLOCK, 1, 1), below.dtype)
    size = 1
    while size < BLOCK:
        count = BLOCK // (2 * size)
        grid = below.reshape(*shape, count, 2, size, count, 2, size)
        corners = mx.stack([grid[..., n, 1, :, n, 0, :] for n in range(count)], axis=-3)
        upper, lower = inverses[..., 0::2, :, :], inverses[..., 1::2, :, :]
        corners = -(lower @ corners @ upper)
        nothing = mx.zeros_like(upper)
        inverses = mx.concatenate(
            [
                mx.concatenate([upper, nothing], axis=-1),
                mx.concatenate([corners, lower], axis=-1),
            ],
            axis=-2,
        )
        size *= 2
    return inverses[..., 0, :, :]
