"""The styles of everything that draws lines."""

from __future__ import annotations

from collections.abc import Sequence

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget

from ..layout.lines import STYLES, Span

INK = {f"ink--{name}" for name in STYLES}
"""Component classes of all widgets that draw lines; ``app.tcss`` sets their colours."""


_STRIPS_KEPT = 1_000
"""Drawn lines that are kept: some screens full."""


class Palette:
    """A widget's styles and the lines drawn with them, kept until the styles change.

    Asking Textual for styles is slow. It also keeps what it makes of a strip, so a line that is
    drawn again, elsewhere or after a scroll, should be the same strip.
    """

    def __init__(self, widget: Widget) -> None:
        self._widget = widget
        self._base = widget.rich_style
        self._known: dict[tuple[str, ...], Style] = {}
        self._strips: dict[tuple[tuple[Span, ...], int, tuple[str, ...]], Strip] = {}

    def is_current(self) -> bool:
        """Whether the widget still has the colours that the lines were drawn with."""
        return self._base == self._widget.rich_style

    def strip(self, line: Sequence[Span], width: int, *overlays: str) -> Strip:
        """A line as terminal segments.

        Args:
            line: spans.
            width: terminal columns; a shorter line is filled with blanks, a longer one is cut.
            overlays: component classes laid over every span, such as the cursor's.
        """
        key = (tuple(line), width, overlays)
        strip = self._strips.get(key)
        if strip is None:
            if len(self._strips) >= _STRIPS_KEPT:
                self._strips.clear()
            parts = [Segment(text, self._style(f"ink--{name}", *overlays)) for text, name in line]
            strip = Strip(parts).adjust_cell_length(width, self._style(*overlays))
            self._strips[key] = strip
        return strip

    def _style(self, *names: str) -> Style:
        style = self._known.get(names)
        if style is None:
            style = self._base
            for name in names:
                style += self._widget.get_component_rich_style(name, partial=True)
            self._known[names] = style
        return style
