"""The report's plots: plain data in, SVG out.

Every axis of a share or an amount begins at 0; a difference has its 0 line; intervals are drawn
where there are any. Drawings are about 360 units wide: a phone's width, so that text stays legible
there, and a column's on a desk.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from agentr_lite.console.text import display_width
from agentr_lite.metrics.estimates import Estimate
from agentr_lite.report.charts.labels import fitted
from agentr_lite.report.charts.svg import (
    Scale,
    el,
    line,
    marker,
    nice_ticks,
    picture,
    polyline,
    series_class,
    text,
)

WIDTH = 360.0
_HEIGHT = 220.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 40.0, 12.0, 26.0, 26.0
_ROW = 24.0
_CHARACTER = 5.8
"""Mean width of a label's character."""

Show = Callable[[float], str]


@dataclass(frozen=True, slots=True)
class Point:
    """A value at a category, with its interval where there is one."""

    category: str
    value: float
    bounds: tuple[float, float] | None = None
    """The interval; None where it is not known."""
    n: int | None = None

    @classmethod
    def of(cls, category: str, estimate: Estimate) -> Point:
        """An estimate at a category."""
        return cls(category, estimate.value, estimate.bounds, estimate.n)

    @classmethod
    def of_difference(cls, category: str, difference: Estimate) -> Point:
        """A difference; one of too few tasks to tell anything has no interval."""
        bounds = None if difference.too_few else difference.bounds
        return cls(category, difference.value, bounds, difference.n)


@dataclass(frozen=True, slots=True)
class Series:
    """One line of an interval plot."""

    name: str
    points: Sequence[Point]
    colour: int = 0
    """Number of the series' colour and shape."""
    centred: bool = False
    """At its categories' middle, as the only series there."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One line of a line plot."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: int
    """Number of the series' colour."""
    faint: bool = False
    """A background line without markers."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One row of a bar plot."""

    label: str
    parts: Sequence[float]
    """One amount a part, in the order of the plot's parts."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One row of a difference plot."""

    label: str
    point: Point
    colour: int = 0
    short: str = ""
    """What stands beside the row where a legend tells the rest; default: the label."""

    @property
    def shown(self) -> str:
        """What stands beside the row."""
        return self.short or self.label


def interval_plot(
    series: Sequence[Series],
    categories: Sequence[str],
    *,
    label: str,
    show: Show,
    y_title: str,
    top: float | None = None,
) -> Markup:
    """Values by category with their intervals, series side by side.

    Args:
        series: one or more.
        categories: of all series, from left to right.
        label: for screen readers.
        show: a value as text.
        y_title: what the vertical axis measures.
        top: the largest possible value; the axis does not go beyond it.
    """
    highest = max(
        (p.bounds[1] if p.bounds else p.value for each in series for p in each.points), default=0.0
    )
    ticks = nice_ticks(0.0, highest if top is None else min(highest, top))
    if top is not None:
        ticks = [tick for tick in ticks if tick <= top * (1 + 1e-9)]
    y = Scale(ticks[0], ticks[-1], _HEIGHT - _BOTTOM, _TOP)
    parts = _y_axis(y, ticks, show, y_title)
    slot = (WIDTH - _LEFT - _RIGHT) / max(1, len(categories))
    centre = {name: _LEFT + slot * (i + 0.5) for i, name in enumerate(categories)}
    parts += [
        text(x, _HEIGHT - _BOTTOM + 16, shown, class_="tick", text_anchor="middle")
        for shown, x in zip(_fit(list(centre), slot), centre.values(), strict=True)
    ]
    beside = [each for each in series if not each.centred]
    spread = min(16.0, slot * 0.7 / max(1, len(beside)))
    for each in series:
        offset = 0.0 if each.centred else (beside.index(each) - (len(beside) - 1) / 2) * spread
        places = [(centre[p.category] + offset, y.clamp(p.value)) for p in each.points]
        parts.append(polyline(places, f"joint {series_class(each.colour)}"))
        for (x, at), p in zip(places, each.points, strict=True):
            if p.bounds:
                parts.append(_whisker(x, y.clamp(p.bounds[0]), y.clamp(p.bounds[1]), each.colour))
            parts.append(marker(each.colour, x, at, title=_title(each.name, p, show)))
            if len(series) == 1:
                parts.append(text(x + 8, at - 6, show(p.value), class_="value"))
    return picture(WIDTH, _HEIGHT, *parts, label=label)


def difference_plot(rows: Sequence[Difference], *, label: str, show: Show, unit: str) -> Markup:
    """Differences with their intervals around a line at 0, one a row.

    Args:
        rows: from top to bottom.
        label: for screen readers.
        show: a value as text, signed.
        unit: below the axis.
    """
    left = _label_width([row.shown for row in rows])
    top, bottom = 12.0, 36.0
    row_height = min(44.0, max(_ROW, (_HEIGHT - top - bottom) / max(1, len(rows))))
    ends = [end for row in rows for end in (row.point.bounds or (row.point.value,))]
    # Where nothing differs, the line at 0 is in the middle, not at the edge of an axis to 100 %.
    ticks = nice_ticks(min(0.0, *ends), max(0.0, *ends)) if any(ends) else [-0.1, 0.0, 0.1]
    height = top + row_height * len(rows) + bottom
    x = Scale(ticks[0], ticks[-1], left, WIDTH - 52)
    floor = height - bottom
    parts = [line(x(tick), top, x(tick), floor, "grid") for tick in ticks]
    parts += [
        text(x(tick), floor + 14, _trimmed(show(tick)), class_="tick", text_anchor="middle")
        for tick in ticks
    ]
    parts.append(line(x(0.0), top - 4, x(0.0), floor, "zero"))
    parts.append(text((left + WIDTH - 52) / 2, height - 5, unit, class_="unit"))
    shown = _fit([row.shown for row in rows], left - 8)
    for number, row in enumerate(rows):
        at = top + row_height * (number + 0.5)
        colour = series_class(row.colour)
        parts.append(text(0, at + 4, shown[number], class_="label"))
        bounds = row.point.bounds
        if bounds:
            parts.append(line(x(bounds[0]), at, x(bounds[1]), at, f"whisker {colour}"))
            parts += [line(x(b), at - 4, x(b), at + 4, f"whisker {colour}") for b in bounds]
        title = _title(row.label, row.point, show)
        parts.append(marker(row.colour, x(row.point.value), at, title=title))
        parts.append(text(WIDTH - 42, at + 4, show(row.point.value), class_="value"))
    return picture(WIDTH, height, *parts, label=label)


def line_plot(
    curves: Sequence[Curve], *, label: str, show: Show, x_title: str, y_title: str = ""
) -> Markup:
    """Curves over steps, from 0 up.

    Args:
        curves: faint ones are drawn first.
        label: for screen readers.
        show: a vertical value as text.
        x_title: after the axis' last tick.
        y_title: above the vertical axis.
    """
    xs = [x for curve in curves for x, _ in curve.points]
    ys = [y for curve in curves for _, y in curve.points if math.isfinite(y)]
    y_ticks = nice_ticks(0.0, max(ys, default=1.0))
    x_ticks = nice_ticks(0.0, max(xs, default=1.0))
    y = Scale(y_ticks[0], y_ticks[-1], _HEIGHT - _BOTTOM, _TOP)
    x = Scale(0.0, max(xs, default=1.0) or 1.0, _LEFT, WIDTH - _RIGHT)
    parts = _y_axis(y, y_ticks, show, y_title)
    parts += [
        text(x(tick), _HEIGHT - _BOTTOM + 14, f"{tick:g}", class_="tick", text_anchor="middle")
        for tick in x_ticks
        if tick <= x.high
    ]
    parts.append(text(WIDTH, _HEIGHT - 1, x_title, class_="tick", text_anchor="end"))
    for curve in sorted(curves, key=lambda curve: not curve.faint):
        known = [(a, b) for a, b in curve.points if math.isfinite(b)]
        places = [(x(a), y.clamp(b)) for a, b in known]
        colour = series_class(curve.colour)
        parts.append(polyline(places, f"{'faint' if curve.faint else 'curve'} {colour}"))
        if not curve.faint:
            parts += [
                marker(curve.colour, *place, title=f"{curve.name}, {x_title} {a:g}: {show(b)}")
                for place, (a, b) in zip(places, known, strict=True)
            ]
    return picture(WIDTH, _HEIGHT, *parts, label=label)


def bar_plot(
    bars: Sequence[Bar],
    parts: Sequence[tuple[int, str]],
    *,
    label: str,
    show: Show,
    unit: float = 1.0,
) -> Markup:
    """Amounts as stacked bars, one a row, with each row's sum at its end.

    Args:
        bars: from top to bottom.
        parts: (number of its colour, name) of each stacked part.
        label: for screen readers.
        show: an amount as text.
        unit: ticks are round multiples of it, e.g. 60 for seconds shown as minutes.
    """
    left = _label_width([bar.label for bar in bars])
    right = 56.0
    longest = max((sum(bar.parts) for bar in bars), default=unit)
    ticks = [tick * unit for tick in nice_ticks(0.0, longest / unit, 4)]
    height = 6 + _ROW * len(bars) + 20
    x = Scale(0.0, ticks[-1], left, WIDTH - right)
    drawn = [line(x(tick), 4, x(tick), height - 18, "grid") for tick in ticks]
    drawn += [
        text(x(tick), height - 5, show(tick), class_="tick", text_anchor="middle") for tick in ticks
    ]
    shown = _fit([bar.label for bar in bars], left - 8)
    for number, bar in enumerate(bars):
        at = 6 + _ROW * number
        drawn.append(text(0, at + 16, shown[number], class_="label"))
        begin = 0.0
        for index, amount in enumerate(bar.parts):
            if amount > 0:
                colour, name = parts[index]
                title = f"{bar.label}, {name}: {show(amount)}"
                drawn.append(
                    el(
                        "rect",
                        el("title", title),
                        x=x(begin),
                        y=at + 4,
                        width=max(0.5, x(begin + amount) - x(begin)),
                        height=_ROW - 8,
                        class_=f"bar {series_class(colour)}",
                    )
                )
            begin += amount
        drawn.append(text(x(begin) + 5, at + 16, show(begin), class_="value"))
    return picture(WIDTH, height, *drawn, label=label)


def _y_axis(y: Scale, ticks: Sequence[float], show: Show, title: str) -> list[Markup]:
    parts = [line(_LEFT, y(tick), WIDTH - _RIGHT, y(tick), "grid") for tick in ticks[1:]]
    parts.append(line(_LEFT, y(ticks[0]), WIDTH - _RIGHT, y(ticks[0]), "zero"))
    parts += [
        text(_LEFT - 6, y(tick) + 4, show(tick), class_="tick", text_anchor="end") for tick in ticks
    ]
    if title:
        parts.append(text(0, 9, title, class_="title"))
    return parts


def _whisker(x: float, low: float, high: float, index: int) -> Markup:
    class_ = f"whisker {series_class(index)}"
    ends = [line(x - 4, at, x + 4, at, class_) for at in (low, high)]
    return el("g", line(x, low, x, high, class_), *ends)


def _trimmed(label: str) -> str:
    """A tick's round number without its empty decimal."""
    return label.removesuffix(".0")


def _title(name: str, point: Point, show: Show) -> str:
    words = f"{name}, {point.category}: {show(point.value)}"
    if point.bounds:
        words += f" ({show(point.bounds[0])} to {show(point.bounds[1])})"
    return words + (f", n = {point.n}" if point.n is not None else "")


def _label_width(labels: Sequence[str]) -> float:
    widest = max((display_width(label) for label in labels), default=0)
    return min(132.0, widest * _CHARACTER + 10)


def _fit(labels: Sequence[str], width: float) -> list[str]:
    """Labels for a space of so many pixels."""
    return fitted(labels, max(6, int(width / _CHARACTER)))
