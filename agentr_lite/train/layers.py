"""Layers that keep less memory for the backward pass.

Import this after ``agentr_lite.actors.mlx.blas.use_fast_blas``: it imports MLX.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm.tuner.lora import LoRALinear

from agentr_lite.actors.mlx.device import on_cpu


def make_lean(model: Any) -> None:
    """Let adapted float32 matrices without dropout keep only their outputs."""
    for module in model.modules():
        plain = type(module) is LoRALinear and type(module.linear) is nn.Linear
        if plain and module.linear.weight.dtype == mx.float32 and module.dropout._p_1 == 1:
            module.__class__ = _LeanLinear


class _LeanLinear(LoRALinear):
    """``LoRALinear`` without the arrays between its input and its output.

    MLX's own gradient would keep four arrays of the output's size.
    """

    def __call__(self, x: mx.array) -> mx.array:
        linear, scale = self.linear, self.scale

        @mx.custom_function
        def apply(x: mx.array, a: mx.array, b: mx.array) -> tuple[mx.array, mx.array]:
            low = x @ a
            whole = mx.addmm(linear(x), low, b, alpha=scale)
            return _leaf(whole), _leaf(low)

        @apply.vjp
        def gradient(primals: Any, cotangents: Any, outputs: Any) -> tuple[mx.array, ...]:
            (x, a, b), incoming = primals, cotangents[0]
            low = outputs[1]
            to_low = scale * (incoming @ b.T)
            to_x = mx.addmm(incoming @ linear.weight, to_low, a.T)
            to_a = _rows(x).T @ _rows(to_low)
            to_b = scale * (_rows(low).T @ _rows(incoming))
            mx.eval(to_x, to_a, to_b)
            return _leaf(to_x), _leaf(to_a), _leaf(to_b)

        results: Any = apply(x, self.lora_a, self.lora_b)
        out: mx.array = results[0]
        return out


def can_recompute(layer: Any) -> bool:
    """Whether a layer's only result are its states.

    Gemma 4's layers also hand keys and values to later layers, whose gradients would be lost.
    """
    return not type(layer).__module__.endswith("gemma4_text")


def recompute(layer: Any) -> None:
    """Let a layer keep only its input for the backward pass.

    Source: gradient checkpointing (arXiv 1604.06174).
    """
    kind = type(layer)

    def call(self: Any, x: mx.array, *rest: Any, **named: Any) -> mx.array:
        adapter: list[Any] = tree_flatten(self.trainable_parameters())

        def compute(x: mx.array, *arrays: mx.array) -> mx.array:
            named_arrays = [(name, each) for (name, _), each in zip(adapter, arrays, strict=True)]
            self.update(tree_unflatten(named_arrays))
            out: mx.array = kind.__call__(self, x, *rest, **named)
            return out

        checkpoint = _checkpointed_now if on_cpu() else mx.checkpoint
        out: mx.array = checkpoint(compute)(x, *(each for _, each in adapter))
        return out

    layer.__class__ = type(kind.__name__, (kind,), {"__call__": call})


def _checkpointed_now(compute: Callable[..., mx.array]) -> Any:
    """``mx.checkpoint`` for functions that evaluate arrays, as our kernels do.

    While MLX differentiates, an evaluated array keeps all that it was computed from. So what comes
    in and what goes out are leaves, and everything between them is freed at once.
    """

    @mx.custom_function
    def computed(*inputs: mx.array) -> mx.array:
        return _leaf(compute(*map(_leaf, inputs)))

    @computed.vjp
    def gradient(inputs: Any, cotangent: mx.array, _: mx.array) -> Any:
        gradients = mx.vjp(compute, [_leaf(each) for each in inputs], [_leaf(cotangent)])[1]
        mx.eval(gradients)
        return tuple(map(_leaf, gradients))

    return computed


def _leaf(array: mx.array) -> mx.array:
    """The evaluated values alone."""
    mx.eval(array)
    return mx.array(np.array(array, copy=False))


def _rows(array: mx.array) -> mx.array:
    return array.reshape(-1, array.shape[-1])
