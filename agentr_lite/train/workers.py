"""Computes the parts of a batch side by side: losses, and gradients summed in a fixed order.

On a CPU, MLX computes one stream of operations on one core, and each thread has its own stream. So
each worker has a thread and its own layers over the same arrays, and takes the next part as soon as
it is free.

Import this after ``agentr_lite.actors.mlx.blas.use_fast_blas``: it imports MLX.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx.utils import tree_map

from agentr_lite.actors.mlx.device import on_cpu
from agentr_lite.actors.mlx.weights import own_layers
from agentr_lite.train.branches import branching
from agentr_lite.train.kernels import kernels
from agentr_lite.train.layers import can_recompute, make_lean, recompute
from agentr_lite.train.loss import Computed, Halves, comes_apart, number, summed_loss
from agentr_lite.train.parts import PairPart, Part


@dataclass(frozen=True)
class Differentiated:
    """The loss of some parts and its gradient."""

    loss: float
    """The mean, in nats a token, or a pair."""
    gradient: Any
    """With respect to the adapter; None of no parts."""
    likelihoods: dict[int, tuple[float, float]]
    """Each pair's log-likelihoods of chosen and rejected, in nats."""


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
            for layer in filter(can_recompute, layers.layers[:recomputed]):
                recompute(layer)
        self._halves = [(layers, Halves(layers, apart=apart)) for layers in free]
        self._local = threading.local()
        self._pool = ThreadPoolExecutor(count, "train", self._begin) if count > 1 else None
        if self._pool is None:
            self._begin()

    def loss(self, parts: Sequence[Part]) -> float:
        """Mean loss in nats a token, or a pair; 0 if nothing has weight."""
        return self._evaluated(parts)[0]

    def likelihoods(self, parts: Sequence[PairPart]) -> dict[int, tuple[float, float]]:
        """Each pair's log-likelihoods of chosen and rejected, in nats."""
        return _by_pair(parts, self._evaluated(parts)[1])

    def gradients(self, parts: Sequence[Part]) -> tuple[float, Any]:
        """Mean loss in nats a token, or a pair, and its gradient with respect to the adapter."""
        (step,) = self.several_gradients([parts])
        return step.loss, step.gradient

    def several_gradients(self, groups: Sequence[Sequence[Part]]) -> list[Differentiated]:
        """The same for several groups of parts, which are computed side by side."""
        parameters = self._model.trainable_parameters()

        def compute(part: Part) -> tuple[float, Any, Computed]:
            layers, halves = self._local.model
            computed = Computed()

            def loss(parameters: Any) -> mx.array:
                layers.update(parameters)
                return summed_loss(halves, part, learns=True, computed=computed)

            # A tree of this thread's own: MLX exchanges its arrays while it differentiates.
            value, gradient = mx.value_and_grad(loss)(tree_map(lambda each: each, parameters))
            mx.eval(value, gradient)
            return number(value), gradient, computed

        results = self._computed(compute, parameters, [part for parts in groups for part in parts])
        found = []
        for parts in groups:
            total, summed, all_computed = 0.0, None, []
            for value, gradient, computed in itertools.islice(results, len(parts)):
                total += value
                summed = gradient if summed is None else tree_map(mx.add, summed, gradient)
                mx.eval(summed)
                all_computed.append(computed)
            weight = _positive(sum(part.weight for part in parts))
            if summed is not None:
                summed = tree_map(lambda each, by=weight: each / by, summed)
            found.append(Differentiated(total / weight, summed, _by_pair(parts, all_computed)))
        return found

    def _evaluated(self, parts: Sequence[Part]) -> tuple[float, list[Computed]]:
        """The mean loss, and what each part's was made of."""

        def compute(part: Part) -> tuple[float, Computed]:
            _, halves = self._local.model
            computed = Computed()
            return number(summed_loss(halves, part, learns=False, computed=computed)), computed

        parameters = self._model.trainable_parameters()
        results = list(self._computed(compute, parameters, parts))
        weight = _positive(sum(part.weight for part in parts))
        return sum(value for value, _ in results) / weight, [made for _, made in results]

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
            with branching(part.branches):
                result = compute(part)
            # No array of the last computation stays alive in the layers.
            layers.update(parameters)
            return result

        return map(work, parts) if self._pool is None else self._pool.map(work, parts)


def _by_pair(parts: Sequence[Part], computed: Sequence[Computed]) -> dict[int, tuple[float, float]]:
    """The log-likelihoods of the pairs of some parts."""
    found: dict[int, tuple[float, float]] = {}
    for part, made in zip(parts, computed, strict=True):
        if isinstance(part, PairPart):
            assert made.likelihoods is not None
            found |= zip(part.pairs, map(tuple, made.likelihoods.tolist()), strict=True)
    return found


def _positive(weight: float) -> float:
    # A batch without any weight must give 0, not 0 / 0.
    return max(weight, 1e-9)
