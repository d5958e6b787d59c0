"""Which rows of a tree are in sight: a flat list that grows where a node is opened.

No recursion and no object a row: a row is a node's index, or ``~parent`` for the row that says how
many siblings are hidden. A chain of any depth and a tree of any size cost a list of integers.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Literal

from agentr_lite.store.inspection import TreeShape

Sort = Literal["order", "visits", "value"]
SORTS: tuple[Sort, ...] = ("order", "visits", "value")
PAGE = 50
"""Siblings that appear at a time."""


class TreeRows:
    """The visible rows of one tree.

    Attributes:
        shape: the tree's numbers.
        rows: what is in sight, from top to bottom.
        sort: the order of siblings.
        expanded: nodes whose children are in sight when they are themselves.
    """

    def __init__(self, shape: TreeShape, *, sort: Sort = "order", page: int = PAGE) -> None:
        self.sort = sort
        self.expanded: set[int] = {0}
        self._page = page
        self._shown: dict[int, int] = {}
        self.rows: list[int] = []
        self.refresh(shape)

    def refresh(self, shape: TreeShape) -> None:
        """Take the tree's new numbers; what is open stays open."""
        self.shape = shape
        self._ordered: dict[int, list[int]] = {}
        self._ranks: list[int] | None = None
        self._leaves: dict[tuple[bool, float], list[int]] = {}
        self._children: dict[int, list[int]] = {}
        self._depth = [0] * len(shape)
        for idx, parent in enumerate(shape.parent):
            if parent >= 0:
                self._depth[idx] = self._depth[parent] + 1
                self._children.setdefault(parent, []).append(idx)
        self._rebuild()

    def set_sort(self, sort: Sort) -> None:
        """Order siblings by ``idx``, by visits or by value (the latter two: highest first)."""
        self.sort = sort
        self._ordered.clear()
        self._ranks = None
        self._rebuild()

    def depth(self, idx: int) -> int:
        """Steps from the root."""
        return self._depth[idx]

    def child_count(self, idx: int) -> int:
        """Number of children."""
        return len(self._children.get(idx, ()))

    def children(self, idx: int) -> list[int]:
        """All children in the order of ``sort``."""
        found = self._ordered.get(idx)
        if found is None:
            found = list(self._children.get(idx, ()))
            visits, value = self.shape.visits, self.shape.value
            if self.sort == "visits":
                found.sort(key=lambda i: (-visits[i], -value[i], i))
            elif self.sort == "value":
                # A node that nobody visited has no value: it comes after those worth nothing.
                found.sort(key=lambda i: (-value[i] if visits[i] else 1, -visits[i], i))
            self._ordered[idx] = found
        return found

    def hidden(self, parent: int) -> int:
        """How many children of an open node wait behind its last row."""
        return max(0, self.child_count(parent) - self._shown.get(parent, self._page))

    def position(self, idx: int) -> int | None:
        """The row of a node; None where it is not in sight."""
        try:
            return self.rows.index(idx)
        except ValueError:
            return None

    def expand(self, position: int) -> int:
        """Open the node at a row; returns how many rows came into sight."""
        idx = self.rows[position]
        if idx < 0 or idx in self.expanded or not self.child_count(idx):
            return 0
        self.expanded.add(idx)
        below = self._below(idx)
        self.rows[position + 1 : position + 1] = below
        return len(below)

    def collapse(self, position: int) -> int:
        """Close the node at a row; returns how many rows went. What is open below is kept."""
        idx = self.rows[position]
        if idx not in self.expanded:
            return 0
        self.expanded.discard(idx)
        end = position + 1
        while end < len(self.rows) and self._row_depth(self.rows[end]) > self._depth[idx]:
            end += 1
        del self.rows[position + 1 : end]
        return end - position - 1

    def show_more(self, position: int) -> int:
        """Bring the next page of siblings into sight in place of a ``~parent`` row.

        Returns:
            How many siblings came; 0 where the row is a node.
        """
        row = self.rows[position]
        if row >= 0:
            return 0
        parent = ~row
        before = self._shown.get(parent, self._page)
        self._shown[parent] = before + self._page
        came = self.children(parent)[before : before + self._page]
        new: list[int] = []
        for idx in came:
            new.append(idx)
            new += self._below(idx)
        if self.hidden(parent):
            new.append(row)
        self.rows[position : position + 1] = new
        return len(came)

    def collapse_all(self) -> None:
        """Close everything but the root."""
        self.expanded = {0}
        self._shown.clear()
        self._rebuild()

    def expand_below(self, idx: int, limit: int) -> bool:
        """Open a node and what is below it, nearest first, until ``limit`` children are open.

        Returns:
            Whether all of it is open.
        """
        queue, opened = [idx], 0
        for node in queue:
            kids = self.children(node)
            if kids and opened + len(kids) > limit:
                self._rebuild()
                return False
            if kids:
                opened += len(kids)
                self.expanded.add(node)
                queue += kids
        self._rebuild()
        return True

    def reveal(self, idx: int) -> int:
        """Open whatever hides a node; returns its row."""
        found = self.position(idx)
        if found is not None:
            return found
        child, parent = idx, self.shape.parent[idx]
        while parent >= 0:
            self.expanded.add(parent)
            needed = self.children(parent).index(child) + 1
            if needed > self._shown.get(parent, self._page):
                self._shown[parent] = -(-needed // self._page) * self._page
            child, parent = parent, self.shape.parent[parent]
        self._rebuild()
        return self.rows.index(idx)

    def path(self, idx: int) -> list[int]:
        """The nodes from the root to ``idx``, both included."""
        found = [idx]
        while (parent := self.shape.parent[found[-1]]) >= 0:
            found.append(parent)
        return found[::-1]

    def descend(self, idx: int) -> int:
        """The leaf at the end of the best way on: highest value, then visits, at every node."""
        shape = self.shape
        while below := self._children.get(idx):
            idx = max(below, key=lambda i: (shape.value[i], shape.visits[i], shape.reward[i], -i))
        return idx

    def best_leaf(self) -> int | None:
        """The end with the highest reward, the shortest first; None where none earned anything."""
        shape = self.shape
        ends = [i for i in range(len(shape)) if shape.ended(i) and shape.reward[i] > 0]
        if not ends:
            return None
        return max(ends, key=lambda i: (shape.reward[i], -self._depth[i], shape.visits[i], -i))

    def leaves(self, *, good: bool, alpha: float) -> list[int]:
        """Ends that earned at least ``alpha`` (``good``) or less."""
        found = self._leaves.get((good, alpha))
        if found is None:
            shape = self.shape
            found = [
                i
                for i in range(len(shape))
                if shape.ended(i) and (shape.reward[i] >= alpha) == good
            ]
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
        by_rank = sorted(found, key=ranks.__getitem__)
        keys = [ranks[idx] for idx in by_rank]
        if back:
            return by_rank[bisect_left(keys, ranks[current]) - 1]
        return by_rank[bisect_left(keys, ranks[current] + 1) % len(by_rank)]

    def guide(self, position: int, levels: int) -> str:
        """The lines that connect a row with its nearest ``levels`` ancestors, two columns each."""
        row = self.rows[position]
        if row < 0:
            node, parts = ~row, ["└─"]
        else:
            node, parts = self.shape.parent[row], []
            if node >= 0:
                parts.append("└─" if self._is_last(row) else "├─")
        while node > 0 and len(parts) < levels:
            parts.append("  " if self._is_last(node) else "│ ")
            node = self.shape.parent[node]
        return "".join(reversed(parts[:levels]))

    def _is_last(self, idx: int) -> bool:
        """Whether a node stands in its parent's last row."""
        parent = self.shape.parent[idx]
        return not self.hidden(parent) and self.children(parent)[-1] == idx

    def _row_depth(self, row: int) -> int:
        return self._depth[row] if row >= 0 else self._depth[~row] + 1

    def _rebuild(self) -> None:
        self.rows[:] = [0, *self._below(0)] if len(self.shape) else []

    def _below(self, idx: int) -> list[int]:
        """Rows below an open node, without its own."""
        rows: list[int] = []
        stack = self._opened(idx)
        while stack:
            row = stack.pop()
            rows.append(row)
            if row >= 0:
                stack += self._opened(row)
        return rows

    def _opened(self, idx: int) -> list[int]:
        """Rows right below a node, last first; none where it is closed."""
        if idx not in self.expanded or idx not in self._children:
            return []
        shown = self.children(idx)[: self._shown.get(idx, self._page)]
        return ([~idx] if self.hidden(idx) else []) + shown[::-1]

    def _rank(self) -> list[int]:
        """Each node's place if everything were open; kept until the order changes."""
        if self._ranks is None:
            ranks = [0] * len(self.shape)
            stack, place = [0], 0
            while stack:
                idx = stack.pop()
                ranks[idx] = place
                place += 1
                if idx in self._children:
                    stack += self.children(idx)[::-1]
            self._ranks = ranks
        return self._ranks
