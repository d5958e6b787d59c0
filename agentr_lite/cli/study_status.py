"""What a study would do and how far it is: ``study --plan`` and ``study --status``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from agentr_lite.console.streams import emit, emit_json, emit_lines, emit_table, say

if TYPE_CHECKING:
    from agentr_lite.study.jobs.cells import Cell
    from agentr_lite.study.jobs.requirements import CheckedStudy
    from agentr_lite.study.jobs.status import StudyStatus
    from agentr_lite.study.recipe import StudyRecipe


def check_cells(path: Path, status: StudyStatus) -> CheckedStudy:
    """Check what the unfinished cells need; nothing is written."""
    from agentr_lite.study.jobs.requirements import check_study

    return check_study([entry.cell for entry in status.cells if entry.state != "done"], path)


def show_plan(
    recipe: StudyRecipe,
    path: Path,
    cells: Sequence[Cell],
    jobs: int,
    *,
    probes: bool,
    as_json: bool,
) -> int:
    """Print the study and what was checked; returns the exit code that the study would have."""
    import dataclasses

    import yaml

    from agentr_lite.cli.plan import (
        finding_lines,
        study_estimate_lines,
        verdict_json,
        verdict_line,
    )
    from agentr_lite.recipe.values import plain

    status = stored_status(path, recipe, cells)
    checked, estimate = check_cells(path, status), None
    if probes:
        from agentr_lite.study.jobs.estimate import estimated_study

        checked, estimate = estimated_study(checked, status.cells, jobs=jobs)
    data = plain(dataclasses.asdict(recipe))
    refusal = checked.refusal
    if as_json:
        timed = {"estimate": None if estimate is None else estimate.to_json()}
        emit_json({**data, **timed, **verdict_json(checked.findings, refusal)})
    else:
        emit(yaml.safe_dump(data, sort_keys=False, allow_unicode=True).rstrip("\n"))
        # Comments, so that the output is a study's file.
        lines = ["checked:", *finding_lines(checked.findings)]
        lines += study_estimate_lines(estimate) if estimate is not None else []
        lines.append(verdict_line(refusal, "study"))
        emit_lines(lines, lead="# ")
    return 0 if refusal is None else refusal.exit_code


def show_status(
    path: Path, recipe: StudyRecipe, cells: Sequence[Cell], jobs: int, as_json: bool
) -> None:
    """Print how far each cell is."""
    from agentr_lite.study.jobs.status import status_json, status_rows

    status = stored_status(path, recipe, cells)
    if as_json:
        emit_json(status_json(status, jobs))
        return
    emit_table(
        ["cell", "by seed", "spent", "to go", "note"],
        status_rows(status),
        align=["left", "left", "right", "right", "left"],
        keep=["cell"],
        hide=["spent"],
    )
    say(status.summary(jobs))


def stored_status(path: Path, recipe: StudyRecipe, cells: Sequence[Cell]) -> StudyStatus:
    """How far some cells of a study are, by a database that need not exist."""
    from agentr_lite.store.files import database_exists
    from agentr_lite.study.jobs.cells import study_cells
    from agentr_lite.study.jobs.status import study_status

    if not database_exists(path):
        return study_status(None, study_cells(recipe), shown=cells)
    from agentr_lite.store import Store

    with Store.open_to_read(path) as store:
        return study_status(store, study_cells(recipe), shown=cells)
