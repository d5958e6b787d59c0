"""A table that fits the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from textual import events
from textual.message import Message

from ..layout.columns import GAP, Column, Row, fit, ordered
from ..layout.lines import Line, Span, crop, pad, width_of
from .line_list import LineList


class Table(LineList):
    """Rows under a header; when the rows are replaced, the cursor stays on the same row.

    The table can be sorted by the columns that have values in ``Row.sort``: with a key, which goes
    from one column to the next and back to the given order, or with a click on the heading.
    """

    class Fitted(Message):
        """Other columns than before find no place."""

        def __init__(self, hidden: Sequence[str]) -> None:
            """
            Args:
                hidden: titles of the columns that are not shown.
            """
            super().__init__()
            self.hidden = hidden

    def __init__(self, columns: Sequence[Column], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._columns = tuple(columns)
        self._rows: list[Row] = []
        self._given: list[Row] = []
        self._reverse = False
        self._widest = [0 for _ in columns]
        self._layout: tuple[int, list[int]] = (-1, [])
        self._hidden: Sequence[str] = ()
        self.sorted_by = ""
        """Key of the column that the rows are sorted by; empty: the given order."""

    @property
    def count(self) -> int:
        return len(self._rows)

    @property
    def head_lines(self) -> int:
        return 1

    @property
    def current(self) -> Row | None:
        """The row under the cursor."""
        return self._rows[self.cursor] if self._rows else None

    @property
    def rows(self) -> Sequence[Row]:
        """All rows."""
        return self._rows

    def fill(self, rows: Sequence[Row]) -> None:
        """Replace the rows; the cursor stays on its row if that still exists."""
        here = self.current
        fresh = not self._rows
        self._given = list(rows)
        # Of each text once: most cells of a column are alike.
        self._widest = [
            max(map(cell_len, {row.cells[at][0] for row in rows}), default=0)
            for at in range(len(self._columns))
        ]
        self._show_rows(here)
        if fresh and rows:
            # The first rows: the cursor has not moved, but its row is new.
            self.post_message(self.Moved(self, self.cursor))

    def _show_rows(self, here: Row | None) -> None:
        """Bring the rows in order; the cursor goes to the row ``here`` if that still exists."""
        self._rows = ordered(self._given, self.sorted_by, reverse=self._reverse)
        self._layout = (-1, [])
        self.recount()
        if here is not None:
            self.go_to(here.key)

    def sort_by(self, key: str, *, reverse: bool = False) -> None:
        """Sort by a column; the cursor stays on its row.

        Args:
            key: the column's; empty: the given order.
            reverse: texts from Z, numbers from the lowest.
        """
        here = self.current
        self.sorted_by, self._reverse = key, reverse
        # The cells stay as they are: measuring thousands of them would hold up the key.
        self._show_rows(here)

    def sort_by_next(self) -> None:
        """Sort by the next column, or in the given order after the last column."""
        keys = ["", *self._sortable()]
        at = keys.index(self.sorted_by) if self.sorted_by in keys else 0
        self.sort_by(keys[(at + 1) % len(keys)])

    def reverse_order(self) -> None:
        """Reverse the order of the rows."""
        self.sort_by(self.sorted_by, reverse=not self._reverse)

    def _sortable(self) -> list[str]:
        """Keys of the visible columns that have values to sort by."""
        keys = self._given[0].sort if self._given else {}
        widths = self._widths(self.line_width)
        return [
            column.key
            for column, width in zip(self._columns, widths, strict=True)
            if width and column.key in keys
        ]

    def on_click(self, event: events.Click) -> None:
        if event.y:
            return
        # A click on a heading sorts by its column, a second click reverses the order. The list's
        # own handler runs as well and does nothing above the first line.
        left = 1
        for column, width in zip(self._columns, self._widths(self.line_width), strict=True):
            if width and left <= event.x < left + width + GAP:
                if column.key in self._sortable():
                    again = column.key == self.sorted_by
                    self.sort_by(column.key, reverse=again and not self._reverse)
                return
            left += width + GAP if width else 0

    def go_to(self, key: object) -> bool:
        """Put the cursor on the row with this key; returns whether there is one."""
        for index, row in enumerate(self._rows):
            if row.key == key:
                self.move_to(index)
                return True
        return False

    def header(self, width: int) -> Line:
        return self._join([(self._title(column), "header") for column in self._columns], width)

    def line(self, index: int, width: int) -> Line:
        return self._join(self._rows[index].cells, width)

    def _title(self, column: Column) -> str:
        if column.key != self.sorted_by:
            return column.title
        return column.title + ("▴" if self._reverse else "▾")

    def _join(self, cells: Sequence[Span], width: int) -> Line:
        spans: list[Span] = []
        for column, cell, room in zip(self._columns, cells, self._widths(width), strict=True):
            if not room:
                continue
            if column.right:
                cut = crop([cell], room)
                spans += [(" " * (room - width_of(cut)), "plain"), *cut]
            else:
                spans += pad([cell], room)
            spans.append((" " * GAP, "plain"))
        return tuple(spans)

    def _widths(self, width: int) -> list[int]:
        """Terminal columns of each column; 0 where it does not fit."""
        if self._layout[0] != width:
            titles = [cell_len(self._title(column)) for column in self._columns]
            natural = [max(pair) for pair in zip(titles, self._widest, strict=True)]
            self._layout = (width, fit(self._columns, natural, width))
            shown = self._layout[1]
            hidden = [c.title for c, room in zip(self._columns, shown, strict=True) if not room]
            if hidden != self._hidden:
                self._hidden = hidden
                self.post_message(self.Fitted(hidden))
        return self._layout[1]
