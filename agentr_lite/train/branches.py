"""Models compute rows with branches (``packing``): positions and attention by branch.

mlx-lm's models know only rows in which each token follows the one before it. Everything in them
but the rotary positions and the attention treats each token by itself. So these two are exchanged
while a row with branches is computed.

Import this after ``agentr_lite.actors.mlx.blas.use_fast_blas``: it imports MLX.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import mlx.core as mx
import numpy as np

from agentr_lite.actors.mlx.device import on_cpu
from agentr_lite.train.kernels import kernels
from agentr_lite.train.loss import Halves
from agentr_lite.train.packing import Branch, pack

_SAME = 1e-3
"""Largest difference, relative to the largest state, of one row with branches and several rows."""
_PROBE = (24, 40, 16)
"""Tokens that two sequences share, and of each alone, in the trial whether a model can do this."""

_current = threading.local()


@contextlib.contextmanager
def branching(branches: tuple[Branch, ...]) -> Iterator[None]:
    """Within, in this thread: the model's rows have these branches.

    The backward pass belongs within, too: layers may be computed again in it.

    Args:
        branches: of the one row; empty for rows as the models know them.
    """
    before = _branches()
    _current.branches = branches
    try:
        yield
    finally:
        _current.branches = before


@contextlib.contextmanager
def branches_possible() -> Iterator[None]:
    """Within: rotary positions and attention follow ``branching``."""
    rope, attention = mx.fast.rope, mx.fast.scaled_dot_product_attention

    def turn(a: mx.array, dims: int, *, offset: Any, **rest: Any) -> mx.array:
        branches = _branches()
        if not branches:
            return rope(a, dims, offset=offset, **rest)
        turned = []
        for branch in branches:
            begin, end = branch[-1]
            own = a[..., begin:end, :]
            turned.append(rope(own, dims, offset=offset + _depth(branch), **rest))
        return mx.concatenate(turned, axis=-2)

    def attend(q: mx.array, k: mx.array, v: mx.array, *, mask: Any = None, **rest: Any) -> mx.array:
        branches = _branches()
        if not branches:
            return attention(q, k, v, mask=mask, **rest)
        causal = isinstance(mask, str) and mask == "causal"
        fast = kernels() if on_cpu() and q.dtype == k.dtype == v.dtype == mx.float32 else None
        if causal and fast is not None and rest.get("sinks") is None:
            return fast.attention(q, k, v, rest["scale"], branches)
        parts = []
        for branch in branches:
            begin, end = branch[-1]
            keys, values = _along(k, branch), _along(v, branch)
            # A mask of numbers depends on the positions alone, and the row's first tokens have all
            # positions that occur.
            depth = _depth(branch)
            here = depth + end - begin
            own = mask[..., depth:here, :here] if isinstance(mask, mx.array) else mask
            parts.append(attention(q[..., begin:end, :], keys, values, mask=own, **rest))
        return mx.concatenate(parts, axis=-2)

    # mlx-lm's models look both up at every call.
    mx.fast.rope, mx.fast.scaled_dot_product_attention = turn, attend
    try:
        yield
    finally:
        mx.fast.rope, mx.fast.scaled_dot_product_attention = rope, attention


def takes_branches(halves: Halves) -> bool:
    """Whether a model computes a row with branches as it computes the sequences one by one.

    Models with recurrent layers, with an attention of their own or with learnt positions do not.
    Call this within ``branches_possible``.
    """
    # Ids that every vocabulary has.
    rng = np.random.default_rng(0)
    shared, *alone = (rng.integers(1, 6, size).tolist() for size in _PROBE)
    first, second = (shared + each for each in alone)
    packed = pack([first, second])
    try:
        with branching(packed.branches):
            row = halves.body(mx.array([packed.tokens]))[0]
            mx.eval(row)
        rows = [halves.body(mx.array([sequence]))[0] for sequence in (first, second)]
        mx.eval(rows)
    except (TypeError, ValueError, AttributeError, IndexError):
        return False
    for sequence, places in zip(rows, packed.places, strict=True):
        gap = mx.abs(row[mx.array(places)] - sequence).max()
        if not bool((gap <= _SAME * mx.abs(sequence).max()).item()):
            return False
    return True


def _branches() -> tuple[Branch, ...]:
    branches: tuple[Branch, ...] = getattr(_current, "branches", ())
    return branches


def _depth(branch: Branch) -> int:
    """Position of the branch's first own token."""
    return sum(end - begin for begin, end in branch[:-1])


def _along(array: mx.array, branch: Branch) -> mx.array:
    """Keys or values on the way to the end of a branch."""
    if len(branch) == 1:
        begin, end = branch[0]
        return array[..., begin:end, :]
    return mx.concatenate([array[..., begin:end, :] for begin, end in branch], axis=-2)
