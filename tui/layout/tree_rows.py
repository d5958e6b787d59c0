"""The visible rows of a tree: a flat list that grows where a node is opened.

There is no recursion and no object per row: a row is a node's index, or ``~parent`` for the row
that says how many siblings are hidden.

A *chain* is a sequence of nodes without branching, with as many visits at its end as at its
beginning. A folded chain is one row with the index of its last node, so that the rows below it are
always those below that node::

    tree              folded            unfolded
    0                 0                 0
    └─1 (n=3)         ├─1 › 2 › 3       ├─1
      └─2 (n=3)       │ ├─4             │ └─2
        └─3 (n=3)     │ └─5             │   └─3
          ├─4                           │     ├─4
          └─5                           │     └─5
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
        rows: the visible rows, from top to bottom.
        levels: the indentation of each row, in levels.
        sort: the order of siblings.
        least_visits: siblings with fewer visits are hidden until the user asks for them.
        compact: whether chains are folded.
        expanded: nodes whose children are visible when they are visible themselves.
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
        # Nodes that also show their rarely visited children; members of unfolded chains.
        self._complete: set[int] = set()
        self._unfolded: set[int] = set()
        super().__init__(shape, sort=sort, least_visits=least_visits)
        self._rebuild()

    def refresh(self, shape: TreeShape) -> None:
        """Replace the tree's numbers; open nodes stay open."""
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
            # The rows below a folded chain are below its end: the path to it stays open.
            for row in self.rows:
                if row >= 0:
                    self.expanded.update(self._members(row)[:-1])
        self.compact = compact
        self._unfolded.clear()
        self._rebuild()

    def hidden(self, parent: int) -> int:
        """How many children of an open node its last row hides."""
        return max(0, self.child_count(parent) - self._visible(parent))

    def rare(self, parent: int) -> bool:
        """Whether all children that a node's last row hides have too few visits."""
        visible = self._visible(parent)
        first_hidden = self.children(parent)[visible : visible + 1]
        return bool(first_hidden) and self.shape.visits[first_hidden[0]] < self.least_visits

    def chain(self, row: int) -> list[int]:
        """The nodes of a row, in order: a single node, or a folded chain."""
        return self._members(row)

    def inside(self, idx: int) -> bool:
        """Whether a node follows another one in the same row."""
        parent = self.shape.parent[idx]
        return parent > 0 and self._joins(parent)

    def row_of(self, idx: int) -> int:
        """The row that a node belongs to, visible or not."""
        return self._tail(idx)

    def parent_row(self, row: int) -> int:
        """The parent of a row in the tree; -1 at the root."""
        return ~row if row < 0 else self.shape.parent[self._members(row)[0]]

    def position(self, idx: int) -> int | None:
        """The row of a node; None if it is not visible or inside a folded chain."""
        try:
            return self.rows.index(idx)
        except ValueError:
            return None

    def expand(self, position: int) -> int:
        """Open the node at a row; returns the number of new rows."""
        idx = self.rows[position]
        if idx < 0 or idx in self.expanded or not self.child_count(idx):
            return 0
        self.expanded.add(idx)
        rows, levels = self._below([idx], self.levels[position] - 1)
        self.rows[position : position + 1] = rows
        self.levels[position : position + 1] = levels
        return len(rows) - 1

    def collapse(self, position: int) -> int:
        """Close the node at a row; returns the number of removed rows. Nodes below stay open."""
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
        """Give each node of a folded chain its own row; returns whether the row was a chain."""
        row = self.rows[position]
        if row < 0 or len(members := self._members(row)) < 2:
            return False
        self._unfolded.update(members[:-1])
        self.expanded.update(members[:-1])
        self._rebuild()
        return True

    def fold(self, idx: int) -> int | None:
        """Fold the unfolded chain that a node belongs to.

        Returns:
            The index of the chain's row; None if the node is in no unfolded chain.
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
        """Show more siblings in place of a ``~parent`` row.

        Returns:
            The number of new siblings; 0 if the row is a node.
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
        siblings = self.children(parent)[before : self._visible(parent)]
        rows, levels = self._below([self._tail(i) for i in siblings], self.levels[position] - 1)
        if self.hidden(parent):
            rows.append(row)
            levels.append(self.levels[position])
        self.rows[position : position + 1] = rows
        self.levels[position : position + 1] = levels
        return len(siblings)

    def collapse_all(self) -> None:
        """Close everything but the root."""
        self.expanded = {0}
        self._shown.clear()
        self._complete.clear()
        self._unfolded.clear()
        self._rebuild()

    def expand_below(self, idx: int, limit: int) -> bool:
        """Open a node and the nodes below it, nearest first, until ``limit`` children are open.

        Returns:
            Whether the whole subtree is open.
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
        """Open all nodes that hide a node; returns its row."""
        position = self.position(idx)
        if position is not None:
            return position
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
        """How many children of an open node are visible."""
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
        """Whether a node and its only child share a row."""
        return self._joined(idx) >= 0

    def _joined(self, idx: int) -> int:
        """The child that shares a row with its parent; -1 if there is none."""
        if not self.compact or idx <= 0 or idx in self._unfolded:
            return -1
        child = self.only_child(idx)
        return child if child >= 0 and self.shape.visits[idx] == self.shape.visits[child] else -1

    def _tail(self, idx: int) -> int:
        """The last node of a node's row, which is the row's index."""
        while (child := self._joined(idx)) >= 0:
            idx = child
        return idx

    def _members(self, row: int) -> list[int]:
        """The nodes of a row, in order; kept for rows that were drawn."""
        members = self._chains.get(row)
        if members is None:
            members = [row]
            parent = self.shape.parent[row]
            while parent > 0 and self._joins(parent):
                members.append(parent)
                parent = self.shape.parent[parent]
            members.reverse()
            self._chains[row] = members
        return members

    def _reorder(self) -> None:
        """Drop what depends on the order of siblings, and build the rows."""
        self._forget_order()
        self._rebuild()

    def _rebuild(self) -> None:
        self._frequent: dict[int, int] = {}
        self._chains: dict[int, list[int]] = {}
        self.rows[:], self.levels[:] = self._below([0], -1) if len(self.shape) else ([], [])

    def _below(self, tops: Sequence[int], level: int) -> tuple[list[int], list[int]]:
        """Rows one level below ``level``, each followed by the open rows below it."""
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
