"""The radix tree of token prefixes whose keys and values are in the pool.

Source: the idea of a radix tree over cached prefixes with eviction of the least recently used
leaves is SGLang's RadixAttention (arXiv 2312.07104).
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator, Sequence
from typing import Protocol


class Slots(Protocol):
    """What the tree needs of the pool."""

    @property
    def free(self) -> int:
        """How many can be taken."""

    def take(self, count: int) -> list[int]:
        """Take that many."""

    def give_back(self, slots: Sequence[int]) -> None:
        """Return them."""

    def clear(self) -> None:
        """Return all."""


class Node:
    """A segment of tokens below its parent's."""

    __slots__ = ("children", "complete", "parent", "pins", "slots", "stamp", "tokens")

    def __init__(self, tokens: list[int], slots: list[int], parent: Node | None) -> None:
        self.tokens = tokens
        self.slots = slots
        """One a token."""
        self.parent = parent
        self.children: dict[int, Node] = {}
        self.pins = 0
        self.stamp = 0
        self.complete = False
        """Whether the slots hold keys and values already."""


class PrefixTree:
    """Which prefixes are there, who uses them, and what goes first when room is needed."""

    def __init__(self, pool: Slots) -> None:
        self._pool = pool
        self._clock = 0
        self._reset()

    def _reset(self) -> None:
        self.root = Node([], [], None)
        self.root.complete = True

    def clear(self) -> None:
        """Forget everything, pinned or not."""
        self._pool.clear()
        self._reset()

    def insert(self, tokens: Sequence[int]) -> tuple[Node, int] | None:
        """Find or make the path of ``tokens`` and pin it.

        Returns:
            The node at its end, and how many of the tokens were there already, computed or
            promised to another request; None where there is no room for the rest.
        """
        node, matched = self._match(tokens)
        self.pin(node)
        missing = len(tokens) - matched
        if missing:
            if not self._make_room(missing):
                self.unpin(node)
                return None
            child = Node(list(tokens[matched:]), self._pool.take(missing), node)
            node.children[child.tokens[0]] = child
            child.pins = 1
            child.stamp = node.stamp
            node = child
        return node, matched

    def missing(self, node: Node) -> list[Node]:
        """The nodes on the path to ``node`` that are still to be computed, top first."""
        path = []
        walk: Node | None = node
        while walk is not None and not walk.complete:
            path.append(walk)
            walk = walk.parent
        return path[::-1]

    def slots(self, node: Node) -> list[int]:
        """The slots of the whole path to ``node``."""
        parts = []
        walk: Node | None = node
        while walk is not None:
            parts.append(walk.slots)
            walk = walk.parent
        return [slot for part in reversed(parts) for slot in part]

    def pin(self, node: Node) -> None:
        """Keep the path to ``node``, and note its use."""
        self._clock += 1
        walk: Node | None = node
        while walk is not None:
            walk.pins += 1
            walk.stamp = self._clock
            walk = walk.parent

    def unpin(self, node: Node) -> None:
        """Take back one ``pin`` or ``insert``."""
        walk: Node | None = node
        while walk is not None:
            walk.pins -= 1
            walk = walk.parent

    def _match(self, tokens: Sequence[int]) -> tuple[Node, int]:
        """The deepest node on the path of ``tokens``, split off where they part."""
        node, matched = self.root, 0
        while matched < len(tokens):
            child = node.children.get(tokens[matched])
            if child is None:
                break
            common = _common(child.tokens, tokens, matched)
            matched += common
            if common < len(child.tokens):
                return self._split(child, common), matched
            node = child
        return node, matched

    def _split(self, node: Node, size: int) -> Node:
        """Give the first ``size`` tokens of ``node`` to a new node above it."""
        parent = node.parent
        assert parent is not None
        upper = Node(node.tokens[:size], node.slots[:size], parent)
        upper.pins, upper.stamp, upper.complete = node.pins, node.stamp, node.complete
        parent.children[upper.tokens[0]] = upper
        node.tokens, node.slots, node.parent = node.tokens[size:], node.slots[size:], upper
        upper.children[node.tokens[0]] = node
        return upper

    def _make_room(self, count: int) -> bool:
        """Drop the leaves that were not used for longest until ``count`` slots are free."""
        if self._pool.free >= count:
            return True
        # The number breaks ties: nodes have no order.
        numbers = itertools.count()
        leaves = [
            (node.stamp, next(numbers), node)
            for node in self.nodes()
            if not node.children and not node.pins
        ]
        heapq.heapify(leaves)
        while leaves and self._pool.free < count:
            _, _, node = heapq.heappop(leaves)
            parent = node.parent
            assert parent is not None
            del parent.children[node.tokens[0]]
            self._pool.give_back(node.slots)
            if parent is not self.root and not parent.children and not parent.pins:
                heapq.heappush(leaves, (parent.stamp, next(numbers), parent))
        return self._pool.free >= count

    def nodes(self) -> Iterator[Node]:
        """All nodes but the root, parents first."""
        stack = list(self.root.children.values())
        while stack:
            node = stack.pop()
            yield node
            stack.extend(node.children.values())


def _common(left: Sequence[int], right: Sequence[int], start: int) -> int:
    """How many tokens of ``left`` stand in ``right`` from ``start`` on."""
    limit = min(len(left), len(right) - start)
    for index in range(limit):
        if left[index] != right[start + index]:
            return index
    return limit
