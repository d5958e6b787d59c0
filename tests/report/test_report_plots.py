"""Plots tell no lies: axes from 0, intervals drawn, sizes said; and they are sound SVG."""

from __future__ import annotations

import itertools
import math
import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentr_lite.metrics.estimates import Estimate
from agentr_lite.report.charts.plots import (
    Bar,
    Curve,
    Difference,
    Point,
    Series,
    bar_plot,
    difference_plot,
    interval_plot,
    line_plot,
)
from agentr_lite.report.charts.svg import Scale, el, nice_ticks

NASTY = "<b onload=x>&\x1b[2J\x00\u202e"


def percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def labels(svg: str, class_: str) -> list[str]:
    return [e.text or "" for e in ET.fromstring(svg).iter("text") if e.get("class") == class_]


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e9))
def test_ticks_cover_their_range_in_even_round_steps(low: float, span: float) -> None:
    # A span that is lost in the range's own rounding has no round steps.
    high = low + span + 1e-3 * abs(low)
    ticks = nice_ticks(low, high)
    slack = 1e-6 * (abs(low) + abs(high))
    assert 2 <= len(ticks) <= 12
    assert ticks[0] <= low + slack
    assert ticks[-1] >= high - slack
    steps = [b - a for a, b in itertools.pairwise(ticks)]
    assert max(steps) - min(steps) <= slack
    lead = f"{(ticks[-1] - ticks[0]) / len(steps):.3e}".partition("e")[0]
    assert lead in ("1.000", "2.000", "2.500", "5.000")


@pytest.mark.parametrize(("low", "high"), [(0, 0), (0, math.inf), (math.nan, math.nan), (5, 3)])
def test_a_range_that_is_none_has_ticks_all_the_same(low: float, high: float) -> None:
    ticks = nice_ticks(low, high)
    assert len(ticks) >= 2
    assert ticks == sorted(ticks)


def test_a_share_begins_at_0_and_ends_at_1_at_most() -> None:
    series = [Series("run", [Point("base", 0.97, (0.9, 0.995), 50), Point("round 1", 1.0)])]
    svg = interval_plot(
        series, ["base", "round 1"], label="Success", show=percent, y_title="solved", top=1.0
    )
    ticks = [label for label in labels(svg, "tick") if label.endswith("%")]
    assert ticks[0] == "0.0 %"
    assert ticks[-1] == "100.0 %"


def test_an_interval_is_drawn_where_it_is_and_the_size_is_said() -> None:
    points = [Point.of("base", Estimate(0.5, 0.25, 0.75, 40))]
    points += [Point.of("round 1", Estimate(0.5, -math.inf, math.inf, 1))]
    svg = interval_plot(
        [Series("run", points)], ["base", "round 1"], label="x", show=percent, y_title="", top=1.0
    )
    root = ET.fromstring(svg)
    whiskers = [e for e in root.iter("line") if "whisker" in (e.get("class") or "")]
    assert len(whiskers) == 3  # One interval: its line and two ends.
    y = sorted({float(e.get(key, "")) for e in whiskers for key in ("y1", "y2")})
    centre = next(root.iter("circle"))
    # Halfway between its ends, as the interval is symmetric.
    assert float(centre.get("cy", "")) == pytest.approx(sum(y) / 2, abs=0.02)
    titles = [e.text for e in root.iter("title")]
    assert titles == ["run, base: 50.0 % (25.0 % to 75.0 %), n = 40", "run, round 1: 50.0 %, n = 1"]


def test_differences_have_a_line_at_0_inside_the_plot() -> None:
    rows = [Difference("round 1", Point("round 1", 0.2, (0.1, 0.3), 9))]
    svg = difference_plot(rows, label="x", show=lambda v: f"{v:+.1f}", unit="points")
    zero = next(e for e in ET.fromstring(svg).iter("line") if e.get("class") == "zero")
    dot = next(ET.fromstring(svg).iter("circle"))
    assert float(zero.get("x1", "")) < float(dot.get("cx", ""))


def test_where_nothing_differs_the_line_at_0_is_in_the_middle() -> None:
    rows = [Difference(f"round {n}", Point(f"round {n}", 0.0, None, 9)) for n in (1, 2)]
    svg = difference_plot(rows, label="x", show=lambda v: f"{100 * v:+.0f}", unit="points")
    ticks = labels(svg, "tick")
    assert ticks == ["-10", "+0", "+10"]
    grid = [e for e in ET.fromstring(svg).iter("line") if e.get("class") == "grid"]
    left, middle, right = (float(e.get("x1", "")) for e in grid)
    assert middle == pytest.approx((left + right) / 2, abs=0.02)
    dots = [float(e.get("cx", "")) for e in ET.fromstring(svg).iter("circle")]
    assert dots == pytest.approx([middle, middle], abs=0.02)


def test_bars_are_as_long_as_their_amounts() -> None:
    bars = [Bar("a", [3.0, 1.0]), Bar("b", [0.0, 2.0])]
    svg = bar_plot(bars, [(0, "x"), (7, "y")], label="x", show=lambda v: f"{v:g}")
    rects = list(ET.fromstring(svg).iter("rect"))
    width = [float(r.get("width", "")) for r in rects]
    assert width[0] / width[1] == pytest.approx(3, rel=0.01)
    assert width[2] / width[1] == pytest.approx(2, rel=0.01)
    assert len(rects) == 3  # Nothing is drawn for nothing.
    assert labels(svg, "value") == ["4", "2"]


def test_a_loss_that_is_no_number_leaves_a_gap() -> None:
    curves = [Curve("train", [(0, 1.0), (1, math.nan), (2, 0.5)], 0)]
    svg = line_plot(curves, label="x", show=str, x_title="step")
    assert "nan" not in svg
    assert len(list(ET.fromstring(svg).iter("circle"))) == 2


def test_names_are_text_in_a_plot() -> None:
    svgs = [
        interval_plot(
            [Series(NASTY, [Point(NASTY, 0.5)])], [NASTY], label=NASTY, show=percent, y_title=NASTY
        ),
        difference_plot(
            [Difference(NASTY, Point(NASTY, 0.5))], label=NASTY, show=percent, unit=NASTY
        ),
        line_plot([Curve(NASTY, [(0, 1.0)], 1)], label=NASTY, show=str, x_title=NASTY),
        bar_plot([Bar(NASTY, [1.0])], [(0, NASTY)], label=NASTY, show=str),
    ]
    for svg in svgs:
        assert not list(ET.fromstring(svg).iter("b"))
        assert not re.search("[\x00\x1b\u202e]", svg)


def test_elements_escape_and_round() -> None:
    assert el("text", "a<b", x=1 / 3, class_='"') == '<text x="0.33" class="&#34;">a&lt;b</text>'
    assert el("g", data_at=None) == "<g/>"


def test_a_scale_of_no_span_does_not_divide_by_it() -> None:
    scale = Scale(2.0, 2.0, 10.0, 20.0)
    assert scale(2.0) == 10.0
    assert Scale(0.0, 1.0, 0.0, 10.0).clamp(7.0) == 10.0
