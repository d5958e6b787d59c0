"""Small plots in text: intervals on a scale, and lines of Braille dots."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from .figures import percent
from .lines import Line, Span

_BRAILLE = 0x2800
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bits of a Braille character by row and column of its dots (Unicode, Braille Patterns)."""
_LABEL_CELLS = 7


def interval_row(
    estimate: Mapping[str, Any],
    width: int,
    style: str,
    show: Callable[[float], str] = percent,
) -> Line:
    """A value in [0, 1] as a point in its 95 % interval, on a scale of ``width`` columns.

    Args:
        estimate: ``{value, low, high}``; an unknown end is the scale's end.
        width: terminal columns of the scale.
        style: style of the point.
        show: formats the value.
    """
    ends = {
        "low": 0.0,
        "high": 1.0,
        **{k: v for k, v in estimate.items() if v is not None and math.isfinite(v)},
    }
    low, high, at = (
        min(width - 1, max(0, round(ends[key] * (width - 1)))) for key in ("low", "high", "value")
    )
    cells: list[Span] = []
    for column in range(width):
        if column == at:
            cells.append(("●", style))
        elif low <= column <= high:
            cells.append(("├" if column == low else "┤" if column == high else "─", style))
        else:
            cells.append(("·" if column % 10 == 0 else " ", "guide"))
    return (*cells, (f" {show(estimate['value']):>6}", "strong"))


def scale_row(width: int, labels: tuple[str, str, str] = ("0", "50", "100 %")) -> Line:
    """The scale below ``interval_row``: ``labels`` at its beginning, middle and end."""
    text = [" "] * (width + 4)
    for label, at in zip(labels, (0, (width - 1) // 2, width - 1), strict=True):
        text[at : at + len(label)] = label
    return (("".join(text), "dim"),)


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a plot."""

    name: str
    """Cleaned."""
    style: str
    points: Sequence[tuple[float, float]]
    """(x, y), by x."""


def line_plot(series: Sequence[Series], width: int, height: int) -> list[Line]:
    """Series as lines of Braille dots over one pair of axes; the legend has first and last values.

    Args:
        series: series without points are left out.
        width: terminal columns, the labels included.
        height: terminal lines of the plot, without the x axis and the legend.
    """
    series = [curve for curve in series if curve.points]
    columns = width - _LABEL_CELLS - 2
    if not series or columns < 4:
        return []
    xs = [x for curve in series for x, _ in curve.points]
    ys = [y for curve in series for _, y in curve.points]
    low_x, span_x = min(xs), (max(xs) - min(xs)) or 1.0
    low_y, span_y = min(ys), (max(ys) - min(ys)) or 1.0
    cells: dict[tuple[int, int], tuple[int, str]] = {}

    def dot(x: int, y: int, style: str) -> None:
        at = (y // 4, x // 2)
        cells[at] = (cells.get(at, (0, ""))[0] | _DOTS[y % 4][x % 2], style)

    for curve in series:
        scaled = [
            (
                round((x - low_x) / span_x * (columns * 2 - 1)),
                round((1 - (y - low_y) / span_y) * (height * 4 - 1)),
            )
            for x, y in curve.points
        ]
        for (x0, y0), (x1, y1) in pairwise([scaled[0], *scaled]):
            steps = max(abs(x1 - x0), abs(y1 - y0), 1)
            for step in range(steps + 1):
                x = x0 + round((x1 - x0) * step / steps)
                dot(x, y0 + round((y1 - y0) * step / steps), curve.style)
    lines: list[Line] = []
    for row in range(height):
        label = ""
        if row in (0, height // 2, height - 1):
            label = f"{low_y + span_y * (1 - row / max(1, height - 1)):.3g}"
        spans: list[Span] = [(f"{label:>{_LABEL_CELLS}} ", "dim"), ("│", "guide")]
        for column in range(columns):
            bits, style = cells.get((row, column), (0, "plain"))
            spans.append((chr(_BRAILLE + bits) if bits else " ", style))
        lines.append(tuple(spans))
    lines.append(((" " * _LABEL_CELLS + " └" + "─" * columns, "guide"),))
    first, last = f"{low_x:g}", f"{max(xs):g}"
    blank = " " * max(1, columns - len(first) - len(last))
    lines.append(((" " * (_LABEL_CELLS + 2) + first + blank + last, "dim"),))
    legend: list[Span] = [(" " * (_LABEL_CELLS + 2), "plain")]
    for curve in series:
        legend += [("━ ", curve.style), (curve.name, "plain")]
        legend.append((f" {curve.points[0][1]:.3f} → {curve.points[-1][1]:.3f}   ", "dim"))
    lines.append(tuple(legend))
    return lines
