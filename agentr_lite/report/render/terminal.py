"""A report as plain text with colour, fitted to the terminal's width."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import click

from agentr_lite.console.tables import fit_table, hidden_note
from agentr_lite.console.text import Styled, clean, wrap_hanging
from agentr_lite.report.tables.section import Section

_WRAP = 100


def render_terminal(
    head: Sequence[str], sections: Sequence[Section], *, width: int | None = None
) -> str:
    """Sections one below the other.

    Args:
        head: lines above the first table.
        sections: tables with their notes.
        width: terminal columns; None: tables as wide as they need to be.

    Returns:
        Text with ANSI styles; printing through ``output.emit`` drops them where they do not belong.
    """
    top = [clean(line, keep="") for line in head]
    if width is not None:
        top = [part for line in top for part in wrap_hanging(line, width)]
    parts = ["\n".join(top)] if top else []
    for section in sections:
        lines = [click.style(clean(section.title, keep=""), bold=True)]
        hide = section.hide or _least_needed(section.columns)
        table = fit_table(
            section.columns, section.rows, align=section.align, width=width, hide=hide
        )
        lines.append(table.text)
        notes = [*section.notes, *filter(None, [hidden_note(table.hidden)])]
        lines += [_note(note, width or _WRAP) for note in notes]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _least_needed(columns: Sequence[str]) -> list[int]:
    """Positions of what a narrow terminal hides first: p values, then intervals from the right.

    The sentences below a table repeat the intervals of its differences.
    """
    intervals = [i for i, column in enumerate(columns) if column == "95 % interval"]
    return [*(i for i, column in enumerate(columns) if column == "p"), *reversed(intervals)]


def _note(note: str | Styled, width: int) -> str:
    text = clean(str(note), keep="")
    wrapped = textwrap.fill(text, width=width, initial_indent="  ", subsequent_indent="  ")
    return note.paint(wrapped) if isinstance(note, Styled) else wrapped
