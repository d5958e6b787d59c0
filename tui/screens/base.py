"""What all screens share: the line that says where one is, the caption, filtering, going back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Footer, Input

from agentr_lite.core.errors import UsageError
from agentr_lite.store import Store

from ..layout.lines import Line, one_line
from ..widgets.line_list import Bar, Crumbs, LineList
from ..widgets.table import Table

if TYPE_CHECKING:
    from ..app import Inspector


class InspectorScreen(Screen[None]):
    """A screen over the database: crumbs, body, caption, keys."""

    AUTO_FOCUS = "LineList"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,backspace", "back", "Back", show=False, id="app.back"),
    ]

    app: Inspector

    HINT: ClassVar[str] = ""
    """What the help screen says of this screen, in a sentence or two."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.store = store

    def compose(self) -> ComposeResult:
        yield Crumbs(id="crumbs")
        yield from self.body()
        yield Bar(id="caption")
        yield Footer(compact=True, show_command_palette=False)

    def body(self) -> Iterable[Widget]:
        """The widgets between the crumbs and the caption."""
        raise NotImplementedError

    def on_mount(self) -> None:
        self.reread()

    def on_screen_resume(self) -> None:
        self.reread()

    def refresh_data(self) -> None:
        """Read the database again and show what has changed, keeping the place.

        Raises:
            UsageError: what the screen shows is no longer there.
        """
        raise NotImplementedError

    def reread(self) -> None:
        """``refresh_data``, or leave the screen where its subject has been deleted."""
        try:
            self.refresh_data()
        except UsageError as error:
            # Mounting and resuming both read: it has perhaps been left already.
            if self.app.screen is self:
                self.notify(one_line(error.message), severity="warning", markup=False)
                self.app.pop_screen()

    def visit(self, make: Callable[[], Screen[None]]) -> None:
        """Open a screen; where its subject has been deleted meanwhile, say so and read again."""
        try:
            screen = make()
        except UsageError as error:
            self.notify(one_line(error.message), severity="warning", markup=False)
            self.reread()
            return
        self.app.push_screen(screen)

    def on_line_list_chosen(self, event: LineList.Chosen) -> None:
        self.action_open()

    def action_open(self) -> None:
        """Open what is under the cursor."""

    def action_sort(self) -> None:
        """Sort the screen's table by its next column."""
        self.query_one(Table).sort_by_next()

    def action_reverse(self) -> None:
        """Turn the order of the screen's table round."""
        self.query_one(Table).turn_round()

    def follow(self) -> None:
        """Go to what was written last; called when somebody has written, in follow mode."""

    def copy(self, text: str, what: str) -> None:
        """Put foreign text on the clipboard, as it is.

        Args:
            text: what to copy.
            what: its name, for the note.
        """
        self.app.copy_to_clipboard(text)
        self.notify(f"Copied {what}.", timeout=2, markup=False)

    def crumbs(self, parts: Iterable[str], right: Line = ()) -> None:
        """Say where one is; ``parts`` are foreign text."""
        following: Line = (("▶ following ", "good"),) if self.app.following else ()
        self.query_one(Crumbs).lead([one_line(part) for part in parts], (*following, *right))

    def caption(self, left: Line, right: Line = ()) -> None:
        """The line above the keys."""
        self.query_one("#caption", Bar).show(((" ", "plain"), *left), right)

    def action_back(self) -> None:
        """Leave the screen; the first one stays."""
        if len(self.app.screen_stack) > 2:
            self.app.pop_screen()


SORT = (
    Binding("s", "sort", "Sort", id="table.sort"),
    Binding("S", "reverse", "Reverse the order", show=False, id="table.reverse"),
)
"""The bindings of a screen with a table."""

ASK = Binding("slash", "ask", "Search", id="filter.ask", key_display="/")
"""The binding that a ``FilterScreen`` puts among its own, where the footer shall show it."""


class FilterScreen(InspectorScreen):
    """A screen with a line to type into, opened with ``/``.

    Attributes:
        needle: what was typed last.
    """

    PROMPT: ClassVar[str] = "filter"

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.needle = ""

    def compose(self) -> ComposeResult:
        yield from super().compose()
        asked = Input(placeholder=self.PROMPT, compact=True, id="needle", select_on_focus=False)
        asked.display = False
        yield asked

    def action_ask(self) -> None:
        """Show the line and type into it."""
        asked = self.query_one("#needle", Input)
        asked.display = True
        asked.value = self.needle
        asked.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        if self.query_one("#needle", Input).display:
            self.typed(event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self._close()
        self.entered(event.value)

    def typed(self, needle: str) -> None:
        """What is in the line has changed."""
        self.needle = needle
        self.reread()

    def entered(self, needle: str) -> None:
        """Enter was pressed."""

    def action_back(self) -> None:
        """Close the line, else forget what was typed, else leave the screen."""
        if self.query_one("#needle", Input).display:
            self._close()
            self.typed("")
        elif self.needle:
            self.typed("")
        else:
            super().action_back()

    def matches(self, *texts: str) -> bool:
        """Whether one of some texts contains what was typed; case is ignored."""
        needle = self.needle.casefold()
        return any(needle in text.casefold() for text in texts)

    def needle_note(self) -> Line:
        """What is searched for, for the caption."""
        return ((" · ", "dim"), (f"/{one_line(self.needle)}", "match")) if self.needle else ()

    def _close(self) -> None:
        self.query_one("#needle", Input).display = False
        # A widget that is not displayed must not keep the focus.
        self.query("LineList").first().focus()
