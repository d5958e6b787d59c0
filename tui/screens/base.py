"""What all screens share: the path to the screen, the caption, reading the data, going back."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import ClassVar, Literal, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Footer

from agentr_lite.core.errors import StoreError, UsageError
from agentr_lite.store import Store
from agentr_lite.store.faults import UNEXPECTED
from agentr_lite.store.live import get_live
from agentr_lite.store.records import RunRow

from ..layout.lines import Line, one_line
from ..layout.live import live_line
from ..navigation import Destination, Navigator
from ..widgets.bars import Bar, Caption, Crumbs, FoldedBar
from ..widgets.line_list import LineList
from ..widgets.table import Table


class InspectorScreen(Screen[None]):
    """A screen over the database: path, body, caption, keys."""

    AUTO_FOCUS = "LineList"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,backspace", "back", "Back", show=False, id="app.back"),
    ]

    HINT: ClassVar[str] = ""
    """A sentence or two about this screen, for the help screen."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.store = store

    @property
    def navigator(self) -> Navigator:
        """The application, as far as screens know it."""
        return cast(Navigator, self.app)

    def compose(self) -> ComposeResult:
        yield Crumbs(id="crumbs")
        yield FoldedBar(id="live")
        yield from self.body()
        yield Caption(id="caption")
        yield Footer(compact=True, show_command_palette=False)

    def body(self) -> Iterable[Widget]:
        """The widgets between the path and the caption."""
        raise NotImplementedError

    def on_mount(self) -> None:
        self.reread()

    def on_screen_resume(self) -> None:
        self.reread()

    def refresh_data(self) -> None:
        """Read the database again and show what has changed; the cursor keeps its place.

        Raises:
            UsageError: the subject of the screen no longer exists.
        """
        raise NotImplementedError

    def reread(self) -> None:
        """``refresh_data``, or leave the screen if its subject has been deleted or is damaged.

        Raises:
            DamagedError: the subject of the first screen, the list of runs, is damaged.
        """
        try:
            self.refresh_data()
        except UsageError as error:
            self._leave(error.message, severity="warning")
        except (StoreError, *UNEXPECTED) as error:
            explained = self.store.explained(error) or error
            is_first = self.app.screen is self and not self.app.screen_stack[2:]
            if is_first or not isinstance(explained, StoreError):
                raise
            self._leave(f"{explained.message}. {explained.hint}", severity="error")

    def _leave(self, message: str, *, severity: Literal["warning", "error"]) -> None:
        # Mounting and resuming both read: the screen may have been left already.
        if self.app.screen is self:
            self.notify(one_line(message), severity=severity, markup=False)
            self.app.pop_screen()

    def go_to(self, destination: Destination) -> None:
        """Open another screen on top of this one."""
        self.navigator.open_screen(destination)

    def on_line_list_chosen(self, event: LineList.Chosen) -> None:
        self.action_open()

    def action_open(self) -> None:
        """Open what is under the cursor."""

    def action_sort(self) -> None:
        """Sort the screen's table by its next column."""
        self.query_one(Table).sort_by_next()

    def action_reverse(self) -> None:
        """Reverse the order of the screen's table."""
        self.query_one(Table).reverse_order()

    def critic_changed(self, tree_id: int) -> None:
        """Called when the critic has gone on, or has ended, with a tree."""

    def follow(self) -> None:
        """Go to what was written last; called after a write to the database, in follow mode."""

    def copy(self, text: str, name: str) -> None:
        """Put foreign text on the clipboard, unchanged.

        Args:
            text: what to copy.
            name: its name, for the note.
        """
        self.app.copy_to_clipboard(text)
        self.notify(f"Copied {name}.", timeout=2, markup=False)

    def crumbs(self, parts: Iterable[str], right: Line = ()) -> None:
        """Show the path to the screen; ``parts`` are foreign text."""
        following: Line = (("▶ following ", "good"),) if self.navigator.following else ()
        self.query_one(Crumbs).lead([one_line(part) for part in parts], (*following, *right))

    def caption(self, left: Line, right: Line = ()) -> None:
        """Show the line above the keys."""
        self.query_one(Caption).show(((" ", "plain"), *left), right)

    def on_table_fitted(self, event: Table.Fitted) -> None:
        self.query_one(Caption).hide(event.hidden)

    @property
    def explanation(self) -> str:
        """What the help says about this screen: ``HINT``, and which columns found no place."""
        hidden = self.query_one(Caption).hidden
        columns = f"Hidden, because the terminal is narrow: {', '.join(hidden)}."
        return f"{self.HINT} {columns}" if hidden else self.HINT

    def show_live(self, run: RunRow | None) -> None:
        """Show what a run does now, below the path; nothing if it does not run."""
        row = get_live(self.store, run.id) if run is not None and run.status == "running" else None
        self.show_below_path(*(live_line(row, datetime.now(UTC)) if row is not None else ()))

    def show_below_path(self, left: Line = (), right: Line = ()) -> None:
        """Show a line below the path; an empty one takes no room."""
        bar = self.query_one("#live", Bar)
        bar.display = bool(left)
        bar.show(left, right)

    def action_back(self) -> None:
        """Leave the screen; the first one stays."""
        if len(self.app.screen_stack) > 2:
            self.app.pop_screen()


SORT = (
    Binding("s", "sort", "Sort", id="table.sort"),
    Binding("S", "reverse", "Reverse the order", show=False, id="table.reverse"),
)
"""The bindings of a screen with a table."""
