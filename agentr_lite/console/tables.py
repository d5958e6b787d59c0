"""Plain-text tables that fit the terminal."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, Literal

from agentr_lite.console.text import Styled, clean, display_width, truncate

Align = Literal["left", "right"]


_NUMBER = re.compile(r"^[+\-−]?[\d,]*\.?\d+ ?(%|s|ms|k|M)?$")


_GAP = "  "


_MIN_COLUMN = 8


def format_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    align: Sequence[Align] | None = None,
    width: int | None = None,
    keep: Sequence[str] = (),
) -> str:
    """A plain-text table with a header and a rule.

    Args:
        columns: headings.
        rows: one sequence of cells per row, each as long as ``columns``; None prints as ``–``,
            a ``Styled`` in its colour. Control characters are escaped.
        align: one per column; default: right if all cells look like numbers.
        width: terminal columns to fit into; the widest left-aligned columns are narrowed first,
            then the rest. None: as wide as needed.
        keep: headings of columns that are never cut, such as names to be copied.

    Returns:
        The lines joined by newlines, without a final newline.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    heads = [_cell(column) for column in columns]
    for row in cells:
        if len(row) != len(heads):
            raise ValueError(f"a row of {len(row)} cells in a table of {len(heads)} columns")
    aligns = list(align) if align else [_guess_align(cells, i) for i in range(len(heads))]
    widths = [max(display_width(row[i]) for row in [heads, *cells]) for i in range(len(heads))]
    if width is not None:
        kept = {index for index, column in enumerate(columns) if column in keep}
        _shrink(widths, aligns, width, kept)
    lines = [_line(heads, columns, widths, aligns), _GAP.join("-" * w for w in widths)]
    lines += [_line(cell, row, widths, aligns) for cell, row in zip(cells, rows, strict=True)]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.3f}" if math.isfinite(value) else "–"
    return clean(str(value), keep="")


def _guess_align(cells: Sequence[Sequence[str]], index: int) -> Align:
    numbers = [bool(_NUMBER.match(row[index])) for row in cells if row[index] not in ("", "–")]
    return "right" if numbers and all(numbers) else "left"


def _shrink(widths: list[int], aligns: Sequence[Align], width: int, kept: set[int]) -> None:
    spare = width - len(_GAP) * (len(widths) - 1)
    for kind in ("left", "right"):
        candidates = [i for i, a in enumerate(aligns) if a == kind and i not in kept]
        while sum(widths) > spare and candidates:
            widest = max(candidates, key=lambda i: widths[i])
            if widths[widest] <= _MIN_COLUMN:
                break
            widths[widest] -= 1


def _line(
    cells: Sequence[str], values: Sequence[Any], widths: Sequence[int], aligns: Sequence[Align]
) -> str:
    parts = []
    for cell, value, width, side in zip(cells, values, widths, aligns, strict=True):
        text = truncate(cell, width)
        pad = " " * (width - display_width(text))
        shown = value.paint(text) if isinstance(value, Styled) else text
        parts.append(pad + shown if side == "right" else shown + pad)
    return _GAP.join(parts).rstrip()
