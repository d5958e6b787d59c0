"""A trajectory, one step at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.widget import Widget

from agentr_lite.store import Store

from .base_screen import InspectorScreen
from .document_view import DocumentView
from .documents import StepView, lay_out_conversation, lay_out_step
from .line_list import Bar
from .lines import Line, Span


class StepScreen(InspectorScreen):
    """Left and right go back and forward; what is shown is one step or all up to it."""

    HINT = "One step of a trajectory at a time: what the agent saw, said, and was answered."

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h", "step(-1)", "Previous", id="step.previous", key_display="←"),
        Binding("right,l,space", "step(1)", "Next", id="step.next", key_display="→"),
        Binding("home", "jump(0)", "Start", show=False, id="step.start", priority=True),
        Binding("end", "jump(-1)", "End", show=False, id="step.end", priority=True),
        Binding("c", "conversation", "Conversation", id="step.conversation"),
        Binding("y", "copy", "Copy", id="step.copy"),
    ]

    def __init__(
        self, store: Store, crumbs: Sequence[str], views: Sequence[StepView], at: int
    ) -> None:
        """
        Args:
            store: the database.
            crumbs: where the trajectory comes from.
            views: the start and the steps in order.
            at: where to begin.
        """
        super().__init__(store)
        self._crumbs = crumbs
        self._views = views
        self._at = max(0, min(at, len(views) - 1))
        self._whole = False

    def body(self) -> Iterable[Widget]:
        yield Bar(id="ribbon")
        yield DocumentView(id="step")

    def on_mount(self) -> None:
        self._show()

    def refresh_data(self) -> None:
        """A trajectory does not change any more."""

    def _show(self) -> None:
        view = self._views[self._at]
        document = self.query_one(DocumentView)
        if self._whole:
            past = self._views[: self._at + 1]
            document.show(lambda width: lay_out_conversation(past, width), at_end=True)
        else:
            document.show(lambda width: lay_out_step(view, width))
        last = len(self._views) - 1
        self.crumbs(self._crumbs, ((f"step {self._at} of {last} ", "strong"),))
        self.query_one("#ribbon", Bar).show(self._ribbon())
        end = self._views[-1].mark
        self.caption((("ends ", "dim"), (f"{end.glyph} {end.word}", end.style)))

    def _ribbon(self) -> Line:
        """All steps as glyphs, the current one in brackets; of many, those near it."""
        room = max(8, (self.app.size.width - 8) // 2)
        first = max(0, min(self._at - room // 2, len(self._views) - room))
        spans: list[Span] = [(" ", "plain")]
        if first:
            spans.append(("‹ ", "dim"))
        shown = self._views[first : first + room]
        for at, view in enumerate(shown, first):
            here = at == self._at
            spans.append(("[" if here else " ", "strong"))
            spans.append((view.mark.glyph, view.mark.style))
            if here:
                spans.append(("]", "strong"))
        if first + room < len(self._views):
            spans.append((" ›", "dim"))
        return tuple(spans)

    def action_step(self, by: int) -> None:
        """Go back or forward."""
        self.action_jump(max(0, min(self._at + by, len(self._views) - 1)))

    def action_jump(self, to: int) -> None:
        """Go to a step; -1 is the last one."""
        self._at = to if to >= 0 else len(self._views) - 1
        self._show()

    def action_conversation(self) -> None:
        """The whole conversation up to the step, or the step alone."""
        self._whole = not self._whole
        self._show()

    def action_copy(self) -> None:
        """Copy the step's turn and answer to the clipboard."""
        view = self._views[self._at]
        self.app.copy_to_clipboard("\n\n".join(part for part in (view.said, view.answer) if part))
        self.notify(f"Copied step {view.number}.", timeout=2)
