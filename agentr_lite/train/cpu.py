"""What makes MLX's training steps faster on a CPU: shorter attention rows, and memory kept at hand.

Measured by ``python -m benchmarks.training``. On a GPU, linear attention alone is computed in
another way.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterator
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from agentr_lite.actors.mlx.delta import delta_in_blocks
from agentr_lite.actors.mlx.device import compiled_on_gpu_only, on_cpu
from agentr_lite.train.kernels import kernels

BLOCK = 256
"""Queries that attend at a time."""

# Source: mallopt(3), glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_KEEP = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, 1 << 28))
_DEFAULTS = ((_MMAP_MAX, 65_536), (_TRIM_THRESHOLD, 128 << 10), (_TOP_PAD, 0))


@contextlib.contextmanager
def fast_steps() -> Iterator[None]:
    """Within: everything that makes training or validation steps faster on this device."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(compiled_on_gpu_only())
        stack.enter_context(delta_in_blocks())
        if on_cpu():
            stack.enter_context(blockwise_attention())
            stack.enter_context(fast_kernels())
            stack.enter_context(freed_memory_kept())
        yield


@contextlib.contextmanager
def blockwise_attention(block: int = BLOCK) -> Iterator[None]:
    """Within: causal attention leaves out most of what its mask would hide.

    MLX's CPU attention scores every query against every key and masks half of it afterwards. A
    block of queries needs the keys up to its own end alone, so with blocks nearly half of the
    work, and of the memory it passes through, is never done. The same sums in another order.
    """
    stock = mx.fast.scaled_dot_product_attention

    def attend(q: mx.array, k: mx.array, v: mx.array, *, mask: Any = None, **rest: Any) -> mx.array:
        length = q.shape[2]
        if mask != "causal" or length <= block or k.shape[2] != length:
            return stock(q, k, v, mask=mask, **rest)
        parts = [
            stock(q[:, :, begin:end], k[:, :, :end], v[:, :, :end], mask="causal", **rest)
            for begin in range(0, length, block)
            for end in (min(begin + block, length),)
        ]
        return mx.concatenate(parts, axis=2)

    # mlx-lm's models look the function up at every call.
    mx.fast.scaled_dot_product_attention = attend
    try:
        yield
    finally:
        mx.fast.scaled_dot_product_attention = stock


@contextlib.contextmanager
def fast_kernels() -> Iterator[None]:
    """Within: causal attention and SiLU are computed by our kernels, if they can be compiled."""
    fast = kernels()
    if fast is None:
        yield
        return
    attention, silu = mx.fast.scaled_dot_product_attention, nn.silu

    def attend(
        q: mx.array, k: mx.array, v: mx.array, *, scale: float, mask: Any = None, **rest: Any
    ) -> mx.array:
        is_causal = isinstance(mask, str) and mask == "causal" and rest.get("sinks") is None
        if is_causal and q.shape[2] == k.shape[2] and q.dtype == k.dtype == v.dtype == mx.float32:
            return fast.attention(q, k, v, scale)
        return attention(q, k, v, scale=scale, mask=mask, **rest)

    def activate(x: mx.array) -> mx.array:
        return fast.silu(x) if x.dtype == mx.float32 else silu(x)

    # mlx-lm's models look both up at every call.
    mx.fast.scaled_dot_product_attention, nn.silu = attend, activate
    try:
        yield
    finally:
        mx.fast.scaled_dot_product_attention, nn.silu = attention, silu


@contextlib.contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Within: freed arrays stay with the process; afterwards they go back to the system.

    MLX allocates each array again. The large ones come from the system page by page, cleared, which
    takes a tenth of a training step. Only glibc has such a setting; elsewhere this does nothing.
    """
    libc = ctypes.CDLL(None) if sys.platform.startswith("linux") else None
    if not all(hasattr(libc, name) for name in ("mallopt", "malloc_trim")):
        yield
        return
    assert libc is not None
    for option, value in _KEEP:
        libc.mallopt(option, value)
    try:
        yield
    finally:
        for option, value in _DEFAULTS:
            libc.mallopt(option, value)
        libc.malloc_trim(0)
