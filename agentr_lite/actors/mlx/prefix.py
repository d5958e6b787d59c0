"""The radix tree of token prefixes whose keys and values are in the pool.

Source: SGLang's RadixAttention (arXiv 2312.07104) has the idea of a radix tree over cached prefixes
that evicts the least recently used leaves.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Collection, Iterator, Sequence
from typing import Any, Protocol


class Slots(Protocol):
    """The part of the pool that the tree uses."""

    @property
    def free(self) -> int:
        """Number of slots that can be taken."""

    def take(self, count: int) -> list[int]:
        """Take ``count`` slots."""

    def give_back(self, slots: Sequence[int]) -> None:
        """Return slots."""

    def clear(self) -> None:
        """Return all slots."""


class Segment:
    """A run of tokens below its parent segment."""

    __slots__ = ("children", "complete", "parent", "pins", "slots", "stamp", "state", "tokens")

    def __init__(self, tokens: list[int], slots: list[int], parent: Segment | None) -> None:
        self.tokens = tokens
        self.slots = slots
        """One for each token."""
        self.parent = parent
        self.children: dict[int, Segment] = {}
        self.pins = 0
        self.stamp = 0
        self.complete = False
        """Whether the slots hold keys and values already."""
        self.state: Any = None
        """The recurrent layers' state after its last token, if the model has such layers and it
        is kept."""


class PrefixTree:
    """The prefixes in the pool, their users, and the order of their eviction.

    A prefix of a model with recurrent layers is continued only where its state is kept; from the
    last such place on, its tokens count as missing, though their keys and values may be there::

        root --- A (state) --- B (none) --- C (none)        missing for C: B and C
    """

    def __init__(self, pool: Slots, *, recurrent: bool = False) -> None:
        """
        Args:
            pool: holds keys and values.
            recurrent: whether the model has recurrent layers.
        """
        self._pool = pool
        self._recurrent = recurrent
        self._clock = 0
        self._reset()

    def _reset(self) -> None:
        self.root = Segment([], [], None)
        self.root.complete = True

    def clear(self) -> None:
        """Forget everything, pinned or not."""
        self._pool.clear()
        self._reset()

    def insert(self, tokens: Sequence[int]) -> tuple[Segment, int] | None:
        """Find or make the path of ``tokens`` and pin it.

        Returns:
            The segment at its end, and how many of the tokens were in the tree already, computed
            or to be computed for another request; None if there is no room for the rest.
        """
        segment, matched = self._match(tokens)
        self.pin(segment)
        missing = len(tokens) - matched
        if missing:
            if not self._make_room(missing):
                self.unpin(segment)
                return None
            child = Segment(list(tokens[matched:]), self._pool.take(missing), segment)
            segment.children[child.tokens[0]] = child
            child.pins = 1
            child.stamp = segment.stamp
            segment = child
        return segment, matched

    def missing(self, segment: Segment) -> list[Segment]:
        """The segments on the path to ``segment`` that are still to be computed, top first."""
        path = []
        walk: Segment | None = segment
        while walk is not None and not self._continues(walk):
            path.append(walk)
            walk = walk.parent
        return path[::-1]

    def _continues(self, segment: Segment) -> bool:
        """Whether tokens after ``segment`` can be computed at once."""
        known = segment.state is not None or segment is self.root
        return segment.complete and (known or not self._recurrent)

    def drop_states(self, most: int, needed: Collection[Segment]) -> None:
        """Drop the least recently used states until ``most`` are left.

        Args:
            most: states to keep.
            needed: segments whose states are kept in any case.
        """
        held = [segment for segment in self.segments() if segment.state is not None]
        keep = {id(segment) for segment in needed}
        held.sort(key=lambda segment: segment.stamp)
        excess = len(held) - most
        for segment in held:
            if excess <= 0:
                break
            if id(segment) not in keep:
                segment.state = None
                excess -= 1

    def slots(self, segment: Segment) -> list[int]:
        """The slots of the whole path to ``segment``."""
        parts = []
        walk: Segment | None = segment
        while walk is not None:
            parts.append(walk.slots)
            walk = walk.parent
        return [slot for part in reversed(parts) for slot in part]

    def pin(self, segment: Segment) -> None:
        """Protect the path to ``segment`` from eviction, and note its use."""
        self._clock += 1
        walk: Segment | None = segment
        while walk is not None:
            walk.pins += 1
            walk.stamp = self._clock
            walk = walk.parent

    def unpin(self, segment: Segment) -> None:
        """Take back one ``pin`` or ``insert``."""
        walk: Segment | None = segment
        while walk is not None:
            walk.pins -= 1
            walk = walk.parent

    def _match(self, tokens: Sequence[int]) -> tuple[Segment, int]:
        """The deepest segment on the path of ``tokens``; it is split where they differ."""
        segment, matched = self.root, 0
        while matched < len(tokens):
            child = segment.children.get(tokens[matched])
            if child is None:
                break
            common = _common(child.tokens, tokens, matched)
            matched += common
            if common < len(child.tokens):
                return self._split(child, common), matched
            segment = child
        return segment, matched

    def _split(self, segment: Segment, size: int) -> Segment:
        """Give the first ``size`` tokens of ``segment`` to a new segment above it."""
        parent = segment.parent
        assert parent is not None
        upper = Segment(segment.tokens[:size], segment.slots[:size], parent)
        upper.pins, upper.stamp, upper.complete = segment.pins, segment.stamp, segment.complete
        parent.children[upper.tokens[0]] = upper
        segment.tokens, segment.slots, segment.parent = (
            segment.tokens[size:],
            segment.slots[size:],
            upper,
        )
        upper.children[segment.tokens[0]] = segment
        return upper

    def _make_room(self, count: int) -> bool:
        """Drop the least recently used leaves until ``count`` slots are free; False: impossible."""
        if self._pool.free >= count:
            return True
        # The number breaks ties: segments have no order.
        numbers = itertools.count()
        leaves = [
            (segment.stamp, next(numbers), segment)
            for segment in self.segments()
            if not segment.children and not segment.pins
        ]
        heapq.heapify(leaves)
        while leaves and self._pool.free < count:
            _, _, segment = heapq.heappop(leaves)
            parent = segment.parent
            assert parent is not None
            del parent.children[segment.tokens[0]]
            self._pool.give_back(segment.slots)
            if parent is not self.root and not parent.children and not parent.pins:
                heapq.heappush(leaves, (parent.stamp, next(numbers), parent))
        return self._pool.free >= count

    def segments(self) -> Iterator[Segment]:
        """All segments but the root, parents first."""
        stack = list(self.root.children.values())
        while stack:
            segment = stack.pop()
            yield segment
            stack.extend(segment.children.values())


def _common(left: Sequence[int], right: Sequence[int], start: int) -> int:
    """How many of the first tokens of ``left`` equal those of ``right`` from ``start`` on."""
    limit = min(len(left), len(right) - start)
    for index in range(limit):
        if left[index] != right[start + index]:
            return index
    return limit
