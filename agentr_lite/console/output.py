"""What the program prints: stdout is data, stderr is narration.

Text from a model or an environment passes through ``clean`` on its way to a terminal, so that it
can neither move the cursor nor reorder the line. Colour comes from click styles alone and is
dropped in pipes and under ``NO_COLOR``.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import shutil
import sys
import time
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from types import TracebackType
from typing import Any, Literal, TextIO

import click

Align = Literal["left", "right"]

# C0 and DEL, C1, bidi controls, line and paragraph separators, byte order mark, lone surrogates
# (which no UTF-8 stream can carry), and tag characters, which no terminal shows.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_NUMBER = re.compile(r"^[+\-−]?[\d,]*\.?\d+ ?(%|s|ms|k|M)?$")
_GAP = "  "
_MIN_COLUMN = 8


@dataclasses.dataclass(frozen=True, slots=True)
class Styled:
    """A table cell or message part in colour; the text itself is cleaned like any other."""

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
    r"""``text`` made safe for a terminal: control characters become visible escapes.

    Args:
        text: anything, e.g. what a model wrote.
        keep: control characters to let through. ``""`` gives one line.

    Returns:
        The same text with ESC, the other C0 and C1 controls, bidi overrides and lone surrogates
        written as ``\x1b``, ``\u202e`` and the like.
    """
    return _UNSAFE.sub(lambda m: m[0] if m[0] in keep else _escape(m[0]), text)


def _escape(character: str) -> str:
    named = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(character)
    code = ord(character)
    if named:
        return named
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def display_width(text: str) -> int:
    """Terminal columns that one cleaned line takes: wide characters 2, combining marks 0."""
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
    """``text`` cut to ``width`` terminal columns; the last one says so with an ellipsis."""
    if display_width(text) <= width:
        return text
    kept, used = [], 0
    for character in text:
        used += display_width(character)
        if used > width - 1:
            break
        kept.append(character)
    return "".join(kept) + "…" if width > 0 else ""


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


def terminal_width(stream: TextIO | None = None) -> int | None:
    """Columns of the terminal behind ``stream`` (default stdout), or None where there is none."""
    if not _is_tty(stream or sys.stdout):
        return None
    return shutil.get_terminal_size((100, 24)).columns


def format_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    align: Sequence[Align] | None = None,
    width: int | None = None,
    keep: Sequence[str] = (),
) -> str:
    """A plain-text table with a header and a rule.

    Args:
        columns: headings.
        rows: one sequence of cells a row, each as long as ``columns``; None prints as ``–``,
            a ``Styled`` in its colour. Control characters are escaped.
        align: one a column; default: right where all cells look like numbers.
        width: terminal columns to fit into; the widest left-aligned columns give way, then
            the rest. None: as wide as it needs to be.
        keep: headings of columns that are never cut, such as names to be copied.

    Returns:
        The lines joined by newlines, without one at the end.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    heads = [_cell(column) for column in columns]
    for row in cells:
        if len(row) != len(heads):
            raise ValueError(f"a row of {len(row)} cells in a table of {len(heads)} columns")
    aligns = list(align) if align else [_guess_align(cells, i) for i in range(len(heads))]
    widths = [max(display_width(row[i]) for row in [heads, *cells]) for i in range(len(heads))]
    if width is not None:
        kept = {index for index, column in enumerate(columns) if column in keep}
        _shrink(widths, aligns, width, kept)
    lines = [_line(heads, columns, widths, aligns), _GAP.join("-" * w for w in widths)]
    lines += [_line(cell, row, widths, aligns) for cell, row in zip(cells, rows, strict=True)]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.3f}" if math.isfinite(value) else "–"
    return clean(str(value), keep="")


def _guess_align(cells: Sequence[Sequence[str]], index: int) -> Align:
    numbers = [bool(_NUMBER.match(row[index])) for row in cells if row[index] not in ("", "–")]
    return "right" if numbers and all(numbers) else "left"


def _shrink(widths: list[int], aligns: Sequence[Align], width: int, kept: set[int]) -> None:
    spare = width - len(_GAP) * (len(widths) - 1)
    for kind in ("left", "right"):
        candidates = [i for i, a in enumerate(aligns) if a == kind and i not in kept]
        while sum(widths) > spare and candidates:
            widest = max(candidates, key=lambda i: widths[i])
            if widths[widest] <= _MIN_COLUMN:
                break
            widths[widest] -= 1


def _line(
    cells: Sequence[str], values: Sequence[Any], widths: Sequence[int], aligns: Sequence[Align]
) -> str:
    parts = []
    for cell, value, width, side in zip(cells, values, widths, aligns, strict=True):
        text = truncate(cell, width)
        pad = " " * (width - display_width(text))
        shown = value.paint(text) if isinstance(value, Styled) else text
        parts.append(pad + shown if side == "right" else shown + pad)
    return _GAP.join(parts).rstrip()


def plain(value: Any) -> Any:
    """``value`` in JSON's types: dataclasses become objects, paths text, NaN and infinity null.

    Raises:
        TypeError: something that has no JSON form.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return [plain(item) for item in sorted(value)]
    if isinstance(value, PurePath):
        return str(value)
    if hasattr(value, "item"):
        return plain(value.item())
    raise TypeError(f"{type(value).__name__} has no JSON form")


def dump_json(value: Any, *, indent: int | None = 2) -> str:
    """JSON text that is valid everywhere and harmless in a terminal."""
    text = json.dumps(plain(value), ensure_ascii=False, indent=indent, allow_nan=False)
    return _UNSAFE.sub(lambda m: m[0] if m[0] == "\n" else _json_escape(m[0]), text)


def _json_escape(character: str) -> str:
    data = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{data[i]:02x}{data[i + 1]:02x}" for i in range(0, len(data), 2))


def emit(text: str) -> None:
    """Data on stdout, as it is; the caller has cleaned what others wrote."""
    _pause_bar()
    click.echo(text, color=_color())


def emit_json(value: Any) -> None:
    """One JSON document on stdout."""
    emit(dump_json(value))


def emit_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    align: Sequence[Align] | None = None,
    keep: Sequence[str] = (),
) -> None:
    """A table on stdout, cut to the terminal's width where there is a terminal."""
    emit(format_table(columns, rows, align=align, width=terminal_width(), keep=keep))


def say(message: str | Styled) -> None:
    """Narration on stderr."""
    _pause_bar()
    text = clean(str(message))
    painted = message.paint(text) if isinstance(message, Styled) else text
    click.echo(painted, err=True, color=_color())


def warn(message: str, *, hint: str = "") -> None:
    """A warning on stderr, with what to do about it."""
    _pause_bar()
    text = click.style("warning: ", fg="yellow") + clean(message)
    click.echo(text + (f"\n  {clean(hint)}" if hint else ""), err=True, color=_color())


def _color() -> bool | None:
    # https://no-color.org: present and not empty. click does not look at it by itself.
    return False if os.environ.get("NO_COLOR") else None


def _is_tty(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False


_active: Progress | None = None


def _pause_bar() -> None:
    if _active is not None:
        _active.clear()


class Progress:
    """Progress of one stage after another, on stderr.

    On a terminal: one line that is redrawn, with a bar and an ETA. Elsewhere: a line every
    ``interval_s`` seconds and one at the end of a stage, so that logs stay readable.

    A stage that resumes passes what is already there as ``initial``; the ETA goes by the pace of
    this process alone.
    """

    def __init__(
        self,
        *,
        stream: TextIO | None = None,
        interval_s: float = 30.0,
        quiet: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            stream: default: stderr as it is when a line is written.
            interval_s: seconds between lines where there is no terminal.
            quiet: print nothing at all.
            clock: seconds from any fixed point; tests replace it.
        """
        self._stream = stream
        self._interval_s = interval_s
        self._quiet = quiet
        self._clock = clock
        self._label = ""
        self._total: int | None = None
        self._count = self._initial = 0
        self._note = ""
        self._started = self._last = 0.0
        self._drawn = False

    def start(self, label: str, total: int | None = None, *, initial: int = 0) -> None:
        """Begin a stage of ``total`` items (None: unknown), ``initial`` of them there already."""
        global _active
        self.clear()
        self._label, self._total, self._note = label, total, ""
        self._count = self._initial = initial
        self._started = self._last = self._clock()
        _active = self
        if self._tty:
            self._draw()

    def advance(self, n: int = 1, note: str = "") -> None:
        """``n`` more items are finished; ``note`` replaces the remark behind the counts."""
        self._count += n
        self._note = note or self._note
        now = self._clock()
        if now - self._last < (0.1 if self._tty else self._interval_s):
            return
        self._last = now
        if self._tty:
            self._draw()
        else:
            self._write(self._text() + "\n")

    def finish(self, note: str = "") -> None:
        """End the stage with one line that stays."""
        global _active
        self.clear()
        _active = None
        if not self._label:
            return
        elapsed = format_duration(self._clock() - self._started)
        remark = f" · {note or self._note}" if note or self._note else ""
        self._write(clean(f"{self._label}: {self._counts()} in {elapsed}{remark}\n"))
        self._label = ""

    def clear(self) -> None:
        """Take the bar off the terminal; the next ``advance`` draws it again."""
        if self._drawn:
            self._write("\r\x1b[K")
            self._drawn = False

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.finish()
            return
        # An error message follows: leave a clean line for it and claim no end.
        global _active
        self.clear()
        _active = None

    @property
    def total(self) -> int | None:
        """Items of the stage; may be set when it becomes known. None: unknown."""
        return self._total

    @total.setter
    def total(self, total: int | None) -> None:
        self._total = total

    @property
    def _tty(self) -> bool:
        return _is_tty(self._stream or sys.stderr)

    def _counts(self) -> str:
        return str(self._count) if self._total is None else f"{self._count}/{self._total}"

    def _text(self) -> str:
        parts = [f"{self._label}: {self._counts()}"]
        remaining = self._eta_s()
        if remaining is not None:
            parts.append(f"ETA {format_duration(remaining)}")
        if self._note:
            parts.append(self._note)
        return clean(" · ".join(parts), keep="")

    def _eta_s(self) -> float | None:
        done = self._count - self._initial
        if self._total is None or done <= 0 or self._count >= self._total:
            return None
        return (self._clock() - self._started) / done * (self._total - self._count)

    def _draw(self) -> None:
        bar = ""
        if self._total:
            filled = min(20, 20 * self._count // self._total)
            bar = "█" * filled + "░" * (20 - filled) + " "
        columns = shutil.get_terminal_size((100, 24)).columns
        self._write("\r\x1b[K" + truncate(bar + self._text(), columns - 1))
        self._drawn = True

    def _write(self, text: str) -> None:
        if self._quiet:
            return
        stream = self._stream or sys.stderr
        stream.write(text)
        stream.flush()


def silent_progress() -> Progress:
    """A ``Progress`` that prints nothing, for library use and tests."""
    return Progress(quiet=True)
