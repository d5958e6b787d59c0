"""Keys and values of tokens, in one slot for each token, shared by all prefixes with the token.

A prefix is a list of slots. The cache of a batch is gathered from them with one operation for each
layer. So copies exist only while a batch is computed::

    pool     | 0 | 1 | 2 | 3 | 4 | 5 | ...
    prefix A   0   1   2           5        slots of its tokens; 0 to 2 are shared
    prefix B   0   1   2   3   4
    batch    | -   0   1   2   5 |          gathered, right-aligned
             | 0   1   2   3   4 |

Source: SGLang's token-to-KV pool (arXiv 2312.07104).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import mlx.core as mx
import numpy as np
from mlx_lm.models.cache import BatchKVCache, KVCache, RotatingKVCache, make_prompt_cache

from agentr_lite.core.errors import ModelError

_FIRST_SLOTS = 4096

State = tuple[mx.array, mx.array]
"""Keys and values of one layer, each (tokens, heads, head size)."""


class Pool:
    """Slots of all layers.

    Attributes:
        capacity: most slots that may be taken.
        cell_bytes: bytes of one slot over all layers.
        vocabulary_size: columns of the model's logits.
    """

    def __init__(self, model: Any, *, origin: str) -> None:
        """Find the shapes of the model's caches by computing one token.

        Raises:
            ModelError: a layer's state is not keys and values.
        """
        caches = make_prompt_cache(model)
        kinds = {type(cache).__name__ for cache in caches}
        # A layer with a window may keep all tokens: its mask hides those outside the window.
        if not all(type(cache) in (KVCache, RotatingKVCache) for cache in caches):
            raise ModelError(
                f"{origin}: only models of attention layers can share prefixes"
                f" (this one has {', '.join(sorted(kinds))})",
                hint="Use a llama, qwen, gemma, phi or similar instruct model.",
            )
        probe = [KVCache() for _ in caches]
        logits = model(mx.array([[0]]), cache=probe)
        mx.eval(logits)
        self.vocabulary_size = int(logits.shape[-1])
        self._shapes = [
            (cache.keys.shape[1], cache.keys.shape[3], cache.values.shape[3]) for cache in probe
        ]
        self._dtypes = [(cache.keys.dtype, cache.values.dtype) for cache in probe]
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

    def gather(self, rows: Sequence[Sequence[int]]) -> list[Any]:
        """A batch's caches, one for each layer, right-aligned as mlx-lm needs them.

        Args:
            rows: the slots of each row's prefix.
        """
        lengths = [len(row) for row in rows]
        longest = max(lengths)
        padding = [longest - length for length in lengths]
        caches = [BatchKVCache(padding) for _ in self._shapes]
        if not longest:
            return caches
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
        return caches

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
    for cache in caches:
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
