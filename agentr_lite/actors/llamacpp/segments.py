"""Segments of a prefix tree, their saved cells, and the branches that grow from them."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

NO_SEQUENCE = -1

CellBytes = npt.NDArray[np.uint8]
"""Keys and values of some cells, in llama.cpp's own layout."""


class Memory(Protocol):
    """The part of a context that the tree uses. Sequence ids are in [0, n)."""

    def copy_sequence(self, source: int, target: int, end: int) -> None:
        """Share positions [0, end)."""

    def copy_range(self, source: int, target: int, start: int, end: int) -> None:
        """Share positions [start, end)."""

    def remove(self, sequence: int, start: int = 0, end: int = -1) -> None:
        """Unmark positions [start, end); -1 = to the last."""

    def save(self, sequence: int, start: int, end: int) -> CellBytes:
        """A copy of the cells at positions [start, end)."""

    def load(self, data: CellBytes, sequence: int, start: int, end: int) -> None:
        """Restore those of the saved cells that lie at positions [start, end)."""

    def clear(self) -> None:
        """Empty the cache."""


class Saved:
    """Evicted cells in RAM. If a segment is split after its eviction, both halves use one."""

    __slots__ = ("data", "tokens", "users")

    def __init__(self, data: CellBytes, tokens: int) -> None:
        self.data = data
        self.tokens = tokens
        """How many cells it holds, and how many it needs for a moment when it is restored."""
        self.users = 0
        """Segments that use it."""


class Segment:
    """A run of tokens: in the cache, saved in RAM, or still to be computed."""

    __slots__ = (
        "children",
        "decoded",
        "parent",
        "pins",
        "saved",
        "sequence",
        "stamp",
        "start",
        "tokens",
    )

    def __init__(self, tokens: list[int], start: int, parent: Segment | None) -> None:
        self.tokens = tokens
        self.start = start
        """Position of the first token."""
        self.parent = parent
        self.children: dict[int, Segment] = {}
        """By first token."""
        self.sequence = NO_SEQUENCE
        """The id that marks all computed cells from the root to here."""
        self.decoded = 0
        """How many of ``tokens`` are in the cache."""
        self.pins = 0
        """Users of this segment or of any below it."""
        self.stamp = 0
        """When it was last used, by the tree's own clock, which counts decoded tokens."""
        self.saved: Saved | None = None
        """Its evicted cells, if they were kept; ``decoded`` is 0 then."""

    @property
    def end(self) -> int:
        """Position after the last token."""
        return self.start + len(self.tokens)

    @property
    def complete(self) -> bool:
        """Whether all cells are in the cache."""
        return self.decoded == len(self.tokens)


class Branch:
    """A growing continuation of a complete segment, not yet in the tree. It pins the segment."""

    __slots__ = ("segment", "sequence", "tokens")

    def __init__(self, segment: Segment, sequence: int) -> None:
        self.segment = segment
        self.sequence = sequence
        self.tokens: list[int] = []
        """Tokens in the cache below ``segment``."""

    @property
    def position(self) -> int:
        """Where the next token goes."""
        return self.segment.end + len(self.tokens)
