"""Keys and values of tokens, in one slot for each token, shared by all prefixes with the token.

A prefix is a list of slots. The cache of a batch is gathered from them with one operation for each
layer. So copies exist only while a batch is computed::

    pool     | 0 | 1 | 2 | 3 | 4 | 5 | ...
    prefix A   0   1   2           5        slots of its tokens; 0 to 2 are shared
    prefix B   0   1   2   3   4
    batch    | -   0   1   2   5 |          gathered, right-aligned
             | 0   1   2   3   4 |

A recurrent layer has one state of a whole prefix instead. It is not in the pool: the prefix tree
keeps the states at the ends of some prefixes, and a batch gets a copy of each row's.

Source: SGLang's token-to-KV pool (arXiv 2312.07104).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import mlx.core as mx
import numpy as np
from mlx_lm.models.cache import (
    ArraysCache,
    BatchKVCache,
    CacheList,
    KVCache,
    RotatingKVCache,
    make_prompt_cache,
)

from agentr_lite.core.errors import ModelError

_FIRST_SLOTS = 4096

State = tuple[mx.array, mx.array]
"""Keys and values of one layer, each (tokens, heads, head size)."""
Recurrent = list[mx.array]
"""The arrays of all recurrent layers after one prefix, each with a first axis of 1."""


class Pool:
    """Slots of all layers.

    Attributes:
        capacity: most slots that may be taken.
        cell_bytes: bytes of one slot over all layers.
        state_bytes: bytes of one prefix's state over all recurrent layers; 0: there are none.
        vocabulary_size: columns of the model's logits.
    """

    def __init__(self, model: Any, *, origin: str) -> None:
        """Find the shapes of the model's caches by computing one token.

        Raises:
            ModelError: a layer's cache is of an unknown kind.
        """
        self._kinds = make_prompt_cache(model)
        leaves = list(_leaves(self._kinds))
        kinds = {type(cache).__name__ for cache in leaves}
        # A layer with a window may keep all tokens: its mask hides those outside the window.
        if not all(type(cache) in (KVCache, RotatingKVCache, ArraysCache) for cache in leaves):
            raise ModelError(
                f"{origin}: prefixes of such layers cannot be shared"
                f" (this model has {', '.join(sorted(kinds))})",
                hint="Use a llama, qwen, gemma, phi, lfm2, granite or similar instruct model.",
            )
        probe = [_fresh(cache, KVCache) for cache in self._kinds]
        logits = model(mx.array([[0]]), cache=probe)
        mx.eval(logits)
        self.vocabulary_size = int(logits.shape[-1])
        keyed = list(_with_keys(probe))
        self._shapes = [
            (cache.keys.shape[1], cache.keys.shape[3], cache.values.shape[3]) for cache in keyed
        ]
        self._dtypes = [(cache.keys.dtype, cache.values.dtype) for cache in keyed]
        self._empty: Recurrent = [mx.zeros_like(array) for array in _arrays(probe)]
        mx.eval(self._empty)
        self.state_bytes = sum(array.nbytes for array in self._empty)
        self.cell_bytes = sum(
            heads * (key * dtypes[0].size + value * dtypes[1].size)
            for (heads, key, value), dtypes in zip(self._shapes, self._dtypes, strict=True)
        )
        self.capacity = _FIRST_SLOTS
        self._states: list[State] = []
        self._free: list[int] = []
        self._slots = 0

    @property
    def free(self) -> int:
        """Number of slots that are not taken."""
        return len(self._free) + self.capacity - self._slots

    def take(self, count: int) -> list[int]:
        """Take slots; the caller has checked that there are enough."""
        if count > len(self._free):
            self._grow(count - len(self._free))
        return [self._free.pop() for _ in range(count)]

    def give_back(self, slots: Iterable[int]) -> None:
        """Return slots that were taken."""
        self._free.extend(slots)

    def clear(self) -> None:
        """Return all slots."""
        self._free = list(range(self._slots - 1, -1, -1))

    def store(self, slots: Sequence[int], states: Sequence[State]) -> None:
        """Write the keys and values of tokens into their slots.

        Args:
            slots: one for each token.
            states: one for each layer.
        """
        where = mx.array(np.asarray(slots, np.int32))
        for (keys, values), (new_keys, new_values) in zip(self._states, states, strict=True):
            keys[where] = new_keys
            values[where] = new_values
        mx.eval(self._states)

    def gather(
        self, rows: Sequence[Sequence[int]], states: Sequence[Recurrent | None] = ()
    ) -> list[Any]:
        """A batch's caches, one for each layer, right-aligned as mlx-lm needs them.

        No row of a recurrent layer is padded: all rows of a batch must grow by as many tokens.

        Args:
            rows: the slots of each row's prefix.
            states: those of the recurrent layers after each row's prefix; None: it is empty.
        """
        lengths = [len(row) for row in rows]
        longest = max(lengths)
        padding = [longest - length for length in lengths]
        result = [_fresh(cache, lambda: BatchKVCache(padding)) for cache in self._kinds]
        if self._empty:
            full = [state or self._empty for state in states]
            _give(result, [mx.concatenate(list(column)) for column in zip(*full, strict=True)])
        caches = list(_with_keys(result))
        if not longest:
            return result
        index = np.zeros((len(rows), longest), np.int32)
        for row, slots, pad in zip(index, rows, padding, strict=True):
            row[pad:] = slots
        where = mx.array(index)
        for cache, (keys, values) in zip(caches, self._states, strict=True):
            cache.state = (
                mx.take(keys, where, axis=0).transpose(0, 2, 1, 3),
                mx.take(values, where, axis=0).transpose(0, 2, 1, 3),
                mx.array(lengths),
                mx.array(padding),
                longest,
            )
        return result

    def _grow(self, needed: int) -> None:
        target = max(self._slots + needed, 2 * self._slots, _FIRST_SLOTS)
        slots = min(target, self.capacity)
        more = slots - self._slots
        grown: list[State] = []
        for layer, ((heads, key, value), dtypes) in enumerate(
            zip(self._shapes, self._dtypes, strict=True)
        ):
            fresh = (
                mx.zeros((more, heads, key), dtypes[0]),
                mx.zeros((more, heads, value), dtypes[1]),
            )
            if self._states:
                old = self._states[layer]
                fresh = (mx.concatenate([old[0], fresh[0]]), mx.concatenate([old[1], fresh[1]]))
            grown.append(fresh)
        self._states = grown
        mx.eval(self._states)
        self._free[:0] = range(slots - 1, self._slots - 1, -1)
        self._slots = slots


def tail_states(caches: Sequence[Any], counts: Sequence[tuple[int, int]]) -> list[State]:
    """The last keys and values of some rows of a batch, row after row.

    Args:
        caches: a batch's caches, one for each layer.
        counts: (row, number of its last tokens).
    """
    states: list[State] = []
    for cache in _with_keys(caches):
        end = cache.size()
        # (heads, tokens, size) -> (tokens, heads, size)
        both = [
            mx.concatenate(
                [held[row, :, end - count : end].swapaxes(0, 1) for row, count in counts]
            )
            for held in (cache.keys, cache.values)
        ]
        states.append((both[0], both[1]))
    return states


def recurrent_states(caches: Sequence[Any], rows: Sequence[int]) -> list[Recurrent]:
    """Copies of the recurrent layers' states of some rows of a batch.

    Args:
        caches: a batch's caches, one for each layer.
        rows: of the batch.
    """
    arrays = _arrays(caches)
    # Not views: the batch's arrays would stay in memory as long as any row's.
    states = [[mx.contiguous(array[row : row + 1]) for array in arrays] for row in rows]
    mx.eval(states)
    return states


def _leaves(caches: Iterable[Any]) -> Iterator[Any]:
    """The caches themselves: a layer may have a list of several."""
    for cache in caches:
        if type(cache) is CacheList:
            yield from _leaves(cache.caches)
        else:
            yield cache


def _with_keys(caches: Iterable[Any]) -> Iterator[Any]:
    """The caches of keys and values."""
    return (cache for cache in _leaves(caches) if not isinstance(cache, ArraysCache))


def _arrays(caches: Iterable[Any]) -> Recurrent:
    """All arrays of the recurrent layers."""
    found: Recurrent = []
    for cache in _leaves(caches):
        if isinstance(cache, ArraysCache):
            found += cache.cache
    return found


def _give(caches: Iterable[Any], arrays: Recurrent) -> None:
    """Put arrays, in the order of ``_arrays``, into recurrent layers' caches."""
    rest = iter(arrays)
    for cache in _leaves(caches):
        if isinstance(cache, ArraysCache):
            cache.cache = [next(rest) for _ in cache.cache]


def _fresh(cache: Any, with_keys: Callable[[], Any]) -> Any:
    """An empty cache of the same structure; ``with_keys`` makes those of keys and values."""
    if type(cache) is CacheList:
        return CacheList(*(_fresh(each, with_keys) for each in cache.caches))
    return ArraysCache(len(cache.cache)) if type(cache) is ArraysCache else with_keys()
