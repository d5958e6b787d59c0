"""Kernels of our own for training on a CPU: causal attention, SiLU and the cross-entropy.

On x86, MLX's CPU back end calls ``exp`` for one number after another. In a layer of SmolLM2 over
1,184 tokens, this takes more than half of the time of a forward pass. The kernels
(``kernels.c``) compute several numbers at once and keep no attention matrix: the gradient computes
it again, block by block.

Import this after ``agentr_lite.actors.mlx.blas.use_fast_blas``: it imports MLX.
"""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from agentr_lite.actors.mlx.blas import use_fast_blas
from agentr_lite.core.compiled import c_source, compiled_library
from agentr_lite.train.packing import Branch

_FLAGS = ("-O3", "-fopenmp-simd", "-fno-math-errno", "-fno-trapping-math")
_BLOCK = 128
"""Queries that attend at a time; as in ``kernels.c``."""

Floats = npt.NDArray[np.float32]


class _Attention(ctypes.Structure):
    """``Attention`` of ``kernels.c``."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in "qkv"),
        *((f"{name}_{axis}", ctypes.c_int64) for name in "qkv" for axis in ("head", "token")),
        *((name, ctypes.c_int64) for name in ("heads", "key_heads", "tokens", "first", "size")),
        ("scale", ctypes.c_float),
    )


@lru_cache(maxsize=1)
def kernels() -> Kernels | None:
    """The kernels; None where MLX does not use OpenBLAS or nothing can be compiled."""
    sgemm = use_fast_blas().sgemm
    if sgemm is None:
        return None
    source = c_source(Path(__file__).with_suffix(".c"))
    try:
        library = ctypes.CDLL(str(compiled_library("train_kernels", source, _FLAGS)))
    except (OSError, subprocess.SubprocessError):
        # MLX's own operations do the same, more slowly.
        return None
    return Kernels(library, sgemm)


class Kernels:
    """The compiled kernels as differentiable functions of MLX arrays (float32, on the CPU).

    Each evaluates its inputs when it is called, so nothing of it may be compiled by MLX. Calls from
    several threads run side by side.
    """

    def __init__(self, library: ctypes.CDLL, sgemm: int) -> None:
        self._lib = library
        library.set_sgemm(ctypes.c_void_p(sgemm))
        self.silu = self._differentiable_silu()

    def attention(
        self,
        q: mx.array,
        k: mx.array,
        v: mx.array,
        scale: float,
        branches: Sequence[Branch] = (),
    ) -> mx.array:
        """Causal attention of each row with itself.

        Args:
            q: shape (rows, heads, tokens, size).
            k: shape (rows, key heads, tokens, size).
            v: the same.
            scale: factor of the scores.
            branches: of every row (``packing``); empty for rows without.

        Returns:
            Shape (rows, heads, tokens, size).
        """
        branches = branches or (((0, q.shape[2]),),)

        @mx.custom_function
        def attend(q: mx.array, k: mx.array, v: mx.array) -> tuple[mx.array, mx.array]:
            return self._attend(q, k, v, scale, branches)

        @attend.vjp
        def gradient(primals: Any, cotangents: Any, outputs: Any) -> tuple[mx.array, ...]:
            (q, k, v), (out, sums) = primals, outputs
            return self._attention_gradient(q, k, v, out, sums, cotangents[0], scale, branches)

        results: Any = attend(q, k, v)
        out: mx.array = results[0].transpose(0, 2, 1, 3)
        return out

    def cross_entropy(
        self, logits: mx.array, targets: npt.NDArray[np.int32], weights: Floats
    ) -> tuple[Floats, mx.array]:
        """Weighted losses in nats, and their sum's gradient with respect to the logits.

        Args:
            logits: shape (tokens, vocabulary).
            targets: shape (tokens,).
            weights: shape (tokens,).

        Returns:
            Shape (tokens,) and shape (tokens, vocabulary).
        """
        mx.eval(logits)
        # A copy: the kernel writes into it.
        rows = np.array(logits, dtype=np.float32, order="C")
        losses = np.empty(len(rows), np.float32)
        self._lib.cross_entropy(
            *map(_pointer, (rows, targets, weights, losses)),
            *map(ctypes.c_int64, rows.shape),
        )
        return losses, mx.array(rows)

    def _differentiable_silu(self) -> Any:
        @mx.custom_function
        def silu(x: mx.array) -> mx.array:
            values = _dense(x)
            result = np.empty_like(values)
            self._lib.silu(*map(_pointer, (values, result)), ctypes.c_int64(values.size))
            return mx.array(result)

        @silu.vjp
        def gradient(x: mx.array, cotangent: mx.array, _: mx.array) -> mx.array:
            mx.eval(x, cotangent)
            values, incoming = _dense(x), _dense(cotangent)
            result = np.empty_like(values)
            count = ctypes.c_int64(values.size)
            self._lib.silu_gradient(*map(_pointer, (values, incoming, result)), count)
            return mx.array(result)

        return silu

    def _attend(
        self, q: mx.array, k: mx.array, v: mx.array, scale: float, branches: Sequence[Branch]
    ) -> tuple[mx.array, mx.array]:
        """The output, shape (rows, tokens, heads, size), and the logarithms of the sums."""
        mx.eval(q, k, v)
        views = [_view(array) for array in (q, k, v)]
        rows, heads, tokens, size = q.shape
        out = np.empty((rows, tokens, heads, size), np.float32)
        # Of each branch, shape (heads, own tokens), one after the other.
        sums = np.empty((rows, heads * tokens), np.float32)
        scores = np.empty(min(_BLOCK, tokens) * tokens, np.float32)
        for row in range(rows):
            for branch in branches:
                begin, end = branch[-1]
                described, _kept = _described(views, row, branch, scale)
                parts = out[row, begin:end], sums[row, heads * begin : heads * end], scores
                self._lib.attention(ctypes.byref(described), *map(_pointer, parts))
        return mx.array(out), mx.array(sums)

    def _attention_gradient(
        self,
        q: mx.array,
        k: mx.array,
        v: mx.array,
        out: mx.array,
        sums: mx.array,
        cotangent: mx.array,
        scale: float,
        branches: Sequence[Branch],
    ) -> tuple[mx.array, ...]:
        mx.eval(q, k, v, out, sums, cotangent)
        views = [_view(array) for array in (q, k, v)]
        rows, heads, tokens, size = q.shape
        key_heads = k.shape[1]
        outs, incoming, logs = _dense(out), _dense(cotangent), _dense(sums)
        d_q = np.empty((rows, tokens, heads, size), np.float32)
        d_k, d_v = np.zeros((2, rows, tokens, key_heads, size), np.float32)
        scratch = np.empty((2, min(_BLOCK, tokens) * tokens), np.float32)
        for row in range(rows):
            for branch in branches:
                begin, end = branch[-1]
                own, logs_here = slice(begin, end), logs[row, heads * begin : heads * end]
                described, _kept = _described(views, row, branch, scale)
                to_k, to_v = d_k[row, own], d_v[row, own]
                if len(branch) > 1:
                    keys = sum(span[1] - span[0] for span in branch)
                    to_k, to_v = np.zeros((2, keys, key_heads, size), np.float32)
                parts = outs[row, own], incoming[row, own], logs_here, d_q[row, own], to_k, to_v
                self._lib.attention_gradient(
                    ctypes.byref(described), *map(_pointer, (*parts, *scratch))
                )
                if len(branch) > 1:
                    _scatter(to_k, d_k[row], branch)
                    _scatter(to_v, d_v[row], branch)
        return tuple(mx.array(part).transpose(0, 2, 1, 3) for part in (d_q, d_k, d_v))


def _described(
    views: list[Floats], row: int, branch: Branch, scale: float
) -> tuple[_Attention, list[Floats]]:
    """One branch of a row of arrays of shape (rows, heads, tokens, size), with their strides.

    Returns:
        The description, and the arrays that must live as long as it.
    """
    begin, end = branch[-1]
    arrays = [views[0][row][:, begin:end]]
    for view in views[1:]:
        spans = [view[row][:, slice(*span)] for span in branch]
        arrays.append(spans[0] if len(spans) == 1 else np.concatenate(spans, axis=1))
    q, k, _ = arrays
    strides = (stride // 4 for array in arrays for stride in array.strides[:2])
    first = k.shape[1] - q.shape[1]
    sizes = len(q), len(k), q.shape[1], first, q.shape[2]
    return _Attention(*map(_pointer, arrays), *strides, *sizes, scale), arrays


def _scatter(gradient: Floats, target: Floats, branch: Branch) -> None:
    """Add the gradient of the keys on a branch's way to that of the row, along axis 0."""
    done = 0
    for begin, end in branch:
        target[begin:end] += gradient[done : done + end - begin]
        done += end - begin


def _view(array: mx.array) -> Floats:
    """An evaluated array as numpy's, copied only where its last axis is not dense."""
    view: Floats = np.array(array, copy=False)
    return view if view.strides[-1] == 4 else np.ascontiguousarray(view)


def _dense(array: mx.array) -> Floats:
    mx.eval(array)
    return np.ascontiguousarray(np.array(array, copy=False))


def _pointer(array: npt.NDArray[Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
