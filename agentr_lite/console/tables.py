"""Plain-text tables that fit the terminal: prose is wrapped and whole columns are hidden."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from agentr_lite.console.text import Styled, clean, display_width, wrap

Align = Literal["left", "right"]


_NUMBER = re.compile(r"^[+\-−]?[\d,]*\.?\d+ ?(%|s|ms|k|M)?$")


_GAP = "  "


_PROSE = 24
"""A left-aligned column that is wider than this holds sentences or paths, which may be wrapped."""
_NARROW_PROSE = 32
"""Columns that prose keeps as long as there is another column to hide."""
_NARROWEST = 8


@dataclass(frozen=True, slots=True)
class Fitted:
    """A table as it fits the terminal."""

    text: str
    """Its lines joined by newlines, without a final newline."""
    hidden: tuple[str, ...] = ()
    """Headings of the columns that found no place, in the order of the table."""


def fit_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    align: Sequence[Align] | None = None,
    width: int | None = None,
    keep: Sequence[str | int] = (),
    hide: Sequence[str | int] = (),
) -> Fitted:
    """A plain-text table with a header and a rule.

    Where the table is wider than the terminal, its prose (left-aligned columns of more than 24
    terminal columns) is wrapped, and then whole columns are hidden, so that no figure is cut.

    Args:
        columns: headings.
        rows: one sequence of cells per row, each as long as ``columns``; None prints as ``–``,
            a ``Styled`` in its colour. Control characters are escaped.
        align: one per column; default: right if all cells look like numbers.
        width: terminal columns to fit into. None: as wide as needed.
        keep: columns that are neither wrapped nor hidden, such as results and names to be copied;
            by heading, or by position where a heading occurs twice. The first column is never
            hidden.
        hide: the columns that are hidden first, in this order, and never wrapped; named as in
            ``keep``. Then those farthest to the right follow.

    Returns:
        The table, which is too wide only if what is kept is.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    heads = [_cell(column) for column in columns]
    for row in cells:
        if len(row) != len(heads):
            raise ValueError(f"a row of {len(row)} cells in a table of {len(heads)} columns")
    aligns = list(align) if align else [_guess_align(cells, i) for i in range(len(heads))]
    widths = [max(display_width(row[i]) for row in [heads, *cells]) for i in range(len(heads))]
    shown = list(range(len(heads)))
    if width is not None:
        kept = _positions(columns, keep)
        shown = _fit(widths, aligns, width, kept, _positions(columns, hide))
    lines = _row(heads, columns, widths, aligns, shown)
    lines.append(_GAP.join("-" * widths[i] for i in shown))
    for row, values in zip(cells, rows, strict=True):
        lines += _row(row, values, widths, aligns, shown)
    hidden = tuple(head for index, head in enumerate(heads) if index not in shown)
    return Fitted("\n".join(lines), hidden)


def format_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    align: Sequence[Align] | None = None,
    width: int | None = None,
    keep: Sequence[str | int] = (),
    hide: Sequence[str | int] = (),
) -> str:
    """The text of ``fit_table``, for callers that do not say what is hidden."""
    return fit_table(columns, rows, align=align, width=width, keep=keep, hide=hide).text


def hidden_note(hidden: Sequence[str]) -> str:
    """A sentence on the columns that found no place; empty where all did."""
    if not hidden:
        return ""
    return f"Hidden, because the terminal is narrow: {', '.join(dict.fromkeys(hidden))}."


def _positions(columns: Sequence[str], named: Sequence[str | int]) -> list[int]:
    """The positions of columns that are named by heading or position, in the order of ``named``."""
    return [
        index
        for name in named
        for index, column in enumerate(columns)
        if name == (index if isinstance(name, int) else column)
    ]


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.3f}" if math.isfinite(value) else "–"
    return clean(str(value), keep="")


def _guess_align(cells: Sequence[Sequence[str]], index: int) -> Align:
    numbers = [bool(_NUMBER.match(row[index])) for row in cells if row[index] not in ("", "–")]
    return "right" if numbers and all(numbers) else "left"


def _fit(
    widths: list[int],
    aligns: Sequence[Align],
    width: int,
    kept: Sequence[int],
    first_hidden: Sequence[int],
) -> list[int]:
    """Narrow ``widths`` in place; returns the positions of the columns that are shown.

    Args:
        widths: terminal columns that each column needs to be shown on one line.
        aligns: of each column.
        width: of the terminal.
        kept: positions that are neither narrowed nor hidden.
        first_hidden: positions in the order in which they are hidden.
    """
    shown = list(range(len(widths)))
    fixed = {*kept, *first_hidden}
    prose = [i for i in shown if aligns[i] == "left" and widths[i] > _PROSE and i not in fixed]
    others = [i for i in reversed(shown) if i not in prose and i not in first_hidden]
    candidates = [i for i in [*first_hidden, *others, *reversed(prose)] if i and i not in kept]

    def needed(narrow: int) -> int:
        wide = sum(min(widths[i], narrow) if i in prose else widths[i] for i in shown)
        return wide + len(_GAP) * (len(shown) - 1)

    for narrow in (_NARROW_PROSE, _NARROWEST):
        for index in candidates:
            if needed(narrow) <= width:
                break
            # Narrow prose is better than none.
            if index in shown and (index not in prose or narrow == _NARROWEST):
                shown.remove(index)
    while needed(max(widths)) > width:
        widest = max((i for i in shown if i in prose), key=lambda i: widths[i], default=None)
        if widest is None or widths[widest] <= _NARROWEST:
            break
        widths[widest] -= 1
    return shown


def _row(
    cells: Sequence[str],
    values: Sequence[Any],
    widths: Sequence[int],
    aligns: Sequence[Align],
    shown: Sequence[int],
) -> list[str]:
    """The lines of one row: several where a cell is wrapped."""
    wrapped = {i: wrap(cells[i], widths[i]) for i in shown}
    lines = []
    for number in range(max(map(len, wrapped.values()), default=1)):
        parts = []
        for i in shown:
            text = wrapped[i][number] if number < len(wrapped[i]) else ""
            pad = " " * (widths[i] - display_width(text))
            value = values[i]
            painted = value.paint(text) if isinstance(value, Styled) and text else text
            parts.append(pad + painted if aligns[i] == "right" else painted + pad)
        lines.append(_GAP.join(parts).rstrip())
    return lines
