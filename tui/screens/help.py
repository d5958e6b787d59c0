"""The keys of a screen and the meaning of the signs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen

from agentr_lite.console.outcomes import LEGEND, ROOT, STEP

from ..layout.lines import Line, paragraphs, rule
from ..widgets.document_view import DocumentView

_KEY_CELLS = 16


class HelpScreen(ModalScreen[None]):
    """A window over any screen; each of its keys closes it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,q,enter", "dismiss", "Close", id="help.close"),
    ]

    def __init__(self, hint: str, keys: Sequence[tuple[str, str, str]]) -> None:
        """
        Args:
            hint: what the screen below shows.
            keys: (key as shown, what it does, binding id) of each binding.
        """
        super().__init__()
        self._hint = hint
        self._keys = keys

    def compose(self) -> ComposeResult:
        yield DocumentView(id="help")

    def on_mount(self) -> None:
        document = self.query_one(DocumentView)
        document.border_title = "Help"
        document.border_subtitle = "escape closes"
        document.show(self._lay_out)
        document.focus()

    def _lay_out(self, width: int) -> list[Line]:
        lines: list[Line] = [((part, "plain"),) for part in paragraphs(self._hint, width)]
        lines += [(), rule(("keys", "title"), width)]
        for key, does, name in self._keys:
            shown = f" {key:<{_KEY_CELLS}}"
            lines.append(((shown, "key"), (f"{does:<24}", "plain"), (f" {name}", "dim")))
        lines += [(), rule(("signs", "title"), width)]
        for mark in (*LEGEND, STEP, ROOT):
            lines.append(((f" {mark.glyph:<{_KEY_CELLS}}", mark.style), (mark.word, "plain")))
        lines.append(
            ((f" {'bold':<{_KEY_CELLS}}", "strong"), ("on the path to the best end", "plain"))
        )
        lines.append(
            ((f" {'×2':<{_KEY_CELLS}}", "dim"), ("candidates with the same action", "plain"))
        )
        lines.append(((f" {'+3':<{_KEY_CELLS}}", "dim"), ("children of a closed node", "plain")))
        return lines
