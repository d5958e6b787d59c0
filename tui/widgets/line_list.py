"""Widgets that draw lines: the ones in sight only, however many there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widget import Widget

from ..layout.lines import STYLES, Line, Span, crop, spread, width_of

INK = {f"ink--{name}" for name in STYLES}
"""Component classes of everything that draws lines; ``app.tcss`` gives them their colours."""


class Palette:
    """A widget's styles for one drawing: asking Textual for them costs more than all the rest."""

    def __init__(self, widget: Widget) -> None:
        self._widget = widget
        self._base = widget.rich_style
        self._known: dict[tuple[str, ...], Style] = {}

    def strip(self, line: Sequence[Span], width: int, *over: str) -> Strip:
        """A line as terminal segments.

        Args:
            line: spans.
            width: terminal columns; the rest is blank, what is longer is cut.
            over: component classes laid over every span, such as the cursor's.
        """
        segments = [Segment(text, self._style(f"ink--{name}", *over)) for text, name in line]
        return Strip(segments).adjust_cell_length(width, self._style(*over))

    def _style(self, *names: str) -> Style:
        style = self._known.get(names)
        if style is None:
            style = self._base
            for name in names:
                style += self._widget.get_component_rich_style(name, partial=True)
            self._known[names] = style
        return style


class Bar(Widget):
    """One line with a left and a right part: where one is, or what is shown."""

    COMPONENT_CLASSES: ClassVar[set[str]] = INK

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._left: Line = ()
        self._right: Line = ()

    def show(self, left: Line, right: Line = ()) -> None:
        """Replace the line."""
        if (left, right) != (self._left, self._right):
            self._left, self._right = left, right
            self.refresh()

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        line = crop(spread(self._left, self._right, width), width)
        return Palette(self).strip(line, width)


class Crumbs(Bar):
    """Where one is, outermost first; where there is no room, the outer ones go first."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._parts: tuple[str, ...] = ()

    def lead(self, parts: Sequence[str], right: Line = ()) -> None:
        """Replace the line; ``parts`` are cleaned."""
        self._parts = tuple(parts)
        self.show((), right)
        self.refresh()

    def render_line(self, y: int) -> Strip:
        room = self.size.width - width_of(self._right) - 1
        parts = list(self._parts)
        line = _trail(parts, whole=True)
        while width_of(line) > room and len(parts) > 1:
            del parts[0]
            line = _trail(parts, whole=False)
        self._left = line
        return super().render_line(y)


def _trail(parts: Sequence[str], *, whole: bool) -> Line:
    spans: list[Span] = [(" ◆ agentr-lite" if whole else " ◆ …", "title")]
    for part in parts:
        spans += [(" › ", "dim"), (part, "plain")]
    return tuple(spans)


class LineList(ScrollView, can_focus=True, inherit_bindings=False):
    """A list of lines with a cursor; subclasses say how many there are and what each looks like.

    Attributes:
        cursor: index of the line that the keys act on.
        has_cursor: whether there is one; without it the keys scroll.
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
        """The cursor stands on another line."""

        def __init__(self, widget: LineList, index: int) -> None:
            super().__init__()
            self.widget = widget
            self.index = index

        @property
        def control(self) -> LineList:
            return self.widget

    class Chosen(Message):
        """A line was double-clicked. Enter is the screen's, so that the footer can say what for."""

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
        """How many lines there are."""
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
        """Lines of the list in sight at a time."""
        return max(1, self.scrollable_content_region.height - self.head_lines)

    @property
    def line_width(self) -> int:
        """Columns that a line may take: all but the cursor's."""
        return max(0, self.scrollable_content_region.width - self.has_cursor)

    def recount(self) -> None:
        """Lines were added, removed or changed."""
        self.virtual_size = Size(0, self.count + self.head_lines)
        self.cursor = max(0, min(self.cursor, self.count - 1))
        self.refresh()

    def move_to(self, index: int, *, centre: bool = False) -> None:
        """Put the cursor on a line and the line in sight.

        Args:
            index: clamped to the list.
            centre: put a line that was out of sight in the middle, not at the edge.
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
            # Two lines change; where the list scrolls or grew as well, that draws all of it.
            for index in (old, new):
                self.refresh_lines(index + self.head_lines)
            self.post_message(self.Moved(self, new))

    def render_lines(self, crop: Region) -> list[Strip]:
        self._palette = Palette(self)
        return super().render_lines(crop)

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
            missing = self.empty if not self.count and y == self.head_lines + 1 else ()
            return palette.strip(crop((*lead, *lead, *missing), width), width)
        over = []
        if self.has_cursor and index == self.cursor:
            # A sign beside the colour, for terminals without.
            lead = (("▌", "cursor"),)
            over.append("line-list--cursor" if self.has_focus else "line-list--blurred")
        return palette.strip((*lead, *self.line(index, line_width)), width, *over)

    def action_move(self, by: int) -> None:
        """Move the cursor, or scroll where there is none."""
        if self.has_cursor:
            self.move_to(self.cursor + by)
        else:
            self.scroll_to(y=self.scroll_target_y + by, animate=False)

    def action_page(self, by: int) -> None:
        """Move by what is in sight."""
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
        """The line at a row of the widget; None beside the list."""
        index = y - self.head_lines + round(self.scroll_y)
        return index if y >= self.head_lines and 0 <= index < self.count else None

    def on_click(self, event: events.Click) -> None:
        index = self.index_at(event.y)
        if index is None or not self.has_cursor:
            return
        if index == self.cursor and event.chain > 1:
            self.post_message(self.Chosen(self, index))
        self.move_to(index)
