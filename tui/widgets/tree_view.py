"""A tree as rows. Only visible rows are drawn, and their texts are read when they are visible."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import ClassVar

from rich.cells import cell_len
from textual import events
from textual.binding import Binding, BindingType

from agentr_lite.console.outcomes import STEP, UNVISITED

from ..layout.chains import fitted, joined, named
from ..layout.figures import reward_span
from ..layout.first_errors import CUT_SIGN, TreeErrors, verdict_span
from ..layout.lines import Line, Span, crop, one_line, pad, width_of
from ..layout.node_set import NodeSet
from ..layout.tree_marks import mark_in
from ..layout.tree_order import SORTS
from ..layout.tree_rows import TreeRows
from .line_list import LineList

Labels = Callable[[Iterable[int]], Mapping[int, tuple[str, int]]]
"""Nodes to (action, merged candidates)."""

_EXPAND_LIMIT = 2_000
"""The most rows that "open all below" adds."""
_LABELS_KEPT = 4_000
"""The number of actions that are kept after they were scrolled away."""
_BAR = " ▏▎▍▌▋▊▉█"
_BAR_CELLS = 5
_SHIFT_LEVELS = 8
LEAST_VISITS = (0, 1, 2, 4, 8)
"""The values of ``least_visits`` that "hide" goes through."""

_ERROR_BELOW: Span = (" ✗↓", "bad")
"""Stands on a row that hides an error below it."""
_ORDINARY = (STEP, UNVISITED)
_VERDICT_CELLS = 7
_BAR_FROM, _REWARD_FROM, _VERDICTS_FROM = 44, 56, 40
"""Terminal columns from which a tree shows the bar, the reward and the verdicts."""


class TreeView(LineList):
    """One search tree; the cursor's node is ``node``."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right,l", "open", "Open", show=False, id="tree.open"),
        Binding("left,h", "close", "Close", show=False, id="tree.close"),
        Binding("p", "parent", "Parent", show=False, id="tree.parent"),
        Binding("asterisk", "open_all", "Open all below", show=False, id="tree.open_all"),
        Binding("minus", "close_all", "Close all", show=False, id="tree.close_all"),
        Binding("z", "chains", "Fold or unfold all chains", show=False, id="tree.chains"),
        Binding("m", "hide", "Hide rarely visited nodes", show=False, id="tree.hide"),
    ]

    def __init__(self, rows: TreeRows, labels: Labels, title: str, *, id: str | None = None):
        """
        Args:
            rows: the tree.
            labels: reads the actions of some nodes.
            title: text at the root; foreign.
            id: the widget's.
        """
        super().__init__(id=id)
        self.tree_rows = rows
        self._read_labels = labels
        self._labels: dict[int, tuple[str, int]] = {}
        self._title = one_line(title)
        self._drawn_shift = 0
        self.best_path: frozenset[int] = frozenset()
        """Nodes drawn in bold: the path to the best end."""
        self.matches = NodeSet()
        """Nodes that match the search."""
        self.errors = TreeErrors()
        """The critic's verdicts and t′, which mark nodes; set with ``mark_errors``."""
        self._focus: dict[tuple[int, int], int] = {}

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

    @property
    def focus_node(self) -> int:
        """The node that shows best what the row under the cursor is about.

        Of a folded chain that is the first bad step, if there is one; else ``node``.
        """
        row = self.tree_rows.rows[self.cursor] if self.count else 0
        return self.node if row < 0 else self.focus_of(row)

    def focus_of(self, row: int) -> int:
        """``focus_node`` of any row that stands for nodes."""
        chain = self.tree_rows.chain(row)
        if len(chain) == 1:
            return row
        # A chain can be thousands of nodes long. Unfolding changes which nodes a row stands for.
        key = (row, len(chain))
        if key not in self._focus:
            self._focus[key] = self.errors.first_in(chain, self.tree_rows.shape)
        return self._focus[key]

    def mark_errors(self, errors: TreeErrors) -> None:
        """Replace the verdicts and t′ that mark nodes."""
        self.errors = errors
        self._focus.clear()
        self.refresh()

    def refresh_tree(self, rows_changed: Callable[[], None]) -> None:
        """Change the rows; the cursor stays on its row, or goes to the nearest ancestor."""
        row, node = self.tree_rows.rows[self.cursor] if self.count else 0, self.node
        offset = self.cursor - round(self.scroll_target_y)
        rows_changed()
        self._labels.clear()
        self._focus.clear()
        self.recount()
        if node >= len(self.tree_rows.shape):
            node = 0
        position = self.tree_rows.position(row)
        if position is None and node:
            # Inside a chain that has been folded.
            position = self.tree_rows.position(self.tree_rows.row_of(node))
        while position is None and (position := self.tree_rows.position(node)) is None and node:
            node = self.tree_rows.shape.parent[node]
        self.move_to(position or 0)
        self.scroll_to(y=max(0, self.cursor - offset), animate=False, force=True)

    def go_to_node(self, idx: int) -> None:
        """Open all nodes that hide a node, and put the cursor on it."""
        position = self.tree_rows.position(idx)
        if position is None:
            position = self.tree_rows.reveal(idx)
            self.recount()
        self.move_to(position, centre=True)

    def watch_cursor(self, old: int, new: int) -> None:
        super().watch_cursor(old, new)
        if self._shift(self.line_width) != self._drawn_shift:
            self.refresh()

    def header(self, width: int) -> Line:
        sort = self.tree_rows.sort
        left = "action" + ("▾" if sort == "order" else "")
        shift = self._drawn_shift = self._shift(width)
        if shift:
            left += f"   (from level {shift})"
        visits = "n▾" if sort == "visits" else "n"
        value = "value▾" if sort == "value" else "value"
        room = 5 + (_BAR_CELLS + 1 if width >= self._bar_width else 0)
        right = f"{visits:>5} {value:>{room}} "
        if width >= self._reward_width:
            right += f"{'reward':>6} "
        if self._shows_verdicts(width):
            right = f"{'critic':>{_VERDICT_CELLS}} " + right
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
        if rows.rare(parent):
            text += f", n < {rows.least_visits}"
        elif rows.sort == "visits":
            text += f", n ≤ {rows.shape.visits[rest[0]]}"
        elif rows.sort == "value":
            text += f", value ≤ {rows.shape.value[rest[0]]:.2f}"
        notes = [_ERROR_BELOW] if self.errors.are_in(rest) else []
        return crop([*spans, (text, "dim"), *notes], width)

    def _node_line(self, spans: list[Span], row: int, width: int) -> Line:
        rows = self.tree_rows
        chain = rows.chain(row)
        kids = rows.child_count(row)
        twisty = "  " if not kids else "▾ " if row in rows.expanded else "▸ "
        if len(chain) > 1 and twisty == "  ":
            twisty = "⋯ "
        spans.append((twisty, "guide"))
        right = self._numbers(row, width)
        room = max(0, width - width_of(right))
        notes: list[Span] = []
        if len(chain) == 1:
            merged = self._label(row)[1]
            if merged > 1:
                notes.append((f" ×{merged}", "dim"))
        else:
            notes.append((f" ⋯{len(chain)}", "dim"))
        if kids and row not in rows.expanded:
            notes.append((f" +{kids}", "dim"))
        if row not in rows.expanded and self.errors.leads.intersection(chain[-1:]):
            notes.append(_ERROR_BELOW)
        free = room - width_of(notes)
        spans += self._chain_spans(chain, free - width_of(spans), self._shows_verdicts(width))
        return (*pad([*crop(spans, room - width_of(notes)), *notes], room), *right)

    def _chain_spans(self, chain: Sequence[int], room: int, has_column: bool) -> list[Span]:
        """The nodes of a row: of a chain its beginning, its first bad step and its end.

        Where the line is too short, the bad step and the end are kept. If ``has_column``, the
        row's column has the verdict of the first bad step, and the step itself only its sign.
        """
        if len(chain) == 1:
            return fitted(*self._step_spans(chain[0]), room)
        focus = self.focus_of(chain[-1])
        return joined(
            [
                (at, *self._step_spans(chain[at], sign_only=has_column and chain[at] == focus))
                for at in named(chain, focus)
            ],
            focus=chain.index(focus),
            last=len(chain) - 1,
            room=room,
        )

    def _step_spans(
        self, idx: int, *, sign_only: bool | None = None
    ) -> tuple[list[Span], list[Span]]:
        """A node's mark and action, in a chain after the node before it; and its error.

        Args:
            idx: the node.
            sign_only: whether a bad verdict is its sign alone; None: the node is no chain's.
        """
        rows, shape = self.tree_rows, self.tree_rows.shape
        mark = mark_in(shape, idx)
        text = self._title if idx == 0 else one_line(self._label(idx)[0]) or "(no action)"
        keeps_style = shape.ended(idx) or mark.style in ("odd", "signal")
        style: str = mark.style if keeps_style else "plain"
        if idx in self.matches:
            style = "match"
        elif idx in self.best_path or idx == 0:
            style = {"plain": "strong", "accent": "title"}.get(mark.style, mark.style)
        elif not shape.visits[idx] and not shape.ended(idx):
            style = "dim"
        error: list[Span] = []
        if sign_only is not None and self.errors.is_bad(idx):
            # The row has one verdict of all its nodes; each bad one says so itself.
            judgement = self.errors.of_node(idx)
            assert judgement is not None
            sign, sign_style = verdict_span(judgement)
            error.append((f" {sign[:1] if sign_only else sign.replace(' ', '')}", sign_style))
        if idx in self.errors.cuts:
            error.append(CUT_SIGN)
        inner = idx and rows.inside(idx)
        if not inner:
            return [(f"{mark.glyph} ", mark.style), (text, style)], error
        # Within a chain an ordinary step needs no mark.
        glyph: list[Span] = [(f"{mark.glyph} ", mark.style)] if mark not in _ORDINARY else []
        return [(" › ", "dim"), *glyph, (text, style)], error

    def _shows_verdicts(self, width: int) -> bool:
        return bool(self.errors.verdicts) and width >= _VERDICTS_FROM

    @property
    def _bar_width(self) -> int:
        return _BAR_FROM + (_VERDICT_CELLS + 1 if self.errors.verdicts else 0)

    @property
    def _reward_width(self) -> int:
        return _REWARD_FROM + (_VERDICT_CELLS + 1 if self.errors.verdicts else 0)

    def _numbers(self, idx: int, width: int) -> Line:
        if not self._shows_verdicts(width):
            return self._figures(idx, width)
        judgement = self.errors.of_node(self.focus_of(idx))
        sign: Span = verdict_span(judgement) if judgement is not None else ("", "dim")
        return ((f"{sign[0]:>{_VERDICT_CELLS}} ", sign[1]), *self._figures(idx, width))

    def _figures(self, idx: int, width: int) -> Line:
        """The node's visits, value and reward."""
        shape = self.tree_rows.shape
        visits, value = shape.visits[idx], shape.value[idx]
        wide = width >= self._bar_width
        reward: Span = ("", "dim")
        if width >= self._reward_width:
            ended = shape.ended(idx)
            text, style = reward_span(shape.reward[idx], reached=ended)
            reward = (f"{text if ended else '':>6} ", style)
        if not visits:
            blank = " " * (_BAR_CELLS + 1 if wide else 0)
            return ((f"{'·':>5} {'·':>5}{blank} ", "dim"), reward)
        style = "good" if value >= 0.995 else "bad" if value <= 0 else "partial"
        spans: list[Span] = [(f"{visits:>5}", "plain"), (f" {value:>5.2f}", style)]
        if wide:
            spans.append((f" {_bar(value)}", style))
        return (*spans, (" ", "plain"), reward)

    def _lead(self, index: int, width: int) -> str:
        """The lines that connect a row with its ancestors, as far as there is room for them."""
        rows = self.tree_rows
        return rows.guide(index, max(0, rows.levels[index] - self._shift(width)))

    def _label(self, idx: int) -> tuple[str, int]:
        if idx not in self._labels:
            if len(self._labels) > _LABELS_KEPT:
                self._labels.clear()
            # The visible rows and a page more: moving down a line then needs no query.
            top = round(self.scroll_y)
            rows = self.tree_rows
            wanted = {idx}
            for row in rows.rows[top : top + 2 * self.page_lines]:
                if row >= 0:
                    chain = rows.chain(row)
                    wanted.update(chain[at] for at in named(chain, self.focus_of(row)))
            self._labels.update(self._read_labels(wanted - self._labels.keys()))
        return self._labels.get(idx, ("", 1))

    def _shift(self, width: int) -> int:
        """Levels of indentation that are left out, so that a deep node's action is visible."""
        rows = self.tree_rows
        room = max(2, (width // 3) // 2)
        if not self.count or rows.levels[self.cursor] <= room:
            return 0
        # In steps of several levels, so that the tree does not shift with each key.
        beyond = rows.levels[self.cursor] - room
        return -(-beyond // _SHIFT_LEVELS) * _SHIFT_LEVELS

    def action_open(self) -> None:
        """Open the node; on an open node unfold its chain, or go to its first child."""
        rows = self.tree_rows
        if self.count and rows.rows[self.cursor] < 0:
            rows.show_more(self.cursor)
            self.recount()
            self.post_message(self.Moved(self, self.cursor))
        elif rows.expand(self.cursor):
            self.recount()
        elif len(chain := rows.chain(rows.rows[self.cursor])) > 1:
            rows.unfold(self.cursor)
            self.recount()
            self.move_to(rows.rows.index(chain[0]))
            self.post_message(self.Moved(self, self.cursor))
        elif rows.child_count(self.node):
            self.move_to(self.cursor + 1)

    def action_close(self) -> None:
        """Close the node; in an unfolded chain fold it; else go to the parent."""
        rows = self.tree_rows
        if rows.rows[self.cursor] >= 0 and self.node:
            if (row := rows.fold(self.node)) is not None:
                self.recount()
                self.move_to(rows.position(row) or 0)
                self.post_message(self.Moved(self, self.cursor))
                return
            if rows.collapse(self.cursor):
                self.recount()
                return
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
        parent = self.tree_rows.parent_row(self.tree_rows.rows[self.cursor])
        if parent >= 0:
            self.go_to_node(parent)

    def action_sort(self) -> None:
        """Sort siblings by the next order: in search order, by visits, by value."""
        order = SORTS[(SORTS.index(self.tree_rows.sort) + 1) % len(SORTS)]
        self.refresh_tree(lambda: self.tree_rows.set_sort(order))
        self.post_message(self.Moved(self, self.cursor))

    def action_open_all(self) -> None:
        """Open all nodes below the node, up to a limit."""
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

    def action_chains(self) -> None:
        """Fold or unfold all chains."""
        self.refresh_tree(lambda: self.tree_rows.set_compact(not self.tree_rows.compact))
        self.post_message(self.Moved(self, self.cursor))

    def action_hide(self) -> None:
        """Hide siblings with fewer visits than the next value of ``LEAST_VISITS``."""
        at = LEAST_VISITS.index(self.tree_rows.least_visits)
        least = LEAST_VISITS[(at + 1) % len(LEAST_VISITS)]
        self.refresh_tree(lambda: self.tree_rows.set_least_visits(least))
        self.post_message(self.Moved(self, self.cursor))

    def on_click(self, event: events.Click) -> None:
        index = self.index_at(event.y)
        if index is None:
            return
        row = self.tree_rows.rows[index]
        # The base class's handler moves the cursor as well: the fold mark opens and closes.
        left = 1 + cell_len(self._lead(index, self.line_width))
        if row < 0 or left <= event.x < left + 2:
            self.move_to(index)
            self.action_fold()


def _bar(value: float) -> str:
    """A bar of ``_BAR_CELLS`` columns for a number in [0, 1]."""
    eighths = round(max(0.0, min(1.0, value)) * _BAR_CELLS * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (_BAR[rest] if rest else "")).ljust(_BAR_CELLS)
