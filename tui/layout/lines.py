"""Lines of styled text, and safe lines from foreign text.

A line is a tuple of spans; a span is a text and the name of a style. The widgets turn spans into
terminal segments directly, so nothing in them is ever parsed as markup.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from rich.cells import cell_len, set_cell_size

from agentr_lite.console.text import clean, truncate

Span = tuple[str, str]
"""(text without control characters, one of ``STYLES``)."""
Line = tuple[Span, ...]

STYLES = (
    *("plain", "dim", "strong", "accent", "title", "header", "guide", "key", "cursor"),
    *("good", "partial", "bad", "odd", "signal", "match", "said", "saw"),
)
"""Style names; the widgets have a component class ``ink--NAME`` for each."""

MAX_SHOWN = 200_000
"""Characters of one text that are laid out; the rest is counted."""


def one_line(text: str) -> str:
    """Foreign text in one line: line breaks become blanks, control characters visible escapes."""
    return clean(text.replace("\r\n", " ").replace("\n", " ").replace("\t", " "), keep="")


def paragraphs(text: str, width: int) -> list[str]:
    """Foreign text as terminal lines: cleaned, tabs expanded, wrapped at blanks if possible.

    Args:
        text: anything.
        width: terminal columns, at least 1.

    Returns:
        At least one line. If the text is longer than ``MAX_SHOWN``, the last line says how much
        is left out.
    """
    width = max(1, width)
    hidden = len(text) - MAX_SHOWN
    shown = clean(text[:MAX_SHOWN].replace("\r\n", "\n")).expandtabs(4)
    lines = [line for part in shown.split("\n") for line in _wrap(part.rstrip(), width)]
    if hidden > 0:
        lines.append(truncate(f"… {hidden:,} more characters", width))
    return lines


def _wrap(text: str, width: int) -> Iterable[str]:
    if len(text) <= width and (text.isascii() or cell_len(text) <= width):
        return [text]
    return _wrap_ascii(text, width) if text.isascii() else _wrap_wide(text, width)


def _wrap_ascii(text: str, width: int) -> Iterable[str]:
    start, size = 0, len(text)
    while size - start > width:
        # A word that fills the line exactly ends at the blank behind it.
        blank = text.rfind(" ", start + 1, start + width + 1)
        cut = blank if blank > start else start + width
        yield text[start:cut]
        start = cut + 1 if blank > start else cut
    yield text[start:]


def _wrap_wide(text: str, width: int) -> Iterable[str]:
    start, blank, used = 0, -1, 0
    for index, character in enumerate(text):
        cells = cell_len(character)
        if used + cells > width and index > start:
            cut = blank if blank > start else index
            yield text[start:cut]
            start = cut + 1 if blank > start else cut
            blank, used = -1, cell_len(text[start:index])
        if character == " ":
            blank = index
        used += cells
    yield text[start:]


def width_of(line: Sequence[Span]) -> int:
    """Terminal columns of a line."""
    return sum(cell_len(text) for text, _ in line)


def crop(line: Sequence[Span], width: int) -> Line:
    """The line cut to ``width`` columns; the last column of a cut line is an ellipsis."""
    if width_of(line) <= width:
        return tuple(line)
    kept: list[Span] = []
    left = max(0, width - 1)
    for text, style in line:
        size = cell_len(text)
        if size > left:
            if left:
                kept.append((set_cell_size(text, left), style))
            break
        kept.append((text, style))
        left -= size
    if kept and kept[-1][0].endswith("…"):
        # Cut where an earlier cut ended.
        text, style = kept.pop()
        kept.append((text[:-1], style))
    return (*kept, ("…", "dim")) if width > 0 else ()


def fold(line: Sequence[Span], width: int) -> list[Line]:
    """Break spans at blanks into lines of at most ``width`` columns; styles are kept."""
    lines: list[Line] = []
    current: list[Span] = []
    used = 0
    for text, style in line:
        for word in re.findall(r" *[^ ]+| +$", text):
            size = cell_len(word)
            if current and used + size > width:
                lines.append(tuple(current))
                word = word.lstrip(" ")
                current, used, size = [], 0, cell_len(word)
            current.append((word, style))
            used += size
    lines.append(tuple(current))
    return [crop(line, width) for line in lines]


def indented(line: Sequence[Span], width: int) -> list[Line]:
    """``fold`` with a blank before each line."""
    return [((" ", "plain"), *part) for part in fold(line, width - 1)]


def pad(line: Sequence[Span], width: int) -> Line:
    """Cut the line, or fill it with blanks, to exactly ``width`` columns."""
    cut = crop(line, width)
    return (*cut, (" " * (width - width_of(cut)), "plain"))


def spread(left: Sequence[Span], right: Sequence[Span], width: int) -> Line:
    """One line with a part at each edge; the left part is cut first."""
    right = crop(right, width)
    room = width - width_of(right)
    # Always one blank between the two parts.
    return (*pad(left, max(0, room - 1)), (" " * min(1, room), "plain"), *right)


def rule(title: Span, width: int) -> Line:
    """A heading on a line across the whole width."""
    text, style = title
    used = cell_len(text) + 4
    return (("── ", "guide"), (text, style), (" " + "─" * max(0, width - used), "guide"))


def barred(text: str, bar: str, style: str, width: int) -> list[Line]:
    """Foreign text behind a coloured bar.

    Args:
        text: anything.
        bar: style of the bar.
        style: style of the text.
        width: terminal columns, the bar's two included.
    """
    return [(("▎ ", bar), (part, style)) for part in paragraphs(text, width - 2)]
