"""Several processes that train one adapter (``train.workers``): what they tell each other.

All of them know the whole batch. Each computes a block of successive parts, and the sum of the
gradients goes from process to process, so that it is made in the order of the parts::

    process 0   g0 + g1 ──▶ process 1   (g0 + g1) + g2 + g3 ──▶ process 0   the whole sum

One process sums in the same order, so the number of processes changes no bit of the result. This
holds over MLX's ring. Other back ends of MLX add the processes' sums in an order of their own.

Import this after ``agentr_lite.actors.mlx.blas.use_fast_blas``: it imports MLX.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten, tree_map, tree_unflatten

from agentr_lite.core.errors import AgentrError
from agentr_lite.train.parts import Part

_CHUNK = 1 << 20
"""Numbers that are sent at a time: the next process works on them while the others follow."""


class PeerLost(AgentrError):
    """Another process of the team is gone. Its own error says more."""


class Alone:
    """One process that trains by itself.

    Attributes:
        rank: number of this process, from 0. Process 0 alone writes files and reports.
        size: number of processes.
        beside: how many of them this process's machine has.
    """

    rank = 0
    size = 1
    beside = 1

    def share(self, value: Any) -> Any:
        """Process 0's value, which JSON can hold, in every process."""
        return value

    def gather(self, value: Any) -> list[Any]:
        """The values of all processes, which JSON can hold, in every process."""
        return [value]

    def same(self, tree: Any) -> Any:
        """Process 0's tree of arrays, in every process."""
        return tree

    def summed(self, gradients: Iterable[Any], like: Any) -> Any:
        """The sum of all processes' gradients, those of process 0 first.

        Args:
            gradients: of this process, in the order of its parts; perhaps none.
            like: a tree of the same shapes.
        """
        total = None
        for gradient in gradients:
            total = gradient if total is None else tree_map(mx.add, total, gradient)
            mx.eval(total)
        return total


class Team(Alone):
    """Processes that ``mlx.launch`` started.

    Everything here is called by all of them, in the same order. While a process waits for another
    one, MLX keeps a core busy. If that one ends, its connections do, and MLX raises an error.
    """

    def __init__(self) -> None:
        """Wait for the other processes.

        Raises:
            PeerLost: they cannot be reached.
        """
        # What `mlx.launch` gives the processes of a ring.
        self._is_ring = bool(os.environ.get("MLX_HOSTFILE"))
        with _answered():
            self._group = mx.distributed.init(
                strict=True, backend="ring" if self._is_ring else "any"
            )
        self.rank, self.size = self._group.rank(), self._group.size()

    def share(self, value: Any) -> Any:
        """See ``Alone``."""
        data = json.dumps(value).encode() if self.rank == 0 else b""
        (length,) = np.array(self._all_sum(mx.array([len(data)], mx.int32))).tolist()
        words = np.zeros(-(-length // 4), np.int32)
        words.view(np.uint8)[: len(data)] = np.frombuffer(data, np.uint8)
        received = np.array(self._all_sum(mx.array(words)))
        return json.loads(received.tobytes()[:length])

    def gather(self, value: Any) -> list[Any]:
        """See ``Alone``."""
        data = json.dumps(value).encode()
        lengths = mx.array([len(data) if self.rank == rank else 0 for rank in range(self.size)])
        sizes = np.array(self._all_sum(lengths.astype(mx.int32))).tolist()
        words = np.zeros((self.size, -(-max(sizes) // 4)), np.int32)
        words[self.rank].view(np.uint8)[: len(data)] = np.frombuffer(data, np.uint8)
        rows = np.array(self._all_sum(mx.array(words)))
        return [json.loads(row.tobytes()[:size]) for row, size in zip(rows, sizes, strict=True)]

    def same(self, tree: Any) -> Any:
        """See ``Alone``."""
        # Process 0 says the order, too: what it has read from a file is in that of the file.
        named: dict[str, Any] = dict(tree_flatten(tree)) if self.rank == 0 else {}
        rows = [[name, array.shape, str(array.dtype)] for name, array in named.items()]
        for name, shape, kind in self.share(rows):
            own = named.get(name)
            dtype = getattr(mx, kind.removeprefix("mlx.core."))
            received = self._all_sum(mx.zeros(shape, dtype) if own is None else own)
            # A sum has no negative zero.
            named[name] = received if own is None else own
        return tree_unflatten(list(named.items()))

    def summed(self, gradients: Iterable[Any], like: Any) -> Any:
        """See ``Alone``."""
        if self._is_ring:
            if self.rank == 0:
                first = super().summed(gradients, like)
                own = [] if first is None else [_vector(first)]
            else:
                own = [_vector(each) for each in gradients]
            mx.eval(own)
            return _tree(self._passed_on(own, _size(like)), like)
        total = super().summed(gradients, like)
        vector = mx.zeros(_size(like)) if total is None else _vector(total)
        return _tree(self._all_sum(vector), like)

    def _passed_on(self, own: Sequence[mx.array], size: int) -> mx.array:
        """The sum over the processes in their order, to which each adds its vectors in turn.

        Args:
            own: vectors of this process, in the order in which they are added.
            size: of each.
        """
        last, after = self.size - 1, (self.rank + 1) % self.size
        before = (self.rank - 1) % self.size
        spans = [slice(begin, min(begin + _CHUNK, size)) for begin in range(0, size, _CHUNK)]
        chunks = []
        with _answered():
            for span in spans:
                length = span.stop - span.start
                total = self._receive(length, before) if self.rank else mx.zeros(length)
                for vector in own:
                    total = total + vector[span]
                mx.eval(total)
                if self.rank < last:
                    self._send(total, after)
                chunks.append(total)
            if self.rank != last:
                chunks = [self._pass(span.stop - span.start, before, after) for span in spans]
            else:
                for chunk in chunks:
                    self._send(chunk, after)
        return mx.concatenate(chunks) if len(chunks) > 1 else chunks[0]

    def _pass(self, length: int, before: int, after: int) -> mx.array:
        """A chunk of the whole sum, from the process before to the one after this."""
        chunk = self._receive(length, before)
        if after != self.size - 1:
            self._send(chunk, after)
        return chunk

    def _send(self, array: mx.array, to: int) -> None:
        mx.eval(mx.distributed.send(array, to, group=self._group))

    def _receive(self, length: int, sender: int) -> mx.array:
        array = mx.distributed.recv((length,), mx.float32, sender, group=self._group)
        mx.eval(array)
        return array

    def _all_sum(self, array: mx.array) -> mx.array:
        with _answered():
            total = mx.distributed.all_sum(array, group=self._group)
            mx.eval(total)
        return total


def deal(groups: Sequence[Sequence[Part]], team: Alone) -> list[list[Part]]:
    """The parts of each group that this process computes.

    All parts, one group after the other, are cut into blocks of successive parts, one a process,
    so that the largest block has as few tokens as possible.

    Args:
        groups: the same in every process.
        team: of this process.
    """
    costs = [part.tokens.size for parts in groups for part in parts]
    blocks = _blocks(costs, team.size)
    begin = sum(blocks[: team.rank])
    end = begin + blocks[team.rank]
    dealt, done = [], 0
    for parts in groups:
        dealt.append(list(parts[max(0, begin - done) : max(0, end - done)]))
        done += len(parts)
    return dealt


def _blocks(costs: Sequence[int], count: int) -> list[int]:
    """How many successive costs go into each of so many blocks; the last ones may be empty."""
    low, high = max(costs, default=0), sum(costs)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if len(_filled(costs, middle)) <= count else (middle + 1, high)
    blocks = _filled(costs, low)
    return [*blocks, *[0] * (count - len(blocks))]


def _filled(costs: Sequence[int], most: int) -> list[int]:
    """The sizes of blocks, each filled until the next cost would exceed ``most``."""
    blocks: list[int] = []
    total = most
    for cost in costs:
        if blocks and total + cost <= most:
            blocks[-1] += 1
            total += cost
        else:
            blocks.append(1)
            total = cost
    return blocks


def _vector(tree: Any) -> mx.array:
    """All numbers of a tree in one row."""
    arrays: list[Any] = tree_flatten(tree)
    return mx.concatenate([array.reshape(-1).astype(mx.float32) for _, array in arrays])


def _tree(vector: mx.array, like: Any) -> Any:
    """A row of numbers in the shapes of a tree."""
    named, begin = [], 0
    arrays: list[Any] = tree_flatten(like)
    for name, array in arrays:
        part = vector[begin : begin + array.size].reshape(array.shape)
        named.append((name, part.astype(array.dtype)))
        begin += array.size
    tree = tree_unflatten(named)
    mx.eval(tree)
    return tree


def _size(tree: Any) -> int:
    arrays: list[Any] = tree_flatten(tree)
    return sum(array.size for _, array in arrays)


@contextlib.contextmanager
def _answered() -> Iterator[None]:
    """Within: an error of MLX means that another process does not answer."""
    try:
        yield
    except RuntimeError as error:
        raise PeerLost(f"another training process does not answer: {error}") from error
