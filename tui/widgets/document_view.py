"""A scrolling text, laid out for the available width."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual import events

from ..layout.lines import Line
from .line_list import LineList

Layout = Callable[[int], Sequence[Line]]
"""Terminal columns to lines of text."""


class DocumentView(LineList):
    """Lines without a cursor; the keys scroll."""

    has_cursor: ClassVar[bool] = False

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._layout: Layout = lambda width: ()
        self._lines: Sequence[Line] = ()
        self._width = 0
        self._at_end = False

    @property
    def count(self) -> int:
        return len(self._lines)

    def line(self, index: int, width: int) -> Line:
        return self._lines[index]

    def show(self, layout: Layout, *, at_end: bool = False, stay: bool = False) -> None:
        """Replace the text.

        Args:
            layout: makes the lines; called again when the width changes.
            at_end: scroll to the last line.
            stay: keep the scroll position, for text that has grown.
        """
        self._layout = layout
        self._at_end = at_end
        self._width = 0
        self._lay_out()
        if not stay:
            self.scroll_to(y=self.max_scroll_y if at_end else 0, animate=False, force=True)
            if at_end:
                self.call_after_refresh(self._to_end)

    def find(self, wanted: Callable[[Line], bool], *, last: bool = False) -> int:
        """Index of the first line that is wanted, or of the last; 0 if there is none."""
        indices = [index for index, line in enumerate(self._lines) if wanted(line)]
        return indices[-1 if last else 0] if indices else 0

    def on_resize(self, event: events.Resize) -> None:
        self._lay_out()
        if self._at_end:
            self.call_after_refresh(self._to_end)

    def _to_end(self) -> None:
        self.scroll_to(y=self.max_scroll_y, animate=False, force=True)

    def _lay_out(self) -> None:
        # Leave room for a scroll bar, so that its appearance does not change the layout.
        width = self.size.width - self.styles.scrollbar_size_vertical
        if width > 0 and width != self._width:
            self._width = width
            self._lines = self._layout(width)
            self.recount()
