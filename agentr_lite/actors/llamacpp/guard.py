"""Keeps cells that a sliding window has left, for the branches that begin before them.

In layers with a sliding window, llama.cpp takes a cell for another token once it belongs to one
sequence only, and the window at that sequence's end does not reach it. For a chat this is right.
In a tree, a later branch may begin in the middle of the sequence, where the window does reach it.
llama.cpp does not take a cell that belongs to two sequences. So each sequence gets a shadow: a
second id for the same cells, with which nothing is decoded::

    sequence 3 | system prompt | task A | turn 1 | turn 2
    its shadow | system prompt | task A | turn 1 |          follows before the window has passed

Source: ``llama_kv_cache::find_slot`` in llama.cpp as of llama-cpp-python 0.3.36.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from agentr_lite.actors.llamacpp.segments import CellBytes

MOST_GUARDED = 127
"""Sequences that can have a shadow: llama.cpp has 256 ids, and one is spare."""


class Guard:
    """The shadows of one context's sequences."""

    def __init__(self, lib: Any, memory: Any, *, sequences: int, window: int) -> None:
        """
        Args:
            lib: the library.
            memory: ``llama_memory_t``.
            sequences: number of sequences; their shadows' ids come after the spare one's.
            window: tokens of the window; 0: any token may leave it with the next one.
        """
        self._lib = lib
        self._memory = memory
        self._sequences = sequences
        self._lag = window // 2
        self.clear()

    def clear(self) -> None:
        """Note that the cache is empty."""
        self._covered = [0] * self._sequences

    def copied(self, source: int, target: int, start: int, end: int) -> None:
        """Note that ``target`` got ``source``'s cells at positions [start, end)."""
        if target < self._sequences:
            self._copy(source, target, start, end)
            if self._covered[target] >= start:
                self._covered[target] = max(self._covered[target], end)

    def removed(self, sequence: int, start: int, end: int) -> None:
        """Note that ``sequence`` left its cells at positions [start, end); -1 = to the last."""
        if sequence < self._sequences:
            shadow = self._shadow(sequence)
            self._lib.llama_memory_seq_rm(self._memory, shadow, start, end)
            if end < 0:
                self._covered[sequence] = min(self._covered[sequence], start)

    def computed(self, positions: Sequence[int], sequences: Sequence[int]) -> None:
        """Note that a batch was decoded."""
        ends: dict[int, int] = {}
        for position, sequence in zip(positions, sequences, strict=True):
            ends[sequence] = position + 1
        for sequence, end in ends.items():
            start = self._covered[sequence]
            if end - start > self._lag:
                self._copy(sequence, sequence, start, end)
                self._covered[sequence] = end

    def _copy(self, source: int, target: int, start: int, end: int) -> None:
        self._lib.llama_memory_seq_cp(self._memory, source, self._shadow(target), start, end)

    def _shadow(self, sequence: int) -> int:
        return self._sequences + 1 + sequence


def pieces(start: int, end: int, window: int) -> Iterator[tuple[int, int]]:
    """Divide positions [start, end) so that llama.cpp saves all of each part.

    It leaves out what the window at a part's end does not reach.

    Args:
        start: first position.
        end: position after the last.
        window: tokens of the window; 0: there is none.
    """
    while start < end:
        stop = min(end, (start // window + 1) * window) if window else end
        yield start, stop
        start = stop


def joined(parts: Sequence[CellBytes]) -> CellBytes:
    """Saved parts as one array of bytes, with their number and sizes before them."""
    sizes = np.array([len(parts), *(part.nbytes for part in parts)], np.int64)
    return np.concatenate([sizes.view(np.uint8), *parts])


def divided(data: CellBytes) -> Iterator[CellBytes]:
    """The parts that were ``joined``."""
    count = int(data[:8].view(np.int64)[0])
    at = 8 * (1 + count)
    for size in data[8:at].view(np.int64).tolist():
        yield data[at : at + size]
        at += size
