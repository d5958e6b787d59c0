"""What a figure of a report is, and what it is of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from agentr_lite.report.model.run import RunReport
from agentr_lite.report.model.series import Measured
from agentr_lite.report.tables.run import Section


@dataclass(frozen=True, slots=True)
class Figure:
    """A plot with its legend, what it shows in words, and its data."""

    title: str
    svg: Markup
    caption: str
    table: Section
    legend: Sequence[tuple[int, str]] = ()
    """(number of the series' colour and shape, name); empty for a single series."""
    filled: bool = False
    """Areas, whose legend has squares."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One run among those of a report."""

    label: str
    report: RunReport
    measured: Measured

    def parts(self) -> list[Shown]:
        """Each of several environments, then their mean, as if they were runs; of one: itself."""
        if not self.measured.by_env:
            return [self]
        found = []
        for env, measured in self.measured.by_env.items():
            lines = [part for line in self.report.evals for part in line.by_env()]
            mine = [line for line in lines if line.env == env]
            found.append(Shown(env, replace(self.report, evals=mine), measured))
        return [*found, replace(self, label="mean")]

    def in_env(self, env: str) -> Shown | None:
        """What the run shows in one environment; None where it was not evaluated there."""
        parts = [part for part in self.parts()[:-1] if part.label == env]
        if parts:
            return replace(parts[0], label=self.label)
        return self if self.report.run.env == env and not self.measured.by_env else None
