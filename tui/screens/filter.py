"""Screens with a line to type into: filtering a list, searching a tree."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding
from textual.widgets import Input

from agentr_lite.store import Store

from ..layout.lines import Line, one_line
from .base import InspectorScreen

ASK = Binding("slash", "ask", "Search", id="filter.ask", key_display="/")
"""The binding of a ``FilterScreen``; a subclass lists it where the footer should show it."""


class FilterScreen(InspectorScreen):
    """A screen with a search line, opened with ``/``.

    Attributes:
        needle: the text that was typed last.
    """

    PROMPT: ClassVar[str] = "filter"

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.needle = ""

    def compose(self) -> ComposeResult:
        yield from super().compose()
        line = Input(placeholder=self.PROMPT, compact=True, id="needle", select_on_focus=False)
        line.display = False
        yield line

    def action_ask(self) -> None:
        """Show the search line and focus it."""
        line = self.query_one("#needle", Input)
        line.display = True
        line.value = self.needle
        line.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        if self.query_one("#needle", Input).display:
            self.typed(event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self._close()
        self.entered(event.value)

    def typed(self, needle: str) -> None:
        """The text in the search line changed."""
        self.needle = needle
        self.reread()

    def entered(self, needle: str) -> None:
        """Enter was pressed."""

    def action_back(self) -> None:
        """Close the search line, else clear the search, else leave the screen."""
        if self.query_one("#needle", Input).display:
            self._close()
            self.typed("")
        elif self.needle:
            self.typed("")
        else:
            super().action_back()

    def matches(self, *texts: str) -> bool:
        """Whether any of the texts contains the needle; case is ignored."""
        needle = self.needle.casefold()
        return any(needle in text.casefold() for text in texts)

    def nothing_shown(self, total: int, otherwise: str) -> Line:
        """What a list without rows says.

        Args:
            total: rows that there are before the search, and before any other choice.
            otherwise: what to say where there are none.
        """
        if not total:
            return ((otherwise, "dim"),)
        if self.needle:
            return ((f"None of {total:,} matches the search. Escape clears it.", "dim"),)
        return ((f"None of {total:,} is of this kind. u shows the others.", "dim"),)

    def needle_note(self) -> Line:
        """The needle, for the caption."""
        return ((" · ", "dim"), (f"/{one_line(self.needle)}", "match")) if self.needle else ()

    def _close(self) -> None:
        self.query_one("#needle", Input).display = False
        # A widget that is not displayed must not keep the focus.
        self.query("LineList").first().focus()
