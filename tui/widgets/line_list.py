"""A list of lines with a cursor, which draws visible lines only."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from ..layout.lines import Line, crop
from .palette import INK, Palette


class LineList(ScrollView, can_focus=True, inherit_bindings=False):
    """A list of lines with a cursor; subclasses provide the number of lines and each line.

    Attributes:
        cursor: index of the line that the keys act on.
        has_cursor: whether there is a cursor; without one, the keys scroll.
        empty: the line that is shown instead of an empty list.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {*INK, "line-list--cursor", "line-list--blurred"}

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False, id="list.up"),
        Binding("down,j", "move(1)", "Down", show=False, id="list.down"),
        Binding("pageup,ctrl+b", "page(-1)", "Page up", show=False, id="list.page_up"),
        Binding("pagedown,ctrl+f", "page(1)", "Page down", show=False, id="list.page_down"),
        Binding("home", "edge(-1)", "First", show=False, id="list.first"),
        Binding("end", "edge(1)", "Last", show=False, id="list.last"),
    ]

    has_cursor: ClassVar[bool] = True
    cursor: reactive[int] = reactive(0, repaint=False)

    class Moved(Message):
        """The cursor moved to another line."""

        def __init__(self, widget: LineList, index: int) -> None:
            super().__init__()
            self.widget = widget
            self.index = index

        @property
        def control(self) -> LineList:
            return self.widget

    class Chosen(Message):
        """A line was double-clicked. Enter is the screen's key: the footer names its action."""

        def __init__(self, widget: LineList, index: int) -> None:
            super().__init__()
            self.widget = widget
            self.index = index

        @property
        def control(self) -> LineList:
            return self.widget

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.empty: Line = ()
        self._palette: Palette | None = None

    @property
    def count(self) -> int:
        """The number of lines."""
        raise NotImplementedError

    def line(self, index: int, width: int) -> Line:
        """One line."""
        raise NotImplementedError

    def header(self, width: int) -> Line:
        """The line above the list that does not scroll, where ``head_lines`` is 1."""
        return ()

    @property
    def head_lines(self) -> int:
        """Lines that the header takes: 0 or 1."""
        return 0

    @property
    def page_lines(self) -> int:
        """Lines of the list that are visible at a time."""
        return max(1, self.scrollable_content_region.height - self.head_lines)

    @property
    def line_width(self) -> int:
        """Terminal columns that a line may take: all but the cursor's."""
        return max(0, self.scrollable_content_region.width - self.has_cursor)

    def recount(self) -> None:
        """Update the list after lines were added, removed or changed."""
        self.virtual_size = Size(0, self.count + self.head_lines)
        self.cursor = max(0, min(self.cursor, self.count - 1))
        self.refresh()

    def move_to(self, index: int, *, centre: bool = False) -> None:
        """Put the cursor on a line and scroll to it.

        Args:
            index: clamped to the list.
            centre: scroll a line that was not visible to the middle, not to the edge.
        """
        self.cursor = max(0, min(index, self.count - 1))
        top, page = round(self.scroll_target_y), self.page_lines
        if top <= self.cursor < top + page:
            return
        if centre:
            top = self.cursor - page // 2
        else:
            top = self.cursor if self.cursor < top else self.cursor - page + 1
        self.scroll_to(y=max(0, top), animate=False, force=True)

    def watch_cursor(self, old: int, new: int) -> None:
        if old != new:
            # Two lines change. If the list scrolls or grew as well, all of it is drawn anyway.
            for index in (old, new):
                self.refresh_lines(index + self.head_lines)
            self.post_message(self.Moved(self, new))

    def render_lines(self, crop: Region) -> list[Strip]:
        if self._palette is None or not self._palette.is_current():
            self._palette = Palette(self)
        return super().render_lines(crop)

    def notify_style_update(self) -> None:
        self._palette = None
        super().notify_style_update()

    def render_line(self, y: int) -> Strip:
        palette = self._palette or Palette(self)
        width = self.scrollable_content_region.width
        line_width = max(0, width - self.has_cursor)
        lead: Line = ((" ", "plain"),) if self.has_cursor else ()
        if y < self.head_lines:
            head = (*lead, *self.header(line_width))
            return palette.strip(head, width, "ink--header")
        index = y - self.head_lines + round(self.scroll_y)
        if not 0 <= index < self.count:
            text = self.empty if not self.count and y == self.head_lines + 1 else ()
            return palette.strip(crop((*lead, *lead, *text), width), width)
        overlays = []
        if self.has_cursor and index == self.cursor:
            # A sign as well as the colour, for terminals without colours.
            lead = (("▌", "cursor"),)
            overlays.append("line-list--cursor" if self.has_focus else "line-list--blurred")
        return palette.strip((*lead, *self.line(index, line_width)), width, *overlays)

    def action_move(self, by: int) -> None:
        """Move the cursor, or scroll if there is none."""
        if self.has_cursor:
            self.move_to(self.cursor + by)
        else:
            self.scroll_to(y=self.scroll_target_y + by, animate=False)

    def action_page(self, by: int) -> None:
        """Move by one page."""
        step = max(1, self.page_lines - 1) * by
        if self.has_cursor:
            self.move_to(self.cursor + step)
        else:
            self.scroll_to(y=self.scroll_target_y + step, animate=False)

    def action_edge(self, to: int) -> None:
        """Go to the first or the last line."""
        if self.has_cursor:
            self.move_to(0 if to < 0 else self.count - 1)
        else:
            self.scroll_to(y=0 if to < 0 else self.max_scroll_y, animate=False)

    def index_at(self, y: int) -> int | None:
        """The line at a row of the widget; None outside the list."""
        index = y - self.head_lines + round(self.scroll_y)
        return index if y >= self.head_lines and 0 <= index < self.count else None

    def on_click(self, event: events.Click) -> None:
        index = self.index_at(event.y)
        if index is None or not self.has_cursor:
            return
        if index == self.cursor and event.chain > 1:
            self.post_message(self.Chosen(self, index))
        self.move_to(index)
