"""Columns and rows of a table: which columns fit, how wide they are, and the order of the rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from .lines import Span, one_line

GAP = 2


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    key: str
    title: str
    right: bool = False
    """Align right."""
    flex: bool = False
    """Is narrowed first, down to ``least``, and takes the spare room."""
    least: int = 6
    """Terminal columns that a ``flex`` column keeps."""
    drop: int = 0
    """0: always shown; else the highest is left out first if the terminal is narrow."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row; ``key`` identifies it when the rows are replaced."""

    key: object
    cells: Sequence[Span]
    sort: Mapping[str, float | str | None] = field(default_factory=dict)
    """Column key to the value that the row is sorted by; None comes last in both orders."""


def ordered(rows: Sequence[Row], key: str, *, reverse: bool = False) -> list[Row]:
    """Rows sorted by a column: numbers from the highest, texts from A, equal ones as given.

    Args:
        rows: in the given order.
        key: the column's; empty: the given order.
        reverse: reverse the order. Rows without a value come last in both orders.
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
        natural: terminal columns that each needs to be shown whole.
        width: terminal columns for all of them and the gaps.

    Returns:
        One number per column; 0: the column is left out.
    """
    kept = list(range(len(columns)))

    def needed(at: int) -> int:
        return min(natural[at], columns[at].least) if columns[at].flex else natural[at]

    while sum(needed(at) + GAP for at in kept) > width:
        optional = [at for at in kept if columns[at].drop]
        if not optional:
            break
        kept.remove(max(optional, key=lambda at: columns[at].drop))
    widths = [needed(at) if at in kept else 0 for at in range(len(columns))]
    spare = width - sum(widths[at] + GAP for at in kept)
    # The narrowest first, so that the room it leaves goes to the others.
    flexible = sorted((at for at in kept if columns[at].flex), key=natural.__getitem__)
    for place, at in enumerate(flexible):
        share = max(0, spare) // (len(flexible) - place)
        more = min(natural[at] - widths[at], share)
        widths[at] += more
        spare -= more
    return widths


def with_env(
    columns: Iterable[Column], *, several: bool, before: str = "task"
) -> tuple[Column, ...]:
    """Add a column for the environment before another column, if there are several."""
    result = list(columns)
    if several:
        at = next(i for i, column in enumerate(result) if column.key == before)
        result.insert(at, Column("env", "env", flex=True, least=8))
    return tuple(result)


def put_env(cells: list[Span], columns: Sequence[Column], name: str) -> list[Span]:
    """Add a cell for the environment to a row, if the columns have one."""
    at = next((i for i, column in enumerate(columns) if column.key == "env"), None)
    return cells if at is None else [*cells[:at], (one_line(name), "plain"), *cells[at:]]
