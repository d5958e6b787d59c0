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


class Palette:
    """A widget's styles, kept for one drawing: asking Textual for them is slow."""

    def __init__(self, widget: Widget) -> None:
        self._widget = widget
        self._base = widget.rich_style
        self._known: dict[tuple[str, ...], Style] = {}

    def strip(self, line: Sequence[Span], width: int, *overlays: str) -> Strip:
        """A line as terminal segments.

        Args:
            line: spans.
            width: terminal columns; a shorter line is filled with blanks, a longer one is cut.
            overlays: component classes laid over every span, such as the cursor's.
        """
        segments = [Segment(text, self._style(f"ink--{name}", *overlays)) for text, name in line]
        return Strip(segments).adjust_cell_length(width, self._style(*overlays))

    def _style(self, *names: str) -> Style:
        style = self._known.get(names)
        if style is None:
            style = self._base
            for name in names:
                style += self._widget.get_component_rich_style(name, partial=True)
            self._known[names] = style
        return style
