"""A study's plots as separate SVG files, which are legible on light and on dark pages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from importlib import resources

from markupsafe import Markup

from agentr_lite.console.text import display_width
from agentr_lite.core.rounds import START, round_name
from agentr_lite.metrics.measures import LENGTH, REFLECTIONS, REPEATED, VALID, Measure
from agentr_lite.metrics.methods import BASE, IMITATION
from agentr_lite.report.charts.plots import (
    Difference,
    Point,
    Series,
    Show,
    difference_plot,
    interval_plot,
)
from agentr_lite.report.charts.svg import SERIES_CLASSES, el, marker, text
from agentr_lite.report.words import signed_for
from agentr_lite.study.outcomes.results import EnvResults

_PANEL_WIDTH = 360.0
_PANEL_HEIGHT = 232.0
_GAP = 34.0
_MARGIN = 18.0
_TITLE = 20.0
_CHARACTER = 6.2
_BASE_COLOUR = 7
_BEHAVIOUR = (REPEATED, LENGTH, VALID, REFLECTIONS)

_FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", Arial, sans-serif'
# The report's page colours (report/render/assets/report.css), light and dark.
_INK = (("#1c2024", "#e7e9ec"), ("#5b636d", "#a0a8b3"), ("#e6e8e5", "#2a2f37"))
_ZERO = ("#8b929b", "#6d7683")
_PAPER = ("#fcfcfb", "#14161a")


def environment_plot(results: EnvResults) -> str | None:
    """The plots of one environment: outcome, recovery and behaviour by round, and differences.

    Args:
        results: of the environment.

    Returns:
        The text of an SVG file; None until a method has been evaluated after training.
    """
    methods = results.methods
    if not methods:
        return None
    outcomes = (results.main, results.recovery)
    panels = [
        *_panels([(m.title, _by_round(results, methods, m)) for m in outcomes]),
        *_panels(
            [
                (
                    f"{m.column.capitalize()}: last round less base",
                    _differences(results, methods, m),
                )
                for m in outcomes
            ]
        ),
        *_panels([(m.title, _by_round(results, methods, m)) for m in _BEHAVIOUR]),
    ]
    return sheet(panels, _legend(results), label=f"Results in {results.env}, by round and method")


def outcome_plot(results: EnvResults) -> str | None:
    """Outcome and recovery by round, of all methods.

    Args:
        results: of the environment.

    Returns:
        The text of an SVG file; None until a method has been evaluated after training.
    """
    methods = results.methods
    if not methods:
        return None
    measures = (results.main, results.recovery)
    panels = _panels([(m.title, _by_round(results, methods, m)) for m in measures])
    return sheet(panels, _legend(results), label=f"Outcome and recovery in {results.env}, by round")


def _legend(results: EnvResults) -> list[tuple[str, int]]:
    """The base and the methods, with their colours."""
    methods = [(results.labels[method], index) for index, method in enumerate(results.methods)]
    return [(results.labels.get(BASE, BASE), _BASE_COLOUR), *methods]


def _panels(drawn: Sequence[tuple[str, Markup | None]]) -> list[tuple[str, Markup]]:
    return [(title, drawing) for title, drawing in drawn if drawing is not None]


def _by_round(results: EnvResults, methods: Sequence[str], measure: Measure) -> Markup | None:
    last = max(results.last_round(method) for method in methods)
    categories = [round_name(number) for number in range(last + 1)]
    start = results.value(measure, IMITATION, START)
    if start is not None:
        categories.insert(1, IMITATION)
    series = []
    base = results.value(measure, BASE, 0)
    if base is not None:
        points = [Point.of(categories[0], base)]
        name = results.labels.get(BASE, BASE)
        series.append(Series(name, points, _BASE_COLOUR, centred=True))
    if start is not None:
        points = [Point.of(IMITATION, start)]
        name = results.labels.get(IMITATION, IMITATION)
        series.append(Series(name, points, _BASE_COLOUR, centred=True))
    for index, method in enumerate(methods):
        points = []
        for number in range(1, results.last_round(method) + 1):
            value = results.value(measure, method, number)
            if value is not None:
                points.append(Point.of(round_name(number), value))
        if points:
            series.append(Series(results.labels[method], points, index))
    if all(line.colour == _BASE_COLOUR for line in series):
        return None
    return interval_plot(
        series,
        categories,
        label=f"{measure.title} by round",
        show=_show(measure),
        y_title="",
        top=1.0 if measure.unit != "count" else None,
    )


def _differences(results: EnvResults, methods: Sequence[str], measure: Measure) -> Markup | None:
    rows = []
    for index, method in enumerate(methods):
        number = results.last_round(method)
        difference = results.versus_base(measure, method, number)
        if difference is not None:
            point = Point.of_difference(round_name(number), difference)
            rows.append(Difference(results.labels[method], point, index))
    if not rows:
        return None
    show = signed_for(measure.unit)
    unit = "percentage points" if measure.unit == "percent" else "reward"
    return difference_plot(
        rows, label=f"{measure.title}: differences from the base", show=show, unit=unit
    )


def sheet(
    panels: Sequence[tuple[str, Markup]], legend: Sequence[tuple[str, int]], *, label: str
) -> str:
    """Arrange drawings in rows of two, under a common legend.

    Args:
        panels: (title, drawing) of each panel.
        legend: (name, number of its colour) of each series.
        label: for screen readers.

    Returns:
        The text of an SVG file, which includes the colours for light and dark pages.
    """
    width = 2 * _PANEL_WIDTH + _GAP + 2 * _MARGIN
    elements: list[Markup] = []
    x, y = _MARGIN, _MARGIN + 10
    for name, colour in legend:
        needed = 18 + display_width(name) * _CHARACTER + 14
        if x + needed > width - _MARGIN and x > _MARGIN:
            x, y = _MARGIN, y + 18
        elements += [marker(colour, x + 5, y - 4), text(x + 15, y, name, class_="name")]
        x += needed
    top = y + 16
    for index, (title, drawn) in enumerate(panels):
        left = _MARGIN + (index % 2) * (_PANEL_WIDTH + _GAP)
        at = top + (index // 2) * (_PANEL_HEIGHT + _TITLE + _GAP / 2)
        elements.append(text(left, at + 13, title, class_="heading"))
        elements.append(
            el(
                "svg",
                drawn,
                x=left,
                y=at + _TITLE,
                width=_PANEL_WIDTH,
                height=_PANEL_HEIGHT,
                preserveAspectRatio="xMinYMin meet",
            )
        )
    rows = (len(panels) + 1) // 2
    height = top + rows * (_PANEL_HEIGHT + _TITLE + _GAP / 2) + _MARGIN / 2
    # The page's own background may not follow the system's colours, but the drawing does.
    paper = el("rect", x=0, y=0, width=width, height=height, rx=10.0, class_="paper")
    drawing = el(
        "svg",
        el("title", label),
        Markup(f"<style>{_style()}</style>"),
        paper,
        *elements,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width:g} {height:g}",
        width=f"{width:g}",
        height=f"{height:g}",
        role="img",
        class_="plot",
    )
    return f"{drawing}\n"


@cache
def _style() -> str:
    """Colours and lines of the report's plots, without CSS that SVG viewers do not support."""
    light, dark = _colours(0), _colours(1)
    return (
        f"text{{font:11px {_FONT}}}.heading{{font-weight:600;font-size:12.5px}}"
        ".name{font-size:12px}.unit{text-anchor:middle;font-size:10.5px}"
        ".value{font-weight:600}.grid,.zero{stroke-width:1}.dot{stroke-width:1}"
        ".whisker{stroke-width:1.6}.joint{fill:none;stroke-width:1.2;opacity:.45;"
        "stroke-dasharray:2 3}"
        f"{light}@media(prefers-color-scheme:dark){{{dark}}}"
    )


def _colours(which: int) -> str:
    """CSS rules for light pages (0) or dark pages (1)."""
    ink, dim, grid = (pair[which] for pair in _INK)
    rules = [
        f"text{{fill:{ink}}}.tick,.unit,.title{{fill:{dim}}}.grid{{stroke:{grid}}}",
        f".zero{{stroke:{_ZERO[which]}}}.paper{{fill:{_PAPER[which]}}}",
        f".dot{{stroke:{_PAPER[which]}}}",
    ]
    for number, pair in enumerate(_palette()):
        rules.append(f".dot.s{number}{{fill:{pair[which]}}}")
        rules.append(f".whisker.s{number},.joint.s{number}{{stroke:{pair[which]}}}")
    return "".join(rules)


@cache
def _palette() -> tuple[tuple[str, str], ...]:
    """(light, dark) colour of each series, from the report's style sheet."""
    sheet_text = (
        resources.files("agentr_lite.report.render").joinpath("assets/report.css").read_text()
    )
    colours = {
        int(number): (light, dark)
        for number, light, dark in re.findall(
            r"\.s(\d) \{ --c: light-dark\((#\w+), (#\w+)\); \}", sheet_text
        )
    }
    return tuple(colours[number] for number in range(SERIES_CLASSES))


def _show(measure: Measure) -> Show:
    if measure.unit == "percent":
        return lambda value: f"{100 * value:.0f} %"
    return lambda value: f"{value:.2f}".rstrip("0").rstrip(".") or "0"
