"""A table with the sentences that say what it means; every renderer draws the same ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from agentr_lite.console.tables import Align
from agentr_lite.console.text import Styled
from agentr_lite.report.words import Cell


@dataclass(frozen=True, slots=True)
class Section:
    """One table with a title and, below it, what it means in words."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str | Styled] = field(default_factory=tuple)
    hide: Sequence[str] = ()
    """Columns that a narrow terminal hides first, in this order; empty: p values and intervals."""

    @property
    def align(self) -> list[Align]:
        """First column left, figures right."""
        return ["left", *(["right"] * (len(self.columns) - 1))]  # type: ignore[list-item]
