"""Text that is safe in a terminal, its width, and its colour.

Text from a model or an environment passes through ``clean`` on its way to a terminal, so that it
can neither move the cursor nor reorder the line. Colour comes from click styles alone and is
dropped in pipes and under ``NO_COLOR``.
"""

from __future__ import annotations

import dataclasses
import re
import unicodedata

import click

# C0 and DEL, C1, bidi controls, line and paragraph separators, byte order mark, lone surrogates
# (which no UTF-8 stream can carry), and tag characters, which no terminal shows.
UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
"""One character that a terminal would obey, or that would hide text."""


@dataclasses.dataclass(frozen=True, slots=True)
class Styled:
    """A table cell or part of a message in colour; its text is cleaned like any other."""

    text: str
    fg: str | None = None
    bold: bool = False
    dim: bool = False

    def __str__(self) -> str:
        return self.text

    def paint(self, text: str) -> str:
        """``text`` in this style."""
        return click.style(text, fg=self.fg, bold=self.bold or None, dim=self.dim or None)


def clean(text: str, *, keep: str = "\n\t") -> str:
    r"""Make text safe for a terminal: control characters become visible escapes.

    Args:
        text: anything, e.g. what a model wrote.
        keep: control characters to let through. ``""`` gives one line.

    Returns:
        The same text with ESC, the other C0 and C1 controls, bidi overrides and lone surrogates
        written as ``\x1b``, ``\u202e`` and the like.
    """
    return UNSAFE.sub(lambda m: m[0] if m[0] in keep else _escape(m[0]), text)


def _escape(character: str) -> str:
    named = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(character)
    code = ord(character)
    if named:
        return named
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def display_width(text: str) -> int:
    """Terminal columns of one cleaned line: wide characters take 2, combining marks 0."""
    if text.isascii():
        return len(text)
    return sum(
        0
        if unicodedata.combining(c) or unicodedata.category(c) in ("Cf", "Me")
        else 2
        if unicodedata.east_asian_width(c) in "WF"
        else 1
        for c in text
    )


def truncate(text: str, width: int) -> str:
    """``text`` cut to ``width`` terminal columns; the last column of a cut text is an ellipsis."""
    if display_width(text) <= width:
        return text
    kept, used = [], 0
    for character in text:
        used += display_width(character)
        if used > width - 1:
            break
        kept.append(character)
    return "".join(kept) + "…" if width > 0 else ""


def wrap(text: str, width: int) -> list[str]:
    """One cleaned line as several of at most ``width`` terminal columns, at least one line.

    It is broken at blanks; a word that is wider than a line is broken where the line ends.
    """
    if display_width(text) <= width:
        return [text]
    lines: list[str] = []
    line = ""
    for word in text.split(" "):
        joined = f"{line} {word}" if line else word
        if display_width(joined) <= width:
            line = joined
            continue
        if line:
            lines.append(line)
        *full, line = _pieces(word, width)
        lines += full
    return [*lines, line]


def wrap_hanging(text: str, width: int) -> list[str]:
    """One cleaned line as several, of which those after the first are indented.

    They begin below the second column of a line whose first column two blanks or more set off
    (``  round 1  search 6 tasks``), and otherwise two columns further in than the line.

    Args:
        text: one cleaned line without colour.
        width: terminal columns; a line that fits stays as it is.
    """
    if display_width(text) <= width:
        return [text]
    indent = min(len(text) - len(text.lstrip(" ")), width // 2)
    lead, hang = " " * indent, indent + 2
    column = _FIRST_COLUMN.match(text)
    if column and display_width(column[0]) <= width // 2:
        lead, hang = column[0], display_width(column[0])
    first, *others = wrap(text[len(lead) :], max(8, width - hang))
    return [lead + first, *(" " * hang + other for other in others)]


_FIRST_COLUMN = re.compile(r" *\S+(?: \S+)* {2,}")


def _pieces(word: str, width: int) -> list[str]:
    pieces = [""]
    for character in word:
        if pieces[-1] and display_width(pieces[-1] + character) > width:
            pieces.append("")
        pieces[-1] += character
    return pieces


def format_duration(seconds: float) -> str:
    """``0.4s``, ``12s``, ``3m 05s`` or ``2h 07m``."""
    if seconds < 9.95:
        return f"{max(seconds, 0.0):.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
