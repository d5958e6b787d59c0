"""The order of a tree's nodes: siblings as they are sorted, ways down and up, the next of some.

No recursion and no object a node: beside the tree's numbers, a tree costs four bytes a node (none
where children were made in the order of their parents), and one more once a leaf or a match has
been gone to.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from agentr_lite.store.inspection import TERMINATED, TRUNCATED, TreeShape

from .node_set import NodeSet

Sort = Literal["order", "visits", "value"]
SORTS: tuple[Sort, ...] = ("order", "visits", "value")

_LISTS_KEPT = 4_000
"""Lists of children that are kept: more than the rows of any screen need."""
_WANTED, _ABOVE = 1, 2
"""Bits of ``TreeOrder._ways``: a node that is looked for; one with such a node at or below it."""
_IS_WANTED = bytes(i & _WANTED for i in range(256))


class TreeOrder:
    """A tree's numbers with its children in order.

    Attributes:
        shape: the tree's numbers.
        sort: the order of siblings.
        least_visits: siblings with fewer visits come last.
    """

    def __init__(self, shape: TreeShape, *, sort: Sort = "order", least_visits: int = 0) -> None:
        self.sort = sort
        self.least_visits = least_visits
        self._ways = bytearray()
        self._link(shape)

    def depth(self, idx: int) -> int:
        """Steps from the root."""
        return len(self.path(idx)) - 1

    def child_count(self, idx: int) -> int:
        """Number of children, hidden ones included."""
        found = self._ordered.get(idx)
        if found is not None:
            return len(found)
        start, stop = self._span(idx)
        return stop - start

    def only_child(self, idx: int) -> int:
        """The child of a node that has exactly one; -1 for any other."""
        start, stop = self._span(idx)
        return self._by_parent[start] if stop == start + 1 else -1

    def children(self, idx: int) -> Sequence[int]:
        """All children in the order of ``sort``; those with too few visits come last."""
        found = self._ordered.get(idx)
        if found is None:
            start, stop = self._span(idx)
            found = list(self._by_parent[start:stop])
            visits, value = self.shape.visits, self.shape.value
            if self.sort == "visits":
                found.sort(key=lambda i: (-visits[i], -value[i], i))
            elif self.sort == "value":
                # A node that nobody visited has no value: it comes after those worth nothing.
                found.sort(key=lambda i: (-value[i] if visits[i] else 1, -visits[i], i))
            least = self.least_visits
            if least:
                found.sort(key=lambda i: visits[i] < least)
            if len(self._ordered) >= _LISTS_KEPT:
                self._ordered.clear()
            self._ordered[idx] = found
        return found

    def path(self, idx: int) -> list[int]:
        """The nodes from the root to ``idx``, both included."""
        found = [idx]
        while (parent := self.shape.parent[found[-1]]) >= 0:
            found.append(parent)
        return found[::-1]

    def descend(self, idx: int) -> int:
        """The leaf at the end of the best way on: highest value, then visits, at every node."""
        shape = self.shape
        while children := self.children(idx):
            idx = max(
                children, key=lambda i: (shape.value[i], shape.visits[i], shape.reward[i], -i)
            )
        return idx

    def best_leaf(self) -> int | None:
        """The end with the highest reward, the shortest first; None where none earned anything."""
        shape = self.shape
        earned = np.where(self._ends(), shape.reward, 0.0)
        highest = earned.max(initial=0.0)
        best: list[int] = np.flatnonzero(earned == highest).tolist() if highest > 0 else []
        if len(best) < 2:
            return best[0] if best else None
        depth = array("i")
        for parent in shape.parent:
            depth.append(depth[parent] + 1 if parent >= 0 else 0)
        return max(best, key=lambda i: (-depth[i], shape.visits[i], -i))

    def leaves(self, *, good: bool, alpha: float) -> NodeSet:
        """Ends that earned at least ``alpha`` (``good``) or less."""
        earned = np.asarray(self.shape.reward, np.float64) >= alpha
        return NodeSet((self._ends() & (earned == good)).tobytes())

    def next_of(self, found: NodeSet, current: int, *, back: bool = False) -> int | None:
        """The next of some nodes in the order in which the whole tree would be drawn, or round.

        Args:
            found: nodes.
            current: where one stands.
            back: look upwards.

        Returns:
            None where ``found`` is empty.
        """
        ways = self._ways_to(found)
        if not len(ways) or not ways[0]:
            return None
        if back:
            return self._before(ways, current)
        child = next((i for i in self.children(current) if ways[i]), None)
        while child is None and (parent := self.shape.parent[current]) >= 0:
            siblings = self.children(parent)
            after = siblings[siblings.index(current) + 1 :]
            child = next((i for i in after if ways[i]), None)
            current = parent
        node = 0 if child is None else child
        while not ways[node] & _WANTED:
            node = next(i for i in self.children(node) if ways[i])
        return node

    def _before(self, ways: Sequence[int], current: int) -> int:
        """The last node that is looked for above a node in the picture, or the last of all."""
        top = None
        while top is None and (parent := self.shape.parent[current]) >= 0:
            siblings = self.children(parent)
            before = siblings[: siblings.index(current)]
            top = next((i for i in reversed(before) if ways[i]), None)
            if top is None and ways[parent] & _WANTED:
                return parent
            current = parent
        node = 0 if top is None else top
        while (child := next((i for i in reversed(self.children(node)) if ways[i]), -1)) >= 0:
            node = child
        return node

    def _ways_to(self, found: NodeSet) -> bytearray:
        """Which nodes lead to some nodes; the last ones looked for are kept."""
        size = len(self.shape)
        # What was found before the tree grew: the new nodes are not in it.
        mask = found.mask[:size].ljust(size, b"\0")
        ways = self._ways
        if ways.translate(_IS_WANTED) != mask:
            self._ways = ways = bytearray(mask)
            parent = self.shape.parent
            for idx in NodeSet(mask):
                while idx >= 0 and ways[idx] < _ABOVE:
                    ways[idx] += _ABOVE
                    idx = parent[idx]
        return ways

    def _ends(self) -> npt.NDArray[np.bool_]:
        """Shape (nodes,): whether the episode is over at a node."""
        flags = np.asarray(self.shape.flags, np.uint8)
        return (flags & (TERMINATED | TRUNCATED)) != 0

    def _span(self, idx: int) -> tuple[int, int]:
        """Where a node's children stand in ``_by_parent``."""
        nodes, key = self._by_parent, self.shape.parent.__getitem__
        start = bisect_left(nodes, idx, key=key)
        if start == len(nodes) or key(nodes[start]) != idx:
            return start, start
        return start, bisect_right(nodes, idx, start, key=key)

    def _link(self, shape: TreeShape) -> None:
        """Take a tree's numbers and find every node's children."""
        self.shape = shape
        self._ways = bytearray()
        # Siblings stand beside each other among the nodes by parent, and are found by bisection: a
        # list a node would outweigh all the rest, a link a node would double it.
        nodes: Sequence[int] = range(len(shape))
        parent = np.asarray(shape.parent, np.int32)
        if (np.diff(parent) < 0).any():
            nodes = np.argsort(parent, kind="stable").astype(np.int32).data
        self._by_parent = nodes
        self._forget_order()

    def _forget_order(self) -> None:
        """Forget what depends on the order of siblings."""
        self._ordered: dict[int, list[int]] = {}
