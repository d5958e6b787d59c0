"""The order of a tree's nodes: siblings as they are sorted, ways down and up, the next of some.

No recursion and no object a node: a tree of any size and depth costs a few arrays of numbers.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Literal

from agentr_lite.store.inspection import TreeShape

Sort = Literal["order", "visits", "value"]
SORTS: tuple[Sort, ...] = ("order", "visits", "value")


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
        self._link(shape)

    def depth(self, idx: int) -> int:
        """Steps from the root."""
        return self._depth[idx]

    def child_count(self, idx: int) -> int:
        """Number of children, hidden ones included."""
        return self._kids[idx]

    def children(self, idx: int) -> list[int]:
        """All children in the order of ``sort``; those with too few visits come last."""
        found = self._ordered.get(idx)
        if found is None:
            found = []
            child = self._first[idx]
            while child >= 0:
                found.append(child)
                child = self._next[child]
            visits, value = self.shape.visits, self.shape.value
            if self.sort == "visits":
                found.sort(key=lambda i: (-visits[i], -value[i], i))
            elif self.sort == "value":
                # A node that nobody visited has no value: it comes after those worth nothing.
                found.sort(key=lambda i: (-value[i] if visits[i] else 1, -visits[i], i))
            least = self.least_visits
            if least:
                found.sort(key=lambda i: visits[i] < least)
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
        while self._kids[idx]:
            idx = max(
                self.children(idx),
                key=lambda i: (shape.value[i], shape.visits[i], shape.reward[i], -i),
            )
        return idx

    def best_leaf(self) -> int | None:
        """The end with the highest reward, the shortest first; None where none earned anything."""
        shape = self.shape
        ends = [i for i in range(len(shape)) if shape.reward[i] > 0 and shape.ended(i)]
        if not ends:
            return None
        return max(ends, key=lambda i: (shape.reward[i], -self._depth[i], shape.visits[i], -i))

    def leaves(self, *, good: bool, alpha: float) -> Sequence[int]:
        """Ends that earned at least ``alpha`` (``good``) or less."""
        found = self._leaves.get((good, alpha))
        if found is None:
            shape = self.shape
            found = array(
                "i",
                (
                    i
                    for i in range(len(shape))
                    if shape.ended(i) and (shape.reward[i] >= alpha) == good
                ),
            )
            self._leaves[good, alpha] = found
        return found

    def next_of(self, found: Sequence[int], current: int, *, back: bool = False) -> int | None:
        """The next of some nodes in the order in which the whole tree would be drawn, or round.

        Args:
            found: nodes.
            current: where one stands.
            back: look upwards.

        Returns:
            None where ``found`` is empty.
        """
        if not found:
            return None
        ranks = self._rank()
        here, rank = ranks[current], ranks.__getitem__
        if back:
            return max([i for i in found if ranks[i] < here] or found, key=rank)
        return min([i for i in found if ranks[i] > here] or found, key=rank)

    def _rank(self) -> array[int]:
        """Each node's place if everything were open; kept until the order changes."""
        if self._ranks is None:
            ranks = array("i", bytes(4 * len(self.shape)))
            stack, place = [0], 0
            if self.sort == "order" and not self.least_visits:
                # As made: the links say it, and no list of children is needed.
                first, following = self._first, self._next
                while stack:
                    idx = stack.pop()
                    ranks[idx] = place
                    place += 1
                    if following[idx] >= 0:
                        stack.append(following[idx])
                    if first[idx] >= 0:
                        stack.append(first[idx])
            # The lists of children are made here and dropped: kept, they would outweigh the tree.
            kept = dict(self._ordered)
            while stack:
                idx = stack.pop()
                ranks[idx] = place
                place += 1
                if self._kids[idx]:
                    stack += reversed(self.children(idx))
            self._ordered = kept
            self._ranks = ranks
        return self._ranks

    def _link(self, shape: TreeShape) -> None:
        """Take a tree's numbers and find every node's children."""
        self.shape = shape
        size = len(shape)
        self._leaves: dict[tuple[bool, float], array[int]] = {}
        # Children as linked lists: a list object a node would outweigh all the rest.
        self._depth = array("i", bytes(4 * size))
        self._kids = array("i", bytes(4 * size))
        self._first = array("i", b"\xff" * (4 * size))
        self._next = array("i", b"\xff" * (4 * size))
        parent, depth, kids = shape.parent, self._depth, self._kids
        first, following = self._first, self._next
        for idx in range(1, size):
            depth[idx] = depth[parent[idx]] + 1
        for idx in range(size - 1, 0, -1):
            above = parent[idx]
            kids[above] += 1
            following[idx] = first[above]
            first[above] = idx
        self._forget_order()

    def _forget_order(self) -> None:
        """Forget what depends on the order of siblings."""
        self._ordered: dict[int, list[int]] = {}
        self._ranks: array[int] | None = None
