"""Where a study stands: what is done, at work, cut or owed, and how long the rest may take."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from agentr_lite.console.text import format_duration
from agentr_lite.recipe.settings import Recipe
from agentr_lite.store import Store
from agentr_lite.store.records import RunRow, Stage
from agentr_lite.store.runs import list_stages
from agentr_lite.study.jobs.cells import Cell
from agentr_lite.study.jobs.sharing import Runs
from agentr_lite.study.jobs.work import Digests, resolve

State = Literal["done", "at work", "cut", "failed", "owed", "impossible"]
IsHeld = Callable[[Store, str], bool]
"""(database, run) to whether a process works on it now."""

_ROUND_STAGES: tuple[Stage, ...] = ("search", "splice", "train", "eval")


@dataclass(frozen=True, slots=True)
class CellStatus:
    """One cell."""

    cell: Cell
    state: State
    run_id: str | None
    stages: int
    """Stages that are through, of ``stages_total``."""
    stages_total: int
    wall_s: float
    """Seconds of work so far; what was copied from other runs is not in it."""
    left_s: float | None
    """Seconds to go, by what the same stages took elsewhere; None: nothing measured yet."""
    note: str = ""
    """Why it waits, failed or cannot be done."""


@dataclass(frozen=True, slots=True)
class StudyStatus:
    """All cells."""

    cells: Sequence[CellStatus]
    measured: Mapping[tuple[str, Stage], float]
    """(environment, stage) to mean seconds."""

    def count(self, state: State) -> int:
        """Cells in a state."""
        return sum(one.state == state for one in self.cells)

    def left_s(self, jobs: int) -> float | None:
        """Seconds to go with so many processes, if they pay; None while an environment has not
        been measured."""
        wanted = [one for one in self.cells if one.state not in ("done", "impossible")]
        known = [one.left_s for one in wanted if one.left_s is not None]
        if len(known) < len(wanted):
            return None
        return sum(known) / max(1, jobs)

    def summary(self, jobs: int) -> str:
        """``12 of 45 done, 2 at work, 1 cut, 30 owed; about 3h 10m to go``."""
        parts = [f"{self.count('done')} of {len(self.cells)} done"]
        states: tuple[State, ...] = ("at work", "cut", "failed", "owed", "impossible")
        parts += [f"{self.count(state)} {state}" for state in states if self.count(state)]
        left = self.left_s(jobs)
        told = ", ".join(parts)
        if all(one.state in ("done", "impossible") for one in self.cells):
            return told
        if left is None:
            return f"{told}; nothing measured yet to tell how long"
        if left < 1:
            return f"{told}; next to nothing to do"
        many = f" with {jobs} processes" if jobs > 1 else ""
        return f"{told}; about {format_duration(left)} to go{many}"


def study_status(
    store: Store | None,
    cells: Sequence[Cell],
    *,
    is_held: IsHeld,
    digests: Digests | None = None,
    shown: Collection[Cell] | None = None,
) -> StudyStatus:
    """Look at every cell.

    Args:
        store: the database; None where there is none yet.
        cells: all of the study's: what one has played, others need not.
        is_held: whether a process works on a run.
        digests: of models, if they are known.
        shown: which cells to tell of; None: all.
    """
    if store is None:
        wanted = cells if shown is None else shown
        return StudyStatus(
            [CellStatus(c, "owed", None, 0, stage_count(c.recipe), 0.0, None) for c in wanted], {}
        )
    runs, digests = Runs(store), digests or Digests()
    found = [(cell, resolve(store, runs, digests, cell)) for cell in cells]
    have = {cell.name: one.run for cell, one in found if one.run is not None}
    played = {run.id: list_stages(store, run.id) for run in have.values()}
    copied = _copied(have.values(), played)
    measured = _measured(have, played, copied, {cell.name: cell.env for cell in cells})
    rows = []
    shared = {
        key
        for cell, one in found
        if one.run is not None
        for row in played[one.run.id]
        if row.finished and (key := _share(cell, row.round, row.stage)) is not None
    }
    names = {cell.name for cell in (cells if shown is None else shown)}
    for cell, one in found:
        if cell.name not in names:
            continue
        total = stage_count(cell.recipe)
        if one.run is None:
            left = _left(cell, measured, (), shared)
            state: State = "owed" if one.possible else "impossible"
            rows.append(CellStatus(cell, state, None, 0, total, 0.0, left, one.why))
            continue
        run = one.run
        through = {(row.round, row.stage) for row in played[run.id] if row.finished}
        wall = sum(
            row.wall_s for row in played[run.id] if (run.id, row.round, row.stage) not in copied
        )
        state = _state(store, run, is_held)
        left = 0.0 if state == "done" else _left(cell, measured, through, shared)
        done = total if state == "done" else len(through)
        rows.append(CellStatus(cell, state, run.id, done, total, wall, left, run.error or ""))
    return StudyStatus(rows, measured)


def stage_count(recipe: Recipe) -> int:
    """Stages of a whole run: the base's evaluation and four a round."""
    return 1 + len(_ROUND_STAGES) * recipe.rounds


def _state(store: Store, run: RunRow, is_held: IsHeld) -> State:
    if run.status == "finished":
        return "done"
    if is_held(store, run.id):
        return "at work"
    return "failed" if run.status == "failed" else "cut"


def _copied(
    runs: Iterable[RunRow], played: Mapping[str, Sequence[Any]]
) -> set[tuple[str, int, Stage]]:
    """Stages that are copies: an older run began and ended the stage at the same moments."""
    seen: dict[tuple[int, Stage, str, str | None], str] = {}
    found = set()
    for run in sorted(runs, key=lambda run: (run.created_utc, run.id)):
        for row in played[run.id]:
            key = (row.round, row.stage, row.started_utc, row.finished_utc)
            first = seen.setdefault(key, run.id)
            if first != run.id:
                found.add((run.id, row.round, row.stage))
    return found


def _measured(
    have: Mapping[str, RunRow],
    played: Mapping[str, Sequence[Any]],
    copied: set[tuple[str, int, Stage]],
    env_of: Mapping[str, str],
) -> dict[tuple[str, Stage], float]:
    times: dict[tuple[str, Stage], list[float]] = {}
    for name, run in have.items():
        for row in played[run.id]:
            if row.finished and (run.id, row.round, row.stage) not in copied:
                times.setdefault((env_of[name], row.stage), []).append(row.wall_s)
    return {key: sum(values) / len(values) for key, values in times.items()}


def _left(
    cell: Cell,
    measured: Mapping[tuple[str, Stage], float],
    through: Iterable[tuple[int, Stage]],
    shared: set[tuple[str, str]],
) -> float | None:
    """Seconds that a cell still takes; what earlier cells are going to share is not counted twice.

    ``shared`` grows: the base's evaluation of each environment, and each seed's first search.
    """
    done = set(through)
    wanted: list[tuple[int, Stage]] = [(0, "eval")]
    wanted += [(n, s) for n in range(1, cell.recipe.rounds + 1) for s in _ROUND_STAGES]
    total = 0.0
    for number, stage in wanted:
        share = _share(cell, number, stage)
        if (number, stage) in done or share in shared:
            continue
        if share is not None:
            shared.add(share)
        if (cell.env, stage) not in measured:
            return None
        total += measured[cell.env, stage]
    return total


def _share(cell: Cell, number: int, stage: Stage) -> tuple[str, str] | None:
    """What a stage shares with others' of the same name; None: nothing."""
    if (number, stage) == (0, "eval"):
        return (cell.env, "base")
    if (number, stage) == (1, "search"):
        return (cell.env, str((cell.recipe.search, cell.seed)))
    return None


def status_rows(status: StudyStatus) -> list[list[Any]]:
    """One row an environment and method: a mark for each seed, time spent, time to go."""
    rows: list[list[Any]] = []
    groups: dict[tuple[str, str], list[CellStatus]] = {}
    for one in status.cells:
        groups.setdefault((one.cell.env, one.cell.method), []).append(one)
    for (env, method), members in groups.items():
        marks = ", ".join(f"{one.cell.seed} {_mark(one)}" for one in members)
        known = [one.left_s for one in members]
        left = None if None in known else sum(filter(None, known))
        wall = sum(one.wall_s for one in members)
        notes = "; ".join(dict.fromkeys(one.note for one in members if one.note))
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


def _mark(one: CellStatus) -> str:
    if one.state in ("at work", "cut", "failed"):
        return f"{one.state} ({one.stages}/{one.stages_total})"
    return one.state


def status_json(status: StudyStatus, jobs: int) -> dict[str, Any]:
    """The same as data."""
    return {
        "cells": [
            {
                "cell": one.cell.name,
                "env": one.cell.env,
                "method": one.cell.method,
                "seed": one.cell.seed,
                "ablation": one.cell.ablation or None,
                "state": one.state,
                "run": one.run_id,
                "stages": one.stages,
                "stages_total": one.stages_total,
                "wall_s": one.wall_s,
                "left_s": one.left_s,
                "note": one.note or None,
            }
            for one in status.cells
        ],
        "done": status.count("done"),
        "left_s": status.left_s(jobs),
        "jobs": jobs,
    }
