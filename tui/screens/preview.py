"""Lists with a preview beside them, where the terminal is wide enough."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.widget import Widget

from ..widgets.document_view import DocumentView, Layout
from ..widgets.line_list import LineList
from ..widgets.table import Table
from .base import InspectorScreen

PREVIEW = Binding("d", "preview", "Preview", show=False, id="preview.toggle")
"""The binding of a ``PreviewScreen``."""


class PreviewScreen(InspectorScreen):
    """A table, and beside it what the row under the cursor is about.

    The style sheet hides the preview in terminals without room for it; nothing is read then.
    """

    BINDINGS: ClassVar[list[BindingType]] = [PREVIEW]

    _previewed: object = None

    def with_preview(self, table: Table) -> Iterable[Widget]:
        """The body of the screen: the table and its preview."""
        yield Container(table, DocumentView(id="preview"), id="listing")

    def preview_of(self, key: object) -> Layout:
        """What to show of a row, by its key."""
        raise NotImplementedError

    def show_preview(self) -> None:
        """Show the row under the cursor, read anew; called after the rows were replaced."""
        self._previewed = None
        self._follow_cursor()

    def on_line_list_moved(self, event: LineList.Moved) -> None:
        if isinstance(event.widget, Table):
            self._follow_cursor()

    def on_resize(self) -> None:
        # The style sheet shows or hides the preview before this runs.
        self.call_after_refresh(self._follow_cursor)

    def action_preview(self) -> None:
        """Hide the preview, or show it again."""
        self.query_one("#preview").toggle_class("-hidden")
        self._follow_cursor()

    def _follow_cursor(self) -> None:
        pane = self.query_one("#preview", DocumentView)
        row = self.query_one(Table).current
        if not pane.display or not pane.is_attached:
            return
        key = None if row is None else row.key
        if self._previewed == (key,):
            return
        self._previewed = (key,)
        pane.show(self.preview_of(key) if row is not None else lambda width: ())
