"""Computes the parts of a batch side by side: losses, and gradients summed in a fixed order.

On a CPU, MLX computes one stream of operations on one core, and each thread has its own stream. So
each worker has a thread and its own layers over the same arrays, and takes the next part as soon as
it is free.

Import this after ``agentr_lite.actors.mlx.blas.use_fast_blas``: it imports MLX.
"""

from __future__ import annotations

import functools
import itertools
import operator
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
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
from agentr_lite.train.team import Alone, deal


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

    def __init__(
        self, model: Any, *, count: int, recomputed: int, team: Alone | None = None
    ) -> None:
        """Make the workers' layers.

        Args:
            model: with its adapter layers.
            count: number of workers; on a GPU, which is parallel itself, 1.
            recomputed: so many of the first layers keep only their inputs for the backward pass and
                compute the rest again.
            team: the processes that share the parts out; None: this one alone.
        """
        self._model = model
        self._team = team or Alone()
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
        return self._evaluated(parts)[1]

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

        mine = deal(groups, self._team)
        results = self._computed(compute, parameters, [part for parts in mine for part in parts])
        own: list[_Own] = []
        sums = []
        for parts, dealt in zip(groups, mine, strict=True):
            own.append(_Own())
            gradients = own[-1].kept(itertools.islice(results, len(dealt)), dealt)
            sums.append(self._team.summed(gradients, parameters) if parts else None)
        found = []
        for parts, summed, all_own in zip(groups, sums, self._gathered(own), strict=True):
            weight = _positive(sum(part.weight for part in parts))
            if summed is not None:
                summed = tree_map(lambda each, by=weight: each / by, summed)
            found.append(Differentiated(all_own.loss / weight, summed, all_own.likelihoods))
        return found

    def _evaluated(self, parts: Sequence[Part]) -> tuple[float, dict[int, tuple[float, float]]]:
        """The mean loss, and each pair's log-likelihoods."""

        def compute(part: Part) -> tuple[float, None, Computed]:
            _, halves = self._local.model
            computed = Computed()
            value = number(summed_loss(halves, part, learns=False, computed=computed))
            return value, None, computed

        parameters = self._model.trainable_parameters()
        (dealt,) = deal([parts], self._team)
        own = _Own()
        for _ in own.kept(self._computed(compute, parameters, dealt), dealt):
            pass
        (everything,) = self._gathered([own])
        weight = _positive(sum(part.weight for part in parts))
        return everything.loss / weight, everything.likelihoods

    def _gathered(self, own: Sequence[_Own]) -> list[_Own]:
        """What all processes have computed of each group, in the order of the parts."""
        rows = self._team.gather([each.to_json() for each in own])
        return [_Own.of(group) for group in zip(*rows, strict=True)]

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


@dataclass
class _Own:
    """What was computed of the parts of a group, in their order.

    Attributes:
        values: the summed loss of each part.
        pairs: number, and log-likelihoods of chosen and rejected, of each pair.
    """

    values: list[float] = field(default_factory=list)
    pairs: list[tuple[int, float, float]] = field(default_factory=list)

    def kept(self, results: Iterator[tuple[float, Any, Computed]], parts: Sequence[Part]) -> Any:
        """Keep the figures of each part, and give its gradient."""
        for part, (value, gradient, computed) in zip(parts, results, strict=True):
            self.values.append(value)
            if isinstance(part, PairPart):
                assert computed.likelihoods is not None
                likelihoods = computed.likelihoods.tolist()
                self.pairs += [(i, *both) for i, both in zip(part.pairs, likelihoods, strict=True)]
            yield gradient

    @property
    def loss(self) -> float:
        """The sum of the values, one after the other: ``sum`` may round otherwise."""
        return functools.reduce(operator.add, self.values, 0.0)

    @property
    def likelihoods(self) -> dict[int, tuple[float, float]]:
        """Log-likelihoods of chosen and rejected by the pair's number."""
        return {pair: (chosen, rejected) for pair, chosen, rejected in self.pairs}

    def to_json(self) -> list[Any]:
        """As ``of`` reads it."""
        return [self.values, self.pairs]

    @classmethod
    def of(cls, rows: Sequence[Any]) -> _Own:
        """All of several processes, one after the other."""
        joined = cls()
        for values, pairs in rows:
            joined.values += values
            joined.pairs += pairs
        return joined


def _positive(weight: float) -> float:
    # A batch without any weight must give 0, not 0 / 0.
    return max(weight, 1e-9)
