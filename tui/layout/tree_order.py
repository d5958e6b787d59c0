"""The order of a tree's nodes: sorted siblings, paths, leaves, and the next of some nodes.

There is no recursion and no object per node. Besides the tree's numbers, a tree takes eight bytes
per node (four if children were made in the order of their parents), and one more after the first
jump to a leaf or a match.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from agentr_lite.store.inspection import TERMINATED, TRUNCATED, TreeShape

from .node_set import NodeSet

Sort = Literal["order", "visits", "value"]
SORTS: tuple[Sort, ...] = ("order", "visits", "value")

_LISTS_KEPT = 4_000
"""The number of child lists that are kept: more than any screen needs."""
_TARGET, _LEADS = 1, 2
"""Bits of ``TreeOrder._marks``: a target; a node with a target at or below it."""
_MANY = 64
"""Nodes from which on numpy is faster than Python."""
_TARGET_MASK = bytes(i & _TARGET for i in range(256))


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
        self._marks = bytearray()
        self._best: int | None = -1
        """``best_leaf``; -1: not looked for yet."""
        self._link(shape)

    def depth(self, idx: int) -> int:
        """Steps from the root."""
        return len(self.path(idx)) - 1

    def child_count(self, idx: int) -> int:
        """Number of children, hidden ones included."""
        ordered = self._ordered.get(idx)
        if ordered is not None:
            return len(ordered)
        start, stop = self._span(idx)
        return stop - start

    def only_child(self, idx: int) -> int:
        """The child of a node that has exactly one; -1 for any other."""
        start, stop = self._span(idx)
        return self._by_parent[start] if stop == start + 1 else -1

    def children(self, idx: int) -> Sequence[int]:
        """All children in the order of ``sort``; those with too few visits come last."""
        children = self._ordered.get(idx)
        if children is None:
            start, stop = self._span(idx)
            children = list(self._by_parent[start:stop])
            visits, value = self.shape.visits, self.shape.value
            if self.sort == "visits":
                children.sort(key=lambda i: (-visits[i], -value[i], i))
            elif self.sort == "value":
                # A node without visits has no value: it comes after those with value 0.
                children.sort(key=lambda i: (-value[i] if visits[i] else 1, -visits[i], i))
            least = self.least_visits
            if least:
                children.sort(key=lambda i: visits[i] < least)
            if len(self._ordered) >= _LISTS_KEPT:
                self._ordered.clear()
            self._ordered[idx] = children
        return children

    def path(self, idx: int) -> list[int]:
        """The nodes from the root to ``idx``, both included."""
        path = [idx]
        while (parent := self.shape.parent[path[-1]]) >= 0:
            path.append(parent)
        return path[::-1]

    def descend(self, idx: int) -> int:
        """The leaf below a node along the highest value, then the most visits, at every node."""
        shape = self.shape
        while children := self.children(idx):
            idx = max(
                children, key=lambda i: (shape.value[i], shape.visits[i], shape.reward[i], -i)
            )
        return idx

    def best_leaf(self) -> int | None:
        """The leaf with the highest reward, the shallowest of equals; None without any reward."""
        # It is looked for once: in a large tree that takes as long as a key may.
        if self._best == -1:
            self._best = self._find_best()
        return self._best

    def _find_best(self) -> int | None:
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
        """Leaves that earned at least ``alpha`` (``good``), or less."""
        earned = np.asarray(self.shape.reward, np.float64) >= alpha
        return NodeSet((self._ends() & (earned == good)).tobytes())

    def next_of(self, targets: NodeSet, current: int, *, back: bool = False) -> int | None:
        """The next of some nodes in the order of the drawn tree; after the last comes the first.

        Args:
            targets: the nodes to choose from.
            current: the node to start from.
            back: search upwards.

        Returns:
            None if ``targets`` is empty.
        """
        marks = self._marks_to(targets)
        if not len(marks) or not marks[0]:
            return None
        if back:
            return self._before(marks, current)
        child = next((i for i in self.children(current) if marks[i]), None)
        while child is None and (parent := self.shape.parent[current]) >= 0:
            siblings = self.children(parent)
            after = siblings[siblings.index(current) + 1 :]
            child = next((i for i in after if marks[i]), None)
            current = parent
        node = 0 if child is None else child
        while not marks[node] & _TARGET:
            node = next(i for i in self.children(node) if marks[i])
        return node

    def _before(self, marks: Sequence[int], current: int) -> int:
        """The last target above a node in the drawn tree, or the last of all."""
        top = None
        while top is None and (parent := self.shape.parent[current]) >= 0:
            siblings = self.children(parent)
            before = siblings[: siblings.index(current)]
            top = next((i for i in reversed(before) if marks[i]), None)
            if top is None and marks[parent] & _TARGET:
                return parent
            current = parent
        node = 0 if top is None else top
        while (child := next((i for i in reversed(self.children(node)) if marks[i]), -1)) >= 0:
            node = child
        return node

    def _marks_to(self, targets: NodeSet) -> bytearray:
        """Which nodes lead to targets; the result for the latest targets is kept."""
        size = len(self.shape)
        # The targets may be older than the tree's latest nodes.
        mask = targets.mask[:size].ljust(size, b"\0")
        marks = self._marks
        if marks.translate(_TARGET_MASK) != mask:
            self._marks = marks = bytearray(mask)
            view = np.frombuffer(marks, np.uint8)
            parents = np.asarray(self.shape.parent, np.int32)
            # Level by level while there are many, then one by one.
            nodes: npt.NDArray[np.integer] = np.flatnonzero(view)
            while len(nodes) > _MANY:
                view[nodes] += _LEADS
                above = _distinct(parents[nodes])
                nodes = above[(above >= 0) & (view[above] < _LEADS)]
            parent = self.shape.parent
            for idx in nodes.tolist():
                while idx >= 0 and marks[idx] < _LEADS:
                    marks[idx] += _LEADS
                    idx = parent[idx]
        return marks

    def _ends(self) -> npt.NDArray[np.bool_]:
        """Shape (nodes,): whether the episode is over at a node."""
        flags = np.asarray(self.shape.flags, np.uint8)
        return (flags & (TERMINATED | TRUNCATED)) != 0

    def _span(self, idx: int) -> tuple[int, int]:
        """The range of a node's children in ``_by_parent``."""
        return self._first[idx], self._first[idx + 1]

    def _link(self, shape: TreeShape) -> None:
        """Set the tree's numbers and index the children of every node."""
        self.shape = shape
        self._marks = bytearray()
        self._best = -1
        # Siblings are adjacent among the nodes sorted by parent. Where those of a node begin takes
        # 4 bytes a node; a list per node would outweigh all the rest.
        nodes: Sequence[int] = range(len(shape))
        parent = np.asarray(shape.parent, np.int32)
        if (np.diff(parent) < 0).any():
            nodes = np.argsort(parent, kind="stable").astype(np.int32).data
            parent = parent[np.asarray(nodes)]
        self._by_parent = nodes
        # Shape (nodes + 1,); the children of node i are _first[i] up to, not including, the next.
        ids = np.arange(len(shape) + 1, dtype=np.int32)
        self._first: Sequence[int] = np.searchsorted(parent, ids).astype(np.int32).data
        self._forget_order()

    def _forget_order(self) -> None:
        """Drop what depends on the order of siblings."""
        self._ordered: dict[int, list[int]] = {}


def _distinct(ids: npt.NDArray[np.integer]) -> npt.NDArray[np.integer]:
    """Each number once, in order, as ``np.unique`` gives them.

    The first call of ``np.unique`` imports ``numpy.ma``, which would hold up a key by 15 ms.
    """
    ids = np.sort(ids)
    return ids[np.concatenate(([True], ids[1:] != ids[:-1]))]
