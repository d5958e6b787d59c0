"""All words of the inspector can be read: the contrast of ink and ground is at least 4.5 to 1."""

from __future__ import annotations

from pathlib import Path

import pytest
from agentr_lite_tui.app import Inspector
from textual.color import Color

from agentr_lite.store import Store

INKS = (
    *("foreground", "ink-dim", "primary", "secondary", "accent"),
    *("success", "warning", "error", "signal", "odd"),
)
"""Colours of words; ``ink-guide`` draws lines only."""
GROUNDS = ("background", "surface", "panel", "cursor-bg", "blurred-bg")

ENOUGH = 4.5
"""Level AA of the Web Content Accessibility Guidelines, for text of ordinary size."""


def luminance(colour: Color) -> float:
    """Relative luminance, 0 to 1.

    Source: WCAG 2.1, "relative luminance".
    """
    parts = [
        value / 12.92 if value <= 0.03928 else ((value + 0.055) / 1.055) ** 2.4
        for value in colour.normalized
    ]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(ink: Color, ground: Color) -> float:
    """Contrast ratio, 1 to 21."""
    dark, bright = sorted((luminance(ink), luminance(ground)))
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("light", [False, True], ids=["dark", "light"])
def test_every_ink_can_be_read_on_every_ground(db: Path, light: bool) -> None:
    with Store.open(db) as store:
        colours = Inspector(store, light=light).get_css_variables()
    low = {
        (ink, ground): round(ratio, 2)
        for ink in INKS
        for ground in GROUNDS
        if (ratio := contrast(Color.parse(colours[ink]), Color.parse(colours[ground]))) < ENOUGH
    }
    assert low == {}


def test_black_on_white_has_the_highest_contrast() -> None:
    assert contrast(Color.parse("#000"), Color.parse("#fff")) == pytest.approx(21)
    assert contrast(Color.parse("#777"), Color.parse("#fff")) == pytest.approx(4.48, abs=0.01)
