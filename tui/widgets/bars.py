"""Single lines: where the user is, and what is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.geometry import Size
from textual.strip import Strip
from textual.widget import Widget

from ..layout.lines import Line, Span, crop, spread, width_of
from .palette import INK, Palette


class Bar(Widget):
    """One line with a left and a right part."""

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


class FoldedBar(Bar):
    """A bar that takes two lines, the right part below the left, where one has no room for both."""

    def show(self, left: Line, right: Line = ()) -> None:
        """Replace the text."""
        super().show(left, right)
        self.refresh(layout=True)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """1 or 2 lines."""
        return 1 if self._fits(width) else 2

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        if self._fits(width):
            return super().render_line(y)
        line = crop(self._left, width) if y == 0 else spread((), self._right, width)
        return Palette(self).strip(crop(line, width), width)

    def _fits(self, width: int) -> bool:
        return not self._right or width_of(self._left) + width_of(self._right) < width


class Caption(Bar):
    """What a screen counts, and the columns of its table that found no place."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.hidden: Sequence[str] = ()
        """Titles of the columns."""

    def hide(self, titles: Sequence[str]) -> None:
        """Say that the table has these columns, too."""
        self.hidden = tuple(titles)
        self.refresh()

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        room = width - width_of(self._left) - width_of(self._right) - 2
        gap: Line = (("· ", "dim"),) if self._right else ()
        note = _hidden_note(self.hidden, room - width_of(gap))
        right = (*note, *(gap if note else ()), *self._right)
        return Palette(self).strip(crop(spread(self._left, right, width), width), width)


def _hidden_note(titles: Sequence[str], room: int) -> Line:
    """The columns by their titles, or else their number; nothing where neither fits."""
    number = f"{len(titles)} column{'' if len(titles) == 1 else 's'} hidden"
    for text in (f"hidden: {', '.join(titles)} ", f"{number} "):
        if titles and len(text) <= room:
            return ((text, "dim"),)
    return ()


class Crumbs(Bar):
    """The path to the screen, outermost first; without room, the outer parts are left out first."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._parts: tuple[str, ...] = ()

    def lead(self, parts: Sequence[str], right: Line = ()) -> None:
        """Replace the line; ``parts`` have been cleaned."""
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
