"""A table that fits: wide columns give way, the least needed ones go, and what went is said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.cells import cell_len
from textual import events

from ..layout.lines import Line, Span, crop, pad, width_of
from .line_list import LineList

_GAP = 2


@dataclass(frozen=True, slots=True)
class Column:
    """One column."""

    key: str
    title: str
    right: bool = False
    """Align right."""
    flex: bool = False
    """Gives way first, down to ``least``, and takes what is left over."""
    least: int = 6
    """Columns of the terminal that a ``flex`` column keeps."""
    drop: int = 0
    """0: always shown; else the highest goes first where the terminal is narrow."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row; ``key`` tells it from the others when the table is filled anew."""

    key: object
    cells: Sequence[Span]
    sort: Mapping[str, float | str | None] = field(default_factory=dict)
    """Column key to what the row is sorted by in that column; None comes last either way."""


class Table(LineList):
    """Rows under a header; filled anew, the cursor stays on the same row.

    Columns that have values in ``Row.sort`` can be sorted by: with a key, which goes from one to
    the next and back to the order in which the rows came, or with a click on the heading.
    """

    def __init__(self, columns: Sequence[Column], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._columns = tuple(columns)
        self._rows: list[Row] = []
        self._given: list[Row] = []
        self._reverse = False
        self._natural = [cell_len(column.title) for column in columns]
        self._layout: tuple[int, list[int]] = (-1, [])
        self.sorted_by = ""
        """Key of the column that the rows are sorted by; empty: as they came."""

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
        """Replace the rows; the cursor stays on its row where that is still there."""
        here = self.current
        fresh = not self._rows
        self._given = list(rows)
        self._rows = ordered(rows, self.sorted_by, reverse=self._reverse)
        self._natural = [
            max([cell_len(self._title(column)), *(cell_len(row.cells[at][0]) for row in rows)])
            for at, column in enumerate(self._columns)
        ]
        self._layout = (-1, [])
        self.recount()
        if here is not None:
            self.go_to(here.key)
        if fresh and rows:
            # The first rows: the cursor has not moved, but what it stands on is new.
            self.post_message(self.Moved(self, self.cursor))

    def sort_by(self, key: str, *, reverse: bool = False) -> None:
        """Sort by a column; the cursor stays on its row.

        Args:
            key: the column's; empty: the order in which the rows came.
            reverse: texts from Z, numbers from the lowest.
        """
        self.sorted_by, self._reverse = key, reverse
        self.fill(self._given)

    def sort_by_next(self) -> None:
        """Sort by the next column, or as the rows came after the last."""
        keys = ["", *self._sortable()]
        at = keys.index(self.sorted_by) if self.sorted_by in keys else 0
        self.sort_by(keys[(at + 1) % len(keys)])

    def turn_round(self) -> None:
        """The same order, backwards."""
        self.sort_by(self.sorted_by, reverse=not self._reverse)

    def _sortable(self) -> list[str]:
        """Keys of the columns in sight that have something to sort by."""
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
        # On the heading: its column; a second click turns the order round. The list's own handler
        # runs as well and does nothing above the first line.
        left = 1
        for column, width in zip(self._columns, self._widths(self.line_width), strict=True):
            if width and left <= event.x < left + width + _GAP:
                if column.key in self._sortable():
                    again = column.key == self.sorted_by
                    self.sort_by(column.key, reverse=again and not self._reverse)
                return
            left += width + _GAP if width else 0

    def go_to(self, key: object) -> bool:
        """Put the cursor on the row with this key; returns whether there is one."""
        for index, row in enumerate(self._rows):
            if row.key == key:
                self.move_to(index)
                return True
        return False

    def hidden_columns(self) -> list[str]:
        """Titles of the columns that do not fit."""
        widths = self._widths(self.line_width)
        return [c.title for c, w in zip(self._columns, widths, strict=True) if not w]

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
            spans.append((" " * _GAP, "plain"))
        return tuple(spans)

    def _widths(self, width: int) -> list[int]:
        """Terminal columns of each column; 0 where it does not fit."""
        if self._layout[0] != width:
            self._layout = (width, fit(self._columns, self._natural, width))
        return self._layout[1]


def ordered(rows: Sequence[Row], key: str, *, reverse: bool = False) -> list[Row]:
    """Rows by a column: numbers from the highest, texts from A, equal ones as they came.

    Args:
        rows: as they came.
        key: the column's; empty: leave them so.
        reverse: the other way round. Rows without a value come last either way.
    """
    if not key:
        return list(rows)[:: -1 if reverse else 1]
    known = [row for row in rows if row.sort.get(key) is not None]
    texts = any(isinstance(row.sort[key], str) for row in known)
    known.sort(key=lambda row: row.sort[key], reverse=texts == reverse)  # type: ignore[arg-type, return-value]
    return [*known, *(row for row in rows if row.sort.get(key) is None)]


def fit(columns: Sequence[Column], natural: Sequence[int], width: int) -> list[int]:
    """Terminal columns for each column.

    Args:
        columns: the columns.
        natural: how wide each would like to be.
        width: what there is for all of them and the gaps.

    Returns:
        One number a column, 0 where it is left out.
    """
    wish = list(natural)
    kept = list(range(len(columns)))

    def needed(at: int) -> int:
        return min(wish[at], columns[at].least) if columns[at].flex else wish[at]

    while sum(needed(at) + _GAP for at in kept) > width:
        optional = [at for at in kept if columns[at].drop]
        if not optional:
            break
        kept.remove(max(optional, key=lambda at: columns[at].drop))
    widths = [needed(at) if at in kept else 0 for at in range(len(columns))]
    spare = width - sum(widths[at] + _GAP for at in kept)
    # The narrowest wish first, so that what it leaves goes to the others.
    flexible = sorted((at for at in kept if columns[at].flex), key=wish.__getitem__)
    for place, at in enumerate(flexible):
        share = max(0, spare) // (len(flexible) - place)
        more = min(wish[at] - widths[at], share)
        widths[at] += more
        spare -= more
    return widths
