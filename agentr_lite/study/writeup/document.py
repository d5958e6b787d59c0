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
from agentr_lite.study.outcomes.file import FILE_NAME


@dataclass(frozen=True, slots=True)
class Figure:
    """The plots of one chapter."""

    slug: str
    """The file name without its ending."""
    svg: str
    """The text of the SVG file."""


@dataclass(frozen=True, slots=True)
class Chapter:
    """The results of one environment, or of the ablations."""

    title: str
    sections: Sequence[Section]
    """The tables."""
    facts: Sequence[str] = ()
    """What was run; a list above the tables."""
    findings: Sequence[str | Styled] = ()
    """Sentences for "In short"."""
    figure: Figure | None = None
    text: Sequence[str] = ()
    """Paragraphs above everything else."""
    has_notes: bool = False
    """Whether the page keeps a place here for what is written by hand."""


@dataclass(frozen=True, slots=True)
class Document:
    """All results of a study."""

    title: str
    command: str
    """The command that wrote the document."""
    facts: Sequence[str]
    """What was run."""
    explained: str
    """How to read the figures."""
    chapters: Sequence[Chapter] = field(default_factory=tuple)
    glance: Sequence[Section] = field(default_factory=tuple)
    """The tables of "At a glance"."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """Further data for programs."""
    opening: Sequence[Chapter] = field(default_factory=tuple)
    """Chapters before the tables."""

    @property
    def figures(self) -> list[Figure]:
        """All plots."""
        chapters = (*self.opening, *self.chapters)
        return [chapter.figure for chapter in chapters if chapter.figure is not None]

    @property
    def findings(self) -> list[tuple[str, str | Styled]]:
        """(title of the chapter, sentence) of every finding."""
        return [
            (chapter.title, finding) for chapter in self.chapters for finding in chapter.findings
        ]

    def markdown(self, pictures: str, notes: str = "") -> str:
        """The document as Markdown.

        Args:
            pictures: folder of the plots and the outcomes, relative to the document.
            notes: what was written by hand in the place for it (see ``kept_notes``).
        """
        written = (
            f"Written by `{self.command}` from [the outcomes of all episodes]"
            f"({pictures}/{FILE_NAME}); do not edit. `agentr-lite study --from-outcomes FILE` makes"
            " the page from that file again, without running anything."
        )
        blocks = [f"# {escape_markdown(self.title)}", written]
        for chapter in self.opening:
            blocks += _chapter_markdown(chapter, pictures, notes)
        if self.glance:
            blocks.append("## At a glance")
            blocks.append(render_markdown([], self.glance, level=3).rstrip("\n"))
        if self.findings:
            blocks.append("## In short")
            blocks.append(_bullets([f"{title}: {finding}" for title, finding in self.findings]))
        blocks.append(self.explained)
        blocks.append("## What was run")
        blocks.append(_bullets(self.facts))
        for chapter in self.chapters:
            blocks += _chapter_markdown(chapter, pictures, notes)
        return "\n\n".join(blocks) + "\n"

    def terminal(self, *, width: int | None = None) -> str:
        """The document for a terminal: first the tables, then the findings.

        Args:
            width: terminal columns; None: as wide as the tables need.
        """
        blocks = [render_terminal([self.title, *self.facts], [], width=width)]
        for chapter in self.opening:
            text = [*chapter.text, *chapter.facts]
            blocks.append(render_terminal([chapter.title, *text], chapter.sections, width=width))
        for chapter in self.chapters:
            # The notes are left out: the findings at the end are short enough to be read.
            sections = [
                Section(f"{chapter.title}: {section.title}", section.columns, section.rows, ())
                for section in chapter.sections
            ]
            blocks.append(render_terminal([], sections, width=width))
        blocks.append(render_terminal([], self.glance, width=width))
        lines = [
            f"  {title}: {finding if isinstance(finding, str) else finding.text}"
            for title, finding in self.findings
        ]
        blocks.append(render_terminal(["In short", *lines], []))
        return "\n\n".join(block for block in blocks if block)

    def as_json(self) -> dict[str, Any]:
        """The document as data; table cells are text."""
        data: dict[str, Any] = plain(
            {
                "title": self.title,
                "command": self.command,
                "head": list(self.facts),
                "opening": [
                    {
                        "title": chapter.title,
                        "text": [*chapter.text, *chapter.facts],
                        "sections": [_section_json(section) for section in chapter.sections],
                    }
                    for chapter in self.opening
                ],
                "glance": [_section_json(section) for section in self.glance],
                "in_short": [f"{title}: {finding}" for title, finding in self.findings],
                "parts": [
                    {
                        "title": chapter.title,
                        "intro": list(chapter.facts),
                        "sections": [_section_json(section) for section in chapter.sections],
                    }
                    for chapter in self.chapters
                ],
                **self.data,
            }
        )
        return data


def kept_notes(page: str) -> str:
    """What was written by hand into a page, between the two comments that mark the place."""
    _, begin, rest = page.partition(_NOTES)
    notes, end, _ = rest.partition(_NOTES_END)
    return notes.strip("\n") if begin and end else ""


_NOTES = "<!-- notes: written by hand; they are kept when the page is written anew -->"
_NOTES_END = "<!-- end of the notes -->"


def _chapter_markdown(chapter: Chapter, pictures: str, notes: str) -> list[str]:
    blocks = [f"## {escape_markdown(chapter.title)}"]
    blocks += [escape_markdown(paragraph) for paragraph in chapter.text]
    if chapter.has_notes:
        blocks += [_NOTES, *([notes] if notes else []), _NOTES_END]
    if chapter.facts:
        blocks.append(_bullets(chapter.facts))
    if chapter.figure is not None:
        caption = escape_markdown(f"{chapter.title}: results by round and method")
        blocks.append(f"![{caption}]({pictures}/{chapter.figure.slug}.svg)")
    if chapter.sections:
        blocks.append(render_markdown([], chapter.sections, level=3).rstrip("\n"))
    return blocks


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {escape_markdown(line)}" for line in lines)


def _section_json(section: Section) -> dict[str, Any]:
    return {
        "title": section.title,
        "columns": list(section.columns),
        "rows": [[None if c is None else str(c) for c in row] for row in section.rows],
        "notes": [str(note) for note in section.notes],
    }
