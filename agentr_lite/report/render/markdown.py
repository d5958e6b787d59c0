"""A report as Markdown; foreign text cannot become markup in it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from agentr_lite.console.text import clean
from agentr_lite.report.tables.section import Section

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~])")


def render_markdown(
    head: Sequence[str], sections: Sequence[Section], *, title: str = "", level: int = 2
) -> str:
    """Sections as headings, pipe tables and lists.

    Args:
        head: a list of facts above the first table.
        sections: tables with their notes.
        title: heading of the whole, one level above the sections'; empty: none.
        level: the sections' heading level.

    Returns:
        Markdown that ends with a newline.
    """
    parts = [f"{'#' * (level - 1)} {escape_markdown(title)}"] if title else []
    if head:
        parts.append("\n".join(f"- {escape_markdown(line)}" for line in head))
    for section in sections:
        if section.title:
            parts.append(f"{'#' * level} {escape_markdown(section.title)}")
        parts.append(markdown_table(section))
        if section.notes:
            parts.append("\n".join(f"- {escape_markdown(str(note))}" for note in section.notes))
    return "\n\n".join(parts) + "\n"


def markdown_table(section: Section) -> str:
    """A pipe table, figures aligned right."""
    rules = ["---" if side == "left" else "---:" for side in section.align]
    lines = [_row(section.columns), _row(rules, raw=True)]
    lines += [_row(row) for row in section.rows]
    return "\n".join(lines)


def escape_markdown(text: str) -> str:
    """One line in which no character is markup."""
    return _SPECIAL.sub(r"\\\1", clean(text, keep=""))


def _row(cells: Sequence[Any], *, raw: bool = False) -> str:
    texts = [str(c) if raw else "–" if c is None else escape_markdown(str(c)) for c in cells]
    return "| " + " | ".join(texts) + " |"
