"""A study's results as one document: for the terminal, as Markdown and as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agentr_lite.console.json import plain
from agentr_lite.console.text import Styled
from agentr_lite.report.render.markdown import escape_markdown, render_markdown
from agentr_lite.report.render.terminal import render_terminal
from agentr_lite.report.tables.section import Section


@dataclass(frozen=True, slots=True)
class Part:
    """One environment, or the ablations."""

    title: str
    sections: Sequence[Section]
    intro: Sequence[str] = ()
    """Facts above the tables."""
    short: Sequence[str | Styled] = ()
    """What stands under "In short"."""
    picture: str | None = None
    """An SVG file's text."""
    slug: str = ""
    """The picture's file name without its ending."""


@dataclass(frozen=True, slots=True)
class Document:
    """Everything that a study has to say."""

    title: str
    command: str
    """What wrote it."""
    head: Sequence[str]
    """What was run."""
    explained: str
    """How the figures are to be read."""
    parts: Sequence[Part] = field(default_factory=tuple)
    glance: Sequence[Section] = field(default_factory=tuple)
    """The whole in a table or two."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """More for programs than the tables show."""

    @property
    def short(self) -> list[tuple[str, str | Styled]]:
        """(part, sentence) of each."""
        return [(part.title, note) for part in self.parts for note in part.short]

    def markdown(self, pictures: str) -> str:
        """The whole as Markdown.

        Args:
            pictures: folder of the plots, relative to the document.
        """
        blocks = [
            f"# {escape_markdown(self.title)}",
            f"Written by `{self.command}`; do not edit.",
        ]
        if self.glance:
            blocks.append("## At a glance")
            blocks.append(render_markdown([], self.glance, level=3).rstrip("\n"))
        if self.short:
            told = [f"- {escape_markdown(f'{name}: {note}')}" for name, note in self.short]
            blocks.append("## In short\n\n" + "\n".join(told))
        blocks.append(self.explained)
        blocks.append(
            "## What was run\n\n" + "\n".join(f"- {escape_markdown(line)}" for line in self.head)
        )
        for part in self.parts:
            blocks.append(f"## {escape_markdown(part.title)}")
            if part.intro:
                blocks.append("\n".join(f"- {escape_markdown(line)}" for line in part.intro))
            if part.picture is not None:
                words = escape_markdown(f"{part.title}: results by round and method")
                blocks.append(f"![{words}]({pictures}/{part.slug}.svg)")
            if part.sections:
                blocks.append(render_markdown([], part.sections, level=3).rstrip("\n"))
        return "\n\n".join(blocks) + "\n"

    def terminal(self, *, width: int | None = None) -> str:
        """The tables one below the other, what they come to at the end.

        Args:
            width: terminal columns; None: as wide as they need to be.
        """
        blocks = [render_terminal([self.title, *self.head], [], width=width)]
        for part in self.parts:
            # Short sentences come at the end, where they are read.
            sections = [
                Section(f"{part.title}: {one.title}", one.columns, one.rows, ())
                for one in part.sections
            ]
            blocks.append(render_terminal([], sections, width=width))
        blocks.append(render_terminal([], self.glance, width=width))
        told = [note if isinstance(note, str) else note.text for _, note in self.short]
        names = [name for name, _ in self.short]
        lines = [f"{name}: {note}" for name, note in zip(names, told, strict=True)]
        blocks.append(render_terminal(["In short", *(f"  {line}" for line in lines)], []))
        return "\n\n".join(block for block in blocks if block)

    def as_json(self) -> dict[str, Any]:
        """The same as data; cells as they are shown."""
        found: dict[str, Any] = plain(
            {
                "title": self.title,
                "command": self.command,
                "head": list(self.head),
                "glance": [_section(section) for section in self.glance],
                "in_short": [f"{name}: {note}" for name, note in self.short],
                "parts": [
                    {
                        "title": part.title,
                        "intro": list(part.intro),
                        "sections": [_section(section) for section in part.sections],
                    }
                    for part in self.parts
                ],
                **self.data,
            }
        )
        return found


def _section(section: Section) -> dict[str, Any]:
    return {
        "title": section.title,
        "columns": list(section.columns),
        "rows": [[None if c is None else str(c) for c in row] for row in section.rows],
        "notes": [str(note) for note in section.notes],
    }
