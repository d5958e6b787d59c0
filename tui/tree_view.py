"""The tree as rows, drawn for the ones in sight; their texts are read when they come into sight."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import ClassVar

from rich.cells import cell_len
from textual import events
from textual.binding import Binding, BindingType

from .line_list import LineList
from .lines import Line, Span, crop, one_line, pad, width_of
from .marks import mark_in
from .tree_rows import SORTS, TreeRows

Labels = Callable[[Iterable[int]], Mapping[int, tuple[str, int]]]
"""Nodes to (action, merged candidates)."""

_EXPAND_LIMIT = 2_000
"""Rows that "open all below" brings at most."""
_BAR = " ▏▎▍▌▋▊▉█"
_BAR_CELLS = 5
_SHIFT_LEVELS = 8


class TreeView(LineList):
    """One search tree; the cursor's node is ``node``."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right,l", "open", "Open", show=False, id="tree.open"),
        Binding("left,h", "close", "Close", show=False, id="tree.close"),
        Binding("p", "parent", "Parent", show=False, id="tree.parent"),
        Binding("asterisk", "open_all", "Open all below", show=False, id="tree.open_all"),
        Binding("minus", "close_all", "Close all", show=False, id="tree.close_all"),
    ]

    def __init__(self, rows: TreeRows, labels: Labels, title: str, *, id: str | None = None):
        """
        Args:
            rows: the tree.
            labels: reads the actions of some nodes.
            title: what stands at the root; foreign text.
            id: the widget's.
        """
        super().__init__(id=id)
        self.tree_rows = rows
        self._read_labels = labels
        self._labels: dict[int, tuple[str, int]] = {}
        self._title = one_line(title)
        self.best_path: frozenset[int] = frozenset()
        """Nodes drawn in bold: the way to the best end."""
        self.matches: frozenset[int] = frozenset()
        """Nodes that a search found."""

    @property
    def count(self) -> int:
        return len(self.tree_rows.rows)

    @property
    def head_lines(self) -> int:
        return 1

    @property
    def node(self) -> int:
        """The node under the cursor; for a row of hidden siblings, their parent."""
        row = self.tree_rows.rows[self.cursor] if self.count else 0
        return row if row >= 0 else ~row

    def refresh_tree(self, rows_changed: Callable[[], None]) -> None:
        """Change the rows and stay on the same one, or on the nearest node above it."""
        row, node = self.tree_rows.rows[self.cursor] if self.count else 0, self.node
        offset = self.cursor - round(self.scroll_target_y)
        rows_changed()
        self._labels.clear()
        self.recount()
        if node >= len(self.tree_rows.shape):
            node = 0
        found = self.tree_rows.position(row)
        while found is None and (found := self.tree_rows.position(node)) is None and node:
            node = self.tree_rows.shape.parent[node]
        self.move_to(found or 0)
        self.scroll_to(y=max(0, self.cursor - offset), animate=False, force=True)

    def go_to_node(self, idx: int) -> None:
        """Open whatever hides a node and put the cursor on it."""
        position = self.tree_rows.reveal(idx)
        self.recount()
        self.move_to(position, centre=True)

    def header(self, width: int) -> Line:
        sort = self.tree_rows.sort
        left = "action" + ("▾" if sort == "order" else "")
        shift = self._shift(width)
        if shift:
            left += f"   (from depth {shift})"
        visits = "n▾" if sort == "visits" else "n"
        value = "value▾" if sort == "value" else "value"
        room = 5 + (_BAR_CELLS + 1 if width >= 44 else 0)
        right = f"{visits:>5} {value:>{room}} "
        return (*pad([(left, "header")], max(0, width - len(right))), (right, "header"))

    def line(self, index: int, width: int) -> Line:
        row = self.tree_rows.rows[index]
        spans: list[Span] = [(self._lead(index, width), "guide")]
        if row < 0:
            return self._more_line(spans, ~row, width)
        return self._node_line(spans, row, width)

    def _more_line(self, spans: list[Span], parent: int, width: int) -> Line:
        rows = self.tree_rows
        hidden = rows.hidden(parent)
        text = f"… {hidden:,} more"
        rest = rows.children(parent)[-hidden:]
        if rows.sort == "visits":
            text += f", n ≤ {rows.shape.visits[rest[0]]}"
        elif rows.sort == "value":
            text += f", value ≤ {rows.shape.value[rest[0]]:.2f}"
        return crop([*spans, (text, "dim")], width)

    def _node_line(self, spans: list[Span], idx: int, width: int) -> Line:
        rows, shape = self.tree_rows, self.tree_rows.shape
        mark = mark_in(shape, idx)
        kids = rows.child_count(idx)
        twisty = "  " if not kids else "▾ " if idx in rows.expanded else "▸ "
        spans += [(twisty, "guide"), (f"{mark.glyph} ", mark.style)]
        action, merged = self._label(idx)
        text = self._title if idx == 0 else one_line(action) or "(no action)"
        style = mark.style if shape.ended(idx) or mark.style in ("odd", "signal") else "plain"
        if idx in self.matches:
            style = "match"
        elif idx in self.best_path or idx == 0:
            style = {"plain": "strong", "accent": "title"}.get(mark.style, mark.style)
        elif not shape.visits[idx] and not shape.ended(idx):
            style = "dim"
        spans.append((text, style))
        right = self._numbers(idx, width)
        room = max(0, width - width_of(right))
        notes: list[Span] = []
        if merged > 1:
            notes.append((f" ×{merged}", "dim"))
        if kids and idx not in rows.expanded:
            notes.append((f" +{kids}", "dim"))
        return (*pad([*crop(spans, room - width_of(notes)), *notes], room), *right)

    def _numbers(self, idx: int, width: int) -> Line:
        shape = self.tree_rows.shape
        visits, value = shape.visits[idx], shape.value[idx]
        wide = width >= 44
        if not visits:
            blank = " " * (_BAR_CELLS + 1 if wide else 0)
            return ((f"{'·':>5} {'·':>5}{blank} ", "dim"),)
        style = "good" if value >= 0.995 else "bad" if value <= 0 else "part"
        spans: list[Span] = [(f"{visits:>5}", "plain"), (f" {value:>5.2f}", style)]
        if wide:
            spans.append((f" {_bar(value)}", style))
        return (*spans, (" ", "plain"))

    def _lead(self, index: int, width: int) -> str:
        """The lines that connect a row with its parent, as far as there is room for them."""
        rows = self.tree_rows
        row = rows.rows[index]
        depth = rows.depth(row) if row >= 0 else rows.depth(~row) + 1
        return rows.guide(index, max(0, depth - self._shift(width)))

    def _label(self, idx: int) -> tuple[str, int]:
        if idx not in self._labels:
            # Whatever is in sight, and a page on: moving down a line then costs no query.
            top = round(self.scroll_y)
            near = self.tree_rows.rows[top : top + 2 * self.page_lines]
            wanted = {i for i in near if i >= 0 and i not in self._labels} | {idx}
            self._labels.update(self._read_labels(wanted))
        return self._labels.get(idx, ("", 1))

    def _shift(self, width: int) -> int:
        """Levels of indentation left out, so that a deep node's action is in sight."""
        rows = self.tree_rows
        room = max(2, (width // 3) // 2)
        if not self.count or rows.depth(self.node) <= room:
            return 0
        # In steps of several levels, so that the picture does not slide with each key.
        beyond = rows.depth(self.node) - room
        return -(-beyond // _SHIFT_LEVELS) * _SHIFT_LEVELS

    def action_open(self) -> None:
        """Open the node, or go to its first child where it is open; more siblings on a … row."""
        rows = self.tree_rows
        if self.count and rows.rows[self.cursor] < 0:
            rows.show_more(self.cursor)
            self.recount()
            self.post_message(self.Moved(self, self.cursor))
        elif self.node in rows.expanded and rows.child_count(self.node):
            self.move_to(self.cursor + 1)
        elif rows.expand(self.cursor):
            self.recount()

    def action_close(self) -> None:
        """Close the node, or go to its parent where it is closed."""
        on_node = self.tree_rows.rows[self.cursor] >= 0
        if on_node and self.node and self.tree_rows.collapse(self.cursor):
            self.recount()
        else:
            self.action_parent()

    def action_fold(self) -> None:
        """Open or close the node."""
        rows = self.tree_rows
        if rows.rows[self.cursor] >= 0 and self.node in rows.expanded:
            rows.collapse(self.cursor)
            self.recount()
        else:
            self.action_open()

    def action_parent(self) -> None:
        """Go to the node's parent."""
        row = self.tree_rows.rows[self.cursor]
        parent = ~row if row < 0 else self.tree_rows.shape.parent[row]
        if parent >= 0:
            self.go_to_node(parent)

    def action_sort(self) -> None:
        """Next order of siblings: as made, by visits, by value."""
        following = SORTS[(SORTS.index(self.tree_rows.sort) + 1) % len(SORTS)]
        self.refresh_tree(lambda: self.tree_rows.set_sort(following))
        self.post_message(self.Moved(self, self.cursor))

    def action_open_all(self) -> None:
        """Open what is below the node, up to a limit that is said."""
        node, complete = self.node, False

        def change() -> None:
            nonlocal complete
            complete = self.tree_rows.expand_below(node, _EXPAND_LIMIT)

        self.refresh_tree(change)
        if not complete:
            self.notify(f"Opened the {_EXPAND_LIMIT:,} nearest nodes; there are more.")

    def action_close_all(self) -> None:
        """Close everything below the root."""
        self.refresh_tree(self.tree_rows.collapse_all)

    def on_click(self, event: events.Click) -> None:
        index = self.index_at(event.y)
        if index is None:
            return
        row = self.tree_rows.rows[index]
        # Beside the base class's handler, which moves the cursor: the fold mark opens and closes.
        left = 1 + cell_len(self._lead(index, self.line_width))
        if row < 0 or left <= event.x < left + 2:
            self.move_to(index)
            self.action_fold()


def _bar(value: float) -> str:
    """A bar of ``_BAR_CELLS`` columns for a number in [0, 1]."""
    eighths = round(max(0.0, min(1.0, value)) * _BAR_CELLS * 8)
    full, part = divmod(eighths, 8)
    return ("█" * full + (_BAR[part] if part else "")).ljust(_BAR_CELLS)
