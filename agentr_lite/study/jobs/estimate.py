"""How long a study's cells would take here: a probe in each environment, and each stage once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from agentr_lite.recipe.settings import Recipe
from agentr_lite.runs.checks.run import CheckedRun
from agentr_lite.runs.estimate.plan import estimated
from agentr_lite.runs.estimate.stages import Estimate, Seconds, estimate_run
from agentr_lite.study.jobs.cells import Cell
from agentr_lite.study.jobs.requirements import CheckedStudy
from agentr_lite.study.jobs.status import CellStatus, reuse_key


@dataclass(frozen=True, slots=True)
class CellEstimate:
    """How long one cell would take, without the stages that an earlier cell computes for it."""

    cell: Cell
    seconds: Seconds


@dataclass(frozen=True, slots=True)
class StudyEstimate:
    """How long the cells that are not finished would take on this machine."""

    cells: Sequence[CellEstimate]
    jobs: int
    """How many run at once."""
    lacks_training: bool
    """Whether how fast a cell trains is not known, and not counted."""

    @property
    def total(self) -> Seconds:
        """All of them; with several jobs, if these share the work evenly."""
        whole = sum((entry.seconds for entry in self.cells), Seconds())
        return Seconds(whole.low / self.jobs, whole.high / self.jobs)

    def by_method(self) -> list[tuple[str, int, Seconds]]:
        """(``ENV/METHOD``, its cells, all of them together)."""
        groups: dict[str, list[Seconds]] = {}
        for entry in self.cells:
            name = f"{entry.cell.env}/{entry.cell.method}"
            groups.setdefault(name, []).append(entry.seconds)
        return [(name, len(of), sum(of, Seconds())) for name, of in groups.items()]

    def to_json(self) -> dict[str, Any]:
        """Every cell and the total, in seconds."""
        return {
            "low_s": round(self.total.low, 1),
            "high_s": round(self.total.high, 1),
            "jobs": self.jobs,
            "cells": [
                {
                    "cell": entry.cell.name,
                    "low_s": round(entry.seconds.low, 1),
                    "high_s": round(entry.seconds.high, 1),
                }
                for entry in self.cells
            ],
        }


def estimated_study(
    checked: CheckedStudy, status: Sequence[CellStatus], *, jobs: int
) -> tuple[CheckedStudy, StudyEstimate | None]:
    """Measure how fast the cells of a permitted study would be.

    Args:
        checked: what was found.
        status: of the cells that are asked for, in the order of the work; a stage of a finished
            cell costs nothing any more.
        jobs: how many cells run at once.

    Returns:
        The same, with what the probes have found, and the estimate; None if the study is refused,
        or if the cells of an environment could not be measured.
    """
    probes: dict[str, tuple[CheckedRun, Estimate]] = {}
    for env, run in checked.runs.items():
        if checked.refusal is not None:
            return checked, None
        probed, estimate = estimated(run)
        checked = checked.with_run(env, probed)
        if estimate is None:
            return checked, None
        probes[env] = (probed, estimate)
    if checked.refusal is not None:
        return checked, None
    available = {
        key
        for entry in status
        if entry.state == "done"
        for number, stage in entry.cell_stages
        if (key := reuse_key(entry.cell, number, stage)) is not None
    }
    cells = [
        _cell(entry.cell, *probes[entry.cell.env], available)
        for entry in status
        if entry.state not in ("done", "impossible")
    ]
    lacks = any(estimate.lacks_training for _, estimate in probes.values())
    return checked, StudyEstimate(cells, jobs, lacks)


def _cell(
    cell: Cell, checked: CheckedRun, probe: Estimate, available: set[tuple[str, str]]
) -> CellEstimate:
    """One cell; its stages that others reuse are added to ``available``."""
    name = cell.recipe.environment.name
    # The checks give an environment in a file its absolute path.
    counts = {name: next(iter(checked.tasks.values()))}
    speeds = replace(probe.speeds, games=_renamed(probe.speeds.games, name))
    estimate = estimate_run(_counted(cell), counts, speeds)
    seconds = Seconds(probe.speeds.load_s, probe.speeds.load_s)
    for stage in estimate.stages:
        key = reuse_key(cell, stage.round, stage.stage)
        if key is not None and key in available:
            continue
        seconds += stage.seconds
        if key is not None:
            available.add(key)
    return CellEstimate(cell, seconds)


def _renamed(games: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {name: next(iter(games.values()))}


def _counted(cell: Cell) -> Recipe:
    """The cell's recipe; what another cell has to count first is as much as it may be."""
    if cell.counted is None:
        return cell.recipe
    search, splice = cell.counted.search, cell.counted.splice
    per_task = splice.pairs_per_task + (splice.good_per_task or search.simulations)
    most = cell.counted.train.max_examples or search.tasks * per_task
    further = (most,) * cell.recipe.rounds
    return replace(cell.recipe, imitation=replace(cell.recipe.imitation, further=further))
