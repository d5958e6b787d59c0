"""Computes the parts of a batch side by side: losses, and gradients summed in a fixed order.

On a CPU, MLX computes one stream of operations on one core, and each thread has its own stream. So
each worker has a thread and its own layers over the same arrays, and takes the next part as soon as
it is free.

Import this after ``agentr_lite.actors.mlx.blas.use_fast_blas``: it imports MLX.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import mlx.core as mx
from mlx.utils import tree_map

from agentr_lite.actors.mlx.device import on_cpu
from agentr_lite.actors.mlx.weights import own_layers
from agentr_lite.train.kernels import kernels
from agentr_lite.train.layers import make_lean, recompute
from agentr_lite.train.loss import Halves, comes_apart, number, summed_loss
from agentr_lite.train.parts import Part


class Workers:
    """Threads that compute parts of batches."""

    def __init__(self, model: Any, *, count: int, recomputed: int) -> None:
        """Make the workers' layers.

        Args:
            model: with its adapter layers.
            count: number of workers; on a GPU, which is parallel itself, 1.
            recomputed: so many of the first layers keep only their inputs for the backward pass and
                compute the rest again.
        """
        self._model = model
        apart = comes_apart(model)
        free = [own_layers(model) for _ in range(count)]
        for layers in free:
            if kernels() is not None and on_cpu():
                make_lean(layers)
            for layer in layers.layers[:recomputed]:
                recompute(layer)
        self._halves = [(layers, Halves(layers, apart=apart)) for layers in free]
        self._local = threading.local()
        self._pool = ThreadPoolExecutor(count, "train", self._begin) if count > 1 else None
        if self._pool is None:
            self._begin()

    def loss(self, parts: Sequence[Part]) -> float:
        """Mean loss in nats a token; 0 if no token has weight."""

        def compute(part: Part) -> float:
            _, halves = self._local.model
            return number(summed_loss(halves, part, learns=False))

        parameters = self._model.trainable_parameters()
        total = sum(self._computed(compute, parameters, parts))
        return total / _positive(sum(part.weight for part in parts))

    def gradients(self, parts: Sequence[Part]) -> tuple[float, Any]:
        """Mean loss in nats a token, and its gradient with respect to the adapter."""
        parameters = self._model.trainable_parameters()

        def compute(part: Part) -> tuple[float, Any]:
            layers, halves = self._local.model

            def loss(parameters: Any) -> mx.array:
                layers.update(parameters)
                return summed_loss(halves, part, learns=True)

            # A tree of this thread's own: MLX exchanges its arrays while it differentiates.
            value, gradient = mx.value_and_grad(loss)(tree_map(lambda each: each, parameters))
            mx.eval(value, gradient)
            return number(value), gradient

        total, summed = 0.0, None
        for value, gradient in self._computed(compute, parameters, parts):
            total += value
            summed = gradient if summed is None else tree_map(mx.add, summed, gradient)
            mx.eval(summed)
        weight = _positive(sum(part.weight for part in parts))
        return total / weight, tree_map(lambda each: each / weight, summed)

    def close(self) -> None:
        """Stop after the parts that are being computed."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def _begin(self) -> None:
        """In each worker's thread: take one of the models."""
        self._local.model = self._halves.pop()

    def _computed(
        self, compute: Callable[[Part], Any], parameters: Any, parts: Sequence[Part]
    ) -> Any:
        """Results in the order of the parts."""

        def work(part: Part) -> Any:
            layers, _ = self._local.model
            layers.update(parameters)
            result = compute(part)
            # No array of the last computation stays alive in the layers.
            layers.update(parameters)
            return result

        return map(work, parts) if self._pool is None else self._pool.map(work, parts)


def _positive(weight: float) -> float:
    # A batch without any weight must give 0, not 0 / 0.
    return max(weight, 1e-9)
