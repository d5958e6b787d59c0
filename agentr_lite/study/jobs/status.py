"""The state of a study: which cells are done, and how long the others may take."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from agentr_lite.console.text import format_duration
from agentr_lite.core.rounds import START
from agentr_lite.recipe.imitation import ImitationSettings
from agentr_lite.recipe.settings import Recipe
from agentr_lite.runs.claim import is_claimed
from agentr_lite.runs.pipeline import planned_stages
from agentr_lite.store import Store
from agentr_lite.store.records import RoundRow, RunRow, Stage
from agentr_lite.store.runs import list_stages
from agentr_lite.study.jobs.cells import Cell
from agentr_lite.study.jobs.model_digests import ModelDigests
from agentr_lite.study.jobs.resolution import resolve_cell
from agentr_lite.study.jobs.run_index import RunIndex

State = Literal["done", "at work", "cut", "failed", "owed", "impossible"]


@dataclass(frozen=True, slots=True)
class CellStatus:
    """The state of one cell."""

    cell: Cell
    state: State
    run_id: str | None
    stages: int
    """Finished stages, of ``stages_total``."""
    stages_total: int
    wall_s: float
    """Seconds of work so far, without the stages that were copied from other runs."""
    left_s: float | None
    """Estimated seconds to go, from the time of the same stages in other cells; None: unknown."""
    note: str = ""
    """Why the cell waits, failed or cannot be run."""

    @property
    def cell_stages(self) -> list[tuple[int, Stage]]:
        """(round, stage) of the whole run, in the order of the work."""
        return _plan(self.cell.recipe)


@dataclass(frozen=True, slots=True)
class StudyStatus:
    """The state of several cells."""

    cells: Sequence[CellStatus]

    def count(self, state: State) -> int:
        """Number of cells in a state."""
        return sum(cell.state == state for cell in self.cells)

    def left_s(self, jobs: int) -> float | None:
        """Estimated seconds to go with ``jobs`` processes.

        None until every environment that is still needed has been measured.
        """
        open_cells = [cell for cell in self.cells if cell.state not in ("done", "impossible")]
        known = [cell.left_s for cell in open_cells if cell.left_s is not None]
        if len(known) < len(open_cells):
            return None
        return sum(known) / max(1, jobs)

    def summary(self, jobs: int) -> str:
        """``12 of 45 done, 2 at work, 1 cut, 30 owed; about 3h 10m to go``."""
        counts = [f"{self.count('done')} of {len(self.cells)} done"]
        states: tuple[State, ...] = ("at work", "cut", "failed", "owed", "impossible")
        counts += [f"{self.count(state)} {state}" for state in states if self.count(state)]
        left = self.left_s(jobs)
        text = ", ".join(counts)
        if all(cell.state in ("done", "impossible") for cell in self.cells):
            return text
        if left is None:
            return f"{text}; the remaining time is not known yet"
        if left < 1:
            return f"{text}; almost no work left"
        with_jobs = f" with {jobs} processes" if jobs > 1 else ""
        return f"{text}; about {format_duration(left)} to go{with_jobs}"


def study_status(
    store: Store | None,
    cells: Sequence[Cell],
    *,
    shown: Collection[Cell] | None = None,
) -> StudyStatus:
    """Find the state of every cell.

    Args:
        store: the database; None if there is none yet.
        cells: all cells of the study: a stage that one of them has finished, others reuse.
        shown: the cells whose state is returned; None: all.
    """
    wanted = cells if shown is None else shown
    if store is None:
        return StudyStatus(
            [CellStatus(c, "owed", None, 0, stage_count(c.recipe), 0.0, None) for c in wanted]
        )
    index, digests = RunIndex(store), ModelDigests()
    resolutions = [(cell, resolve_cell(store, index, digests, cell)) for cell in cells]
    runs = {cell.name: resolved.run for cell, resolved in resolutions if resolved.run is not None}
    stages = {run.id: list_stages(store, run.id) for run in runs.values()}
    copies = _copies(runs.values(), stages)
    times = _stage_times(runs, stages, copies, {cell.name: cell.env for cell in cells})
    available = {
        key
        for cell, resolved in resolutions
        if resolved.run is not None
        for row in stages[resolved.run.id]
        if row.finished and (key := reuse_key(cell, row.round, row.stage)) is not None
    }
    names = {cell.name for cell in wanted}
    rows = []
    for cell, resolved in resolutions:
        if cell.name not in names:
            continue
        total = stage_count(cell.recipe)
        run = resolved.run
        if run is None:
            left = _time_left(cell, times, (), available)
            state: State = "owed" if resolved.possible else "impossible"
            rows.append(CellStatus(cell, state, None, 0, total, 0.0, left, resolved.reason))
            continue
        finished = {(row.round, row.stage) for row in stages[run.id] if row.finished}
        wall = sum(
            row.wall_s for row in stages[run.id] if (run.id, row.round, row.stage) not in copies
        )
        state = _state(store, run) if resolved.possible else "impossible"
        left = (
            0.0 if state in ("done", "impossible") else _time_left(cell, times, finished, available)
        )
        count = total if state == "done" else len(finished)
        rows.append(CellStatus(cell, state, run.id, count, total, wall, left, run.error or ""))
    return StudyStatus(rows)


def stage_count(recipe: Recipe) -> int:
    """Stages of a whole run: the base's evaluation and four in each round; imitation adds two."""
    return len(_plan(recipe))


def _plan(recipe: Recipe) -> list[tuple[int, Stage]]:
    stages = planned_stages(recipe.rounds, imitates=recipe.imitates, searches=recipe.searches)
    return [(number, stage.name) for number, stage in stages]


def _state(store: Store, run: RunRow) -> State:
    if run.status == "finished":
        return "done"
    if is_claimed(store, run.id):
        return "at work"
    return "failed" if run.status == "failed" else "cut"


def _copies(
    runs: Iterable[RunRow], stages: Mapping[str, Sequence[RoundRow]]
) -> set[tuple[str, int, Stage]]:
    """(run, round, stage) of copies: an older run has the same stage with the same times."""
    owners: dict[tuple[int, Stage, str, str | None], str] = {}
    copies = set()
    for run in sorted(runs, key=lambda run: (run.created_utc, run.id)):
        for row in stages[run.id]:
            key = (row.round, row.stage, row.started_utc, row.finished_utc)
            if owners.setdefault(key, run.id) != run.id:
                copies.add((run.id, row.round, row.stage))
    return copies


def _stage_times(
    runs: Mapping[str, RunRow],
    stages: Mapping[str, Sequence[RoundRow]],
    copies: set[tuple[str, int, Stage]],
    env_of: Mapping[str, str],
) -> dict[tuple[str, Stage], float]:
    """(environment, stage) to mean seconds."""
    times: dict[tuple[str, Stage], list[float]] = {}
    for name, run in runs.items():
        for row in stages[run.id]:
            if row.finished and (run.id, row.round, row.stage) not in copies:
                times.setdefault((env_of[name], row.stage), []).append(row.wall_s)
    return {key: sum(values) / len(values) for key, values in times.items()}


def _time_left(
    cell: Cell,
    times: Mapping[tuple[str, Stage], float],
    finished: Iterable[tuple[int, Stage]],
    available: set[tuple[str, str]],
) -> float | None:
    """Estimated seconds that a cell still needs; None: a stage has not been measured yet.

    A stage that an earlier cell will compute is not counted twice: its key is added to
    ``available`` (see ``reuse_key``).
    """
    done = set(finished)
    total = 0.0
    for number, stage in _plan(cell.recipe):
        key = reuse_key(cell, number, stage)
        if (number, stage) in done or key in available:
            continue
        if key is not None:
            available.add(key)
        if (cell.env, stage) not in times:
            return None
        total += times[cell.env, stage]
    return total


def reuse_key(cell: Cell, number: int, stage: str) -> tuple[str, str] | None:
    """Cells with the same key reuse one stage; None: the stage is the cell's own."""
    if number < 1:
        imitation = str((stage, _first(cell.recipe), cell.seed))
        return (
            cell.env,
            "base"
            if not cell.recipe.imitates
            else imitation
            if number == START
            else "base before imitation",
        )
    if (number, stage) == (1, "search"):
        start = (_first(cell.recipe),) if cell.recipe.imitates else ()
        return (cell.env, str((cell.recipe.search, cell.seed, *start)))
    return None


def _first(recipe: Recipe) -> ImitationSettings:
    """The settings of the imitation before the rounds, whatever the rounds imitate."""
    return replace(recipe.imitation, further=())


def status_rows(status: StudyStatus) -> list[list[Any]]:
    """One row per environment and method: a mark for each seed, time spent, time to go."""
    rows: list[list[Any]] = []
    groups: dict[tuple[str, str], list[CellStatus]] = {}
    for entry in status.cells:
        cell = entry.cell
        groups.setdefault((cell.env, cell.method), []).append(entry)
    for (env, method), members in groups.items():
        marks = ", ".join(f"{member.cell.seed} {_mark(member)}" for member in members)
        known = [member.left_s for member in members]
        left = None if None in known else sum(filter(None, known))
        wall = sum(member.wall_s for member in members)
        notes = "; ".join(dict.fromkeys(member.note for member in members if member.note))
        rows.append(
            [
                f"{env}/{method}",
                marks,
                format_duration(wall) if wall else None,
                format_duration(left) if left else None,
                notes or None,
            ]
        )
    return rows


def _mark(status: CellStatus) -> str:
    if status.state in ("at work", "cut", "failed"):
        return f"{status.state} ({status.stages}/{status.stages_total})"
    return status.state


def status_json(status: StudyStatus, jobs: int) -> dict[str, Any]:
    """The state as data for programs."""
    return {
        "cells": [
            {
                "cell": entry.cell.name,
                "env": entry.cell.env,
                "method": entry.cell.method,
                "seed": entry.cell.seed,
                "ablation": entry.cell.ablation or None,
                "state": entry.state,
                "run": entry.run_id,
                "stages": entry.stages,
                "stages_total": entry.stages_total,
                "wall_s": entry.wall_s,
                "left_s": entry.left_s,
                "note": entry.note or None,
            }
            for entry in status.cells
        ],
        "done": status.count("done"),
        "left_s": status.left_s(jobs),
        "jobs": jobs,
    }
