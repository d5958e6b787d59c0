"""The keys of a screen, and the meaning of words and signs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen

from ..layout.glossary import GLOSSARY, SIGNS
from ..layout.lines import Line, Span, fold, pad, paragraphs, rule
from ..widgets.document_view import DocumentView

_KEY_CELLS = 16


class HelpScreen(ModalScreen[None]):
    """A window over any screen; each of its keys closes it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,q,enter", "dismiss", "Close", id="help.close"),
    ]

    def __init__(self, hint: str, keys: Sequence[tuple[str, str]]) -> None:
        """
        Args:
            hint: what the screen below shows.
            keys: (keys as shown, what they do) of each binding.
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
        for key, does in self._keys:
            lines += _entry((key, "key"), does, width)
        lines += [(), rule(("words", "title"), width)]
        for word, meaning in GLOSSARY:
            lines += _entry((word, "strong"), meaning, width)
        lines += [(), rule(("signs", "title"), width)]
        for sign, meaning in SIGNS:
            lines += _entry(sign, meaning, width)
        return lines


def _entry(head: Span, text: str, width: int) -> list[Line]:
    """A key, a word or a sign, with its meaning beside it."""
    name, style = head
    room = max(10, width - _KEY_CELLS - 1)
    first, *others = fold([(text, "plain")], room)
    blank: Span = (" " * (_KEY_CELLS + 1), "plain")
    return [(*pad([(f" {name}", style)], _KEY_CELLS + 1), *first), *((blank, *o) for o in others)]
