"""Small plots in text: intervals on a scale, and a series as a row of blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .figures import percent
from .lines import Line, Span

_BLOCKS = "▁▂▃▄▅▆▇█"


def interval_row(estimate: Mapping[str, Any], width: int, style: str) -> Line:
    """A share in [0, 1] as a point in its 95 % interval, on a scale of ``width`` columns.

    Args:
        estimate: ``{value, low, high}``.
        width: terminal columns of the scale.
        style: of the point.
    """
    low, high, at = (
        min(width - 1, max(0, round(estimate[key] * (width - 1))))
        for key in ("low", "high", "value")
    )
    cells: list[Span] = []
    for column in range(width):
        if column == at:
            cells.append(("●", style))
        elif low <= column <= high:
            cells.append(("├" if column == low else "┤" if column == high else "─", style))
        else:
            cells.append(("·" if column % 10 == 0 else " ", "guide"))
    return (*cells, (f" {percent(estimate['value']):>6}", "strong"))


def scale_row(width: int) -> Line:
    """The scale below ``interval_row``: 0 %, 50 %, 100 %."""
    text = [" "] * (width + 4)
    for label, at in (("0", 0), ("50", (width - 1) // 2), ("100 %", width - 1)):
        text[at : at + len(label)] = label
    return (("".join(text), "dim"),)


def sparkline(values: Sequence[float], width: int) -> str:
    """A series as blocks from its lowest to its highest value, in at most ``width`` columns.

    Where there are more values than columns, each column is the mean of its share.
    """
    if not values or width < 1:
        return ""
    columns = min(width, len(values))
    means = []
    for column in range(columns):
        part = values[column * len(values) // columns : (column + 1) * len(values) // columns]
        means.append(sum(part) / len(part))
    low, high = min(means), max(means)
    span = (high - low) or 1.0
    return "".join(_BLOCKS[round((mean - low) / span * (len(_BLOCKS) - 1))] for mean in means)
