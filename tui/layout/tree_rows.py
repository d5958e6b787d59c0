"""Which rows of a tree are in sight: a flat list that grows where a node is opened.

No recursion and no object a row: a row is a node's index, or ``~parent`` for the row that says how
many siblings are hidden.

A *chain* is a run of steps in each of which the search had one way on, with as many visits at its
end as at its beginning. Folded, it is one row and stands under its last node's index, so that what
is below a row is always what is below that node.
"""

from __future__ import annotations

from collections.abc import Sequence

from agentr_lite.store.inspection import TreeShape

from .tree_order import Sort, TreeOrder

PAGE = 50
"""Siblings that appear at a time."""


class TreeRows(TreeOrder):
    """The visible rows of one tree.

    Attributes:
        shape: the tree's numbers.
        rows: what is in sight, from top to bottom.
        levels: how far each row is indented, in levels.
        sort: the order of siblings.
        least_visits: siblings with fewer visits are hidden until they are asked for.
        compact: whether chains are folded.
        expanded: nodes whose children are in sight when they are themselves.
    """

    def __init__(
        self,
        shape: TreeShape,
        *,
        sort: Sort = "order",
        page: int = PAGE,
        least_visits: int = 0,
        compact: bool = True,
    ) -> None:
        self.compact = compact
        self.expanded: set[int] = {0}
        self.rows: list[int] = []
        self.levels: list[int] = []
        self._page = page
        self._shown: dict[int, int] = {}
        # Nodes whose seldom visited children were asked for; members of chains that were unfolded.
        self._complete: set[int] = set()
        self._unfolded: set[int] = set()
        super().__init__(shape, sort=sort, least_visits=least_visits)
        self._rebuild()

    def refresh(self, shape: TreeShape) -> None:
        """Take the tree's new numbers; what is open stays open."""
        self._link(shape)
        self._rebuild()

    def set_sort(self, sort: Sort) -> None:
        """Order siblings by ``idx``, by visits or by value (the latter two: highest first)."""
        self.sort = sort
        self._reorder()

    def set_least_visits(self, visits: int) -> None:
        """Hide siblings with fewer visits."""
        self.least_visits = visits
        self._complete.clear()
        self._reorder()

    def set_compact(self, compact: bool) -> None:
        """Fold all chains, or none."""
        if not compact:
            # What is below a folded chain's row is below its end: the way there stays open.
            for row in self.rows:
                if row >= 0:
                    self.expanded.update(self._members(row)[:-1])
        self.compact = compact
        self._unfolded.clear()
        self._rebuild()

    def hidden(self, parent: int) -> int:
        """How many children of an open node wait behind its last row."""
        return max(0, self.child_count(parent) - self._visible(parent))

    def rare(self, parent: int) -> bool:
        """Whether all that wait behind a node's last row have too few visits."""
        visible = self._visible(parent)
        waiting = self.children(parent)[visible : visible + 1]
        return bool(waiting) and self.shape.visits[waiting[0]] < self.least_visits

    def chain(self, row: int) -> list[int]:
        """The nodes that a row stands for, from the first: one, or a folded chain."""
        return self._members(row)

    def inside(self, idx: int) -> bool:
        """Whether a node stands in a row behind another one."""
        parent = self.shape.parent[idx]
        return parent > 0 and self._joins(parent)

    def row_of(self, idx: int) -> int:
        """The row that a node is part of, in sight or not."""
        return self._tail(idx)

    def parent_row(self, row: int) -> int:
        """The row above a row in the tree; -1 at the root."""
        return ~row if row < 0 else self.shape.parent[self._members(row)[0]]

    def position(self, idx: int) -> int | None:
        """The row of a node; None where it is not in sight or inside a folded chain."""
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
        rows, levels = self._below([idx], self.levels[position] - 1)
        self.rows[position : position + 1] = rows
        self.levels[position : position + 1] = levels
        return len(rows) - 1

    def collapse(self, position: int) -> int:
        """Close the node at a row; returns how many rows went. What is open below is kept."""
        idx = self.rows[position]
        if idx not in self.expanded:
            return 0
        self.expanded.discard(idx)
        end = position + 1
        while end < len(self.rows) and self.levels[end] > self.levels[position]:
            end += 1
        del self.rows[position + 1 : end]
        del self.levels[position + 1 : end]
        return end - position - 1

    def unfold(self, position: int) -> bool:
        """Give each step of a folded chain a row of its own; returns whether there was one."""
        row = self.rows[position]
        if row < 0 or len(members := self._members(row)) < 2:
            return False
        self._unfolded.update(members[:-1])
        self.expanded.update(members[:-1])
        self._rebuild()
        return True

    def fold(self, idx: int) -> int | None:
        """Make the unfolded chain that a node belongs to one row again.

        Returns:
            The node under whose index the row stands; None where the node is in no such chain.
        """
        above = self.shape.parent[idx]
        if idx not in self._unfolded and above not in self._unfolded:
            return None
        member = idx
        while self.shape.parent[member] in self._unfolded:
            member = self.shape.parent[member]
        while member in self._unfolded:
            self._unfolded.discard(member)
            member = self.only_child(member)
        self._rebuild()
        return member

    def show_more(self, position: int) -> int:
        """Bring more siblings into sight in place of a ``~parent`` row.

        Returns:
            How many siblings came; 0 where the row is a node.
        """
        row = self.rows[position]
        if row >= 0:
            return 0
        parent, before = ~row, self._visible(~row)
        if self.rare(parent):
            self._complete.add(parent)
            self._shown[parent] = max(self._shown.get(parent, 0), before + self._page)
        else:
            self._shown[parent] = before + self._page
        came = self.children(parent)[before : self._visible(parent)]
        rows, levels = self._below([self._tail(i) for i in came], self.levels[position] - 1)
        if self.hidden(parent):
            rows.append(row)
            levels.append(self.levels[position])
        self.rows[position : position + 1] = rows
        self.levels[position : position + 1] = levels
        return len(came)

    def collapse_all(self) -> None:
        """Close everything but the root."""
        self.expanded = {0}
        self._shown.clear()
        self._complete.clear()
        self._unfolded.clear()
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
        if self._joins(idx):
            members = self._members(self._tail(idx))
            self._unfolded.update(members[:-1])
            self.expanded.update(members[:-1])
        child, parent = idx, self.shape.parent[idx]
        while parent >= 0:
            self.expanded.add(parent)
            needed = self.children(parent).index(child) + 1
            if needed > self._visible(parent):
                if self.shape.visits[child] < self.least_visits:
                    self._complete.add(parent)
                shown = -(-needed // self._page) * self._page
                self._shown[parent] = max(self._shown.get(parent, 0), shown)
            child, parent = parent, self.shape.parent[parent]
        self._rebuild()
        return self.rows.index(idx)

    def guide(self, position: int, levels: int) -> str:
        """The lines that connect a row with its nearest ``levels`` ancestors, two columns each."""
        row = self.rows[position]
        parent = self.parent_row(row)
        if parent < 0:
            return ""
        parts = ["└─" if row < 0 or self._is_last(row) else "├─"]
        while parent > 0 and len(parts) < levels:
            parts.append("  " if self._is_last(parent) else "│ ")
            parent = self.parent_row(parent)
        return "".join(reversed(parts[:levels]))

    def _is_last(self, row: int) -> bool:
        """Whether a row is the last one below its parent."""
        head = self._members(row)[0]
        parent = self.shape.parent[head]
        return not self.hidden(parent) and self.children(parent)[-1] == head

    def _visible(self, parent: int) -> int:
        """How many children of an open node are in sight."""
        shown = self._shown.get(parent, self._page)
        if not self.least_visits or parent in self._complete:
            return min(shown, self.child_count(parent))
        frequent = self._frequent.get(parent)
        if frequent is None:
            visits, least = self.shape.visits, self.least_visits
            frequent = sum(visits[i] >= least for i in self.children(parent))
            self._frequent[parent] = frequent
        return min(shown, frequent)

    def _joins(self, idx: int) -> bool:
        """Whether a node and its only child are one row."""
        return self._joined(idx) >= 0

    def _joined(self, idx: int) -> int:
        """The child that stands in a row with its parent; -1 where there is none."""
        if not self.compact or idx <= 0 or idx in self._unfolded:
            return -1
        child = self.only_child(idx)
        return child if child >= 0 and self.shape.visits[idx] == self.shape.visits[child] else -1

    def _tail(self, idx: int) -> int:
        """The row that a node is part of."""
        while (child := self._joined(idx)) >= 0:
            idx = child
        return idx

    def _members(self, row: int) -> list[int]:
        """The nodes of a row, from the first; kept for the rows that were drawn."""
        found = self._chains.get(row)
        if found is None:
            found = [row]
            parent = self.shape.parent[row]
            while parent > 0 and self._joins(parent):
                found.append(parent)
                parent = self.shape.parent[parent]
            found.reverse()
            self._chains[row] = found
        return found

    def _reorder(self) -> None:
        """Forget what depends on the order of siblings, and build the rows."""
        self._forget_order()
        self._rebuild()

    def _rebuild(self) -> None:
        self._frequent: dict[int, int] = {}
        self._chains: dict[int, list[int]] = {}
        self.rows[:], self.levels[:] = self._below([0], -1) if len(self.shape) else ([], [])

    def _below(self, tops: Sequence[int], level: int) -> tuple[list[int], list[int]]:
        """Some rows one level below ``level``, each followed by what is open below it."""
        rows: list[int] = []
        levels: list[int] = []
        stack = [(row, level + 1) for row in reversed(tops)]
        while stack:
            row, level = stack.pop()
            rows.append(row)
            levels.append(level)
            if row < 0 or row not in self.expanded or not (kids := self.children(row)):
                continue
            shown = kids[: self._visible(row)]
            if len(shown) < len(kids):
                stack.append((~row, level + 1))
            stack += [(self._tail(idx), level + 1) for idx in reversed(shown)]
        return rows, levels
