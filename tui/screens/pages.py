"""A screen that goes through a list, one document at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from textual.widget import Widget

from agentr_lite.store import Store

from ..layout.lines import Span
from ..widgets.document_view import DocumentView
from .base import InspectorScreen


class PagesScreen(InspectorScreen):
    """One of several documents; keys go to the previous and the next one.

    Its subclasses bind keys to ``other(-1)``, ``other(1)`` and ``everything``.
    """

    DOCUMENT = "document"
    """The document's id, for the style sheet and tests."""

    def __init__(self, store: Store, pages: Sequence[object], at: int) -> None:
        """
        Args:
            store: the database.
            pages: what left and right go through.
            at: the place of the first one to show.
        """
        super().__init__(store)
        self._pages = len(pages)
        self._at = at
        self._with_shared = False

    def body(self) -> Iterable[Widget]:
        yield DocumentView(id=self.DOCUMENT)

    @property
    def place(self) -> tuple[Span, ...]:
        """Which of the documents this is, for the end of the path."""
        return ((f"{self._at + 1} of {self._pages} ", "dim"),)

    def action_other(self, by: int) -> None:
        """Go to the previous or the next document."""
        self._at = max(0, min(self._at + by, self._pages - 1))
        self.reread()

    def action_everything(self) -> None:
        """Show what both sides share, or hide it again."""
        self._with_shared = not self._with_shared
        self.reread()
