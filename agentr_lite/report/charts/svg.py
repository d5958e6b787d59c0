"""SVG elements and axes: what the plots are drawn with.

Colours are classes (``s0`` to ``s7`` for series), so that one drawing serves light and dark pages.
Nothing has a ``style`` attribute: the page's content security policy forbids them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from agentr_lite.console.text import clean

SERIES_CLASSES = 8
"""Number of colours for series; more series begin again, with other shapes."""

_CORNERS: tuple[tuple[tuple[float, float], ...], ...] = (
    (),
    ((-1, -1), (1, -1), (1, 1), (-1, 1)),
    ((0, -1.4), (1.4, 0), (0, 1.4), (-1.4, 0)),
    ((0, -1.3), (1.25, 1), (-1.25, 1)),
)
"""Of the square, the diamond and the triangle, in units of their size; none: a circle."""

Value = str | float | None


def el(name: str, *children: str | Markup, **attributes: Value) -> Markup:
    """One element.

    Args:
        name: its tag.
        children: markup as it is; text is cleaned and escaped.
        attributes: ``_`` in a name stands for ``-`` and at its end for nothing (``class_``);
            numbers are rounded to hundredths; None leaves an attribute out.
    """
    parts = [
        f' {key.rstrip("_").replace("_", "-")}="{_attribute(value)}"'
        for key, value in attributes.items()
        if value is not None
    ]
    inner = "".join(_content(child) for child in children)
    head = f"<{name}{''.join(parts)}"
    return Markup(f"{head}>{inner}</{name}>" if inner else f"{head}/>")


def text(x: float, y: float, content: str, **attributes: Value) -> Markup:
    """A label."""
    return el("text", content, x=x, y=y, **attributes)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """A straight line."""
    return el("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def polyline(points: Sequence[tuple[float, float]], class_: str) -> Markup:
    """A line through points."""
    drawn = " ".join(f"{_number(x)},{_number(y)}" for x, y in points)
    return el("polyline", points=drawn, class_=class_)


def marker(index: int, x: float, y: float, *, title: str = "", size: float = 4.2) -> Markup:
    """A series' point: its shape tells series apart where colours do not."""
    class_ = f"dot {series_class(index)}"
    inner = [el("title", title)] if title else []
    corners = _CORNERS[index % 4]
    if not corners:
        return el("circle", *inner, cx=x, cy=y, r=size, class_=class_)
    scale = size * 0.9
    points = " ".join(f"{_number(x + dx * scale)},{_number(y + dy * scale)}" for dx, dy in corners)
    return el("polygon", *inner, points=points, class_=class_)


def series_class(index: int) -> str:
    """The class that gives a series its colour."""
    return f"s{index % SERIES_CLASSES}"


def picture(width: float, height: float, *children: Markup, label: str) -> Markup:
    """A drawing that grows with its column.

    Args:
        width: in its own units, about a phone's CSS pixels.
        height: the same.
        children: what is in it.
        label: what a screen reader says; the data stands in a table beside it.
    """
    return el(
        "svg",
        *children,
        viewBox=f"0 0 {_number(width)} {_number(height)}",
        class_="plot",
        role="img",
        aria_label=label,
    )


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear map from values to positions."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        span = self.high - self.low
        share = (value - self.low) / span if span else 0.0
        return self.start + share * (self.end - self.start)

    def clamp(self, value: float) -> float:
        """The position of a value, kept inside the axis."""
        return self(min(max(value, self.low), self.high))


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers that cover ``[low, high]``, ends included.

    Args:
        low: the smallest value to cover.
        high: the largest; an empty or infinite range is widened to one unit.
        count: about how many.

    Returns:
        At least two ascending multiples of 1, 2, 2.5 or 5 times a power of ten.
    """
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        low = low if math.isfinite(low) else 0.0
        high = low + 1
    rough = (high - low) / max(1, count - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * unit for unit in (1, 2, 2.5, 5, 10) if power * unit >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def _content(child: str | Markup) -> str:
    return str(child) if isinstance(child, Markup) else str(escape(clean(child, keep="\n")))


def _attribute(value: str | float) -> str:
    return str(escape(clean(value, keep=""))) if isinstance(value, str) else _number(value)


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
