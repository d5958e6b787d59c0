"""A question with yes and no."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen
from textual.widgets import Footer

from ..layout.lines import Line, fold
from ..widgets.document_view import DocumentView


class ConfirmScreen(ModalScreen[bool]):
    """A window over any screen; enter does nothing, so that nobody deletes by accident."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes", id="confirm.yes"),
        Binding("n,escape,q", "answer(False)", "No", id="confirm.no", key_display="n"),
    ]

    def __init__(self, title: str, lines: Sequence[Line]) -> None:
        """
        Args:
            title: the question.
            lines: what it concerns.
        """
        super().__init__()
        self._title = title
        self._lines = lines

    def compose(self) -> ComposeResult:
        yield DocumentView(id="confirm")
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        document = self.query_one(DocumentView)
        document.border_title = self._title
        document.border_subtitle = "y: yes, n: no"
        document.show(lambda width: [part for line in self._lines for part in fold(line, width)])
        document.focus()

    def action_answer(self, yes: bool) -> None:
        """Close with the answer."""
        self.dismiss(yes)
