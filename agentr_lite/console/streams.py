"""The two streams: stdout is data, stderr is narration."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TextIO

import click

from agentr_lite.console.json import dump_json
from agentr_lite.console.stdout import data_stream, note_data
from agentr_lite.console.tables import Align, fit_table, hidden_note
from agentr_lite.console.text import Styled, clean, wrap_hanging

_clear_bar: Callable[[], None] | None = None

_COMMAND = re.compile("`|agentr-lite |pip install ")
"""Signs that a line holds a command that a person may copy."""


def set_bar(clear: Callable[[], None] | None) -> None:
    """Register the progress bar on stderr, so that other output clears it first.

    Args:
        clear: removes the bar from the terminal; None: there is no bar any more.
    """
    global _clear_bar
    _clear_bar = clear


def emit(text: str) -> None:
    """Print data on stdout as it is; the caller has cleaned foreign text."""
    _pause_bar()
    note_data()
    click.echo(text, file=data_stream(), color=_color())


def emit_lines(lines: Iterable[str | Styled], *, lead: str = "") -> None:
    """Print lines on stdout, wrapped to the terminal, if there is one.

    Args:
        lines: each is cleaned; ``text.wrap_hanging`` says how it is wrapped. One with a command
            stays whole: the terminal itself folds it, and it can still be copied.
        lead: comes before each of them, and before each part of a wrapped one.
    """
    width = terminal_width()
    room = None if width is None else max(1, width - len(lead))
    for line in lines:
        for part in _folded(clean(str(line), keep=""), room):
            emit(lead + (line.paint(part) if isinstance(line, Styled) else part))


def emit_json(value: Any) -> None:
    """Print one JSON document on stdout."""
    emit(dump_json(value))


def emit_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    align: Sequence[Align] | None = None,
    keep: Sequence[str | int] = (),
    hide: Sequence[str | int] = (),
) -> None:
    """Print a table on stdout; ``fit_table`` says how it fits the terminal, if there is one.

    What is hidden is named on stderr.
    """
    table = fit_table(columns, rows, align=align, width=terminal_width(), keep=keep, hide=hide)
    emit(table.text)
    if table.hidden:
        say(hidden_note(table.hidden))


def say(message: str | Styled) -> None:
    """Print narration on stderr, its lines wrapped like those of ``emit_lines``."""
    _pause_bar()
    text = _narrated(clean(str(message)))
    painted = message.paint(text) if isinstance(message, Styled) else text
    click.echo(painted, err=True, color=_color())


def warn(message: str, *, hint: str = "") -> None:
    """Print a warning on stderr, with what to do about it; its lines are wrapped as in ``say``."""
    _pause_bar()
    word = "warning: "
    text = _narrated(word + clean(message) + (f"\n  {clean(hint)}" if hint else ""))
    click.echo(click.style(word, fg="yellow") + text[len(word) :], err=True, color=_color())


def _narrated(text: str) -> str:
    """Lines for stderr, wrapped to the terminal, if there is one."""
    width = terminal_width(sys.stderr)
    return "\n".join(part for line in text.split("\n") for part in _folded(line, width))


def _folded(line: str, width: int | None) -> list[str]:
    """One cleaned line as several that fit; whole without a width, and if it holds a command."""
    return [line] if width is None or _COMMAND.search(line) else wrap_hanging(line, width)


def is_terminal(stream: TextIO) -> bool:
    """Whether ``stream`` is an open terminal."""
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False


def terminal_width(stream: TextIO | None = None) -> int | None:
    """Columns of the terminal behind ``stream`` (default: stdout); None if there is no terminal.

    The variable COLUMNS, where it is set, counts in both cases: shells do not export it by
    themselves.
    """
    if not is_terminal(stream or data_stream()) and not _wanted_columns():
        return None
    return shutil.get_terminal_size((100, 24)).columns


def _wanted_columns() -> bool:
    text = os.environ.get("COLUMNS", "")
    return text.isascii() and text.isdigit() and int(text) > 0


def _color() -> bool | None:
    # https://no-color.org: present and not empty. click does not look at it by itself.
    return False if os.environ.get("NO_COLOR") else None


def _pause_bar() -> None:
    if _clear_bar is not None:
        _clear_bar()
