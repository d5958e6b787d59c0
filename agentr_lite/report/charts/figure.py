"""A figure of a report, and the run that it shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from agentr_lite.report.model.run import RunReport
from agentr_lite.report.model.series import RunSeries
from agentr_lite.report.tables.section import Section


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
    """One run among those that a report shows."""

    label: str
    report: RunReport
    series: RunSeries

    def parts(self) -> list[Shown]:
        """Each of several environments, then their mean, as if they were runs; else itself."""
        if not self.series.by_env:
            return [self]
        parts = []
        for env, series in self.series.by_env.items():
            lines = [part for line in self.report.evals for part in line.by_env()]
            mine = [line for line in lines if line.env == env]
            parts.append(Shown(env, replace(self.report, evals=mine), series))
        return [*parts, replace(self, label="mean")]

    def in_env(self, env: str) -> Shown | None:
        """What the run shows in one environment; None where it was not evaluated there."""
        parts = [part for part in self.parts()[:-1] if part.label == env]
        if parts:
            return replace(parts[0], label=self.label)
        return self if self.report.run.env == env and not self.series.by_env else None
