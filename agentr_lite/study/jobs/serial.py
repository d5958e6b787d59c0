"""Runs a study's cells one after the other in this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from agentr_lite.console.progress import Progress
from agentr_lite.console.streams import say, warn
from agentr_lite.console.text import format_duration
from agentr_lite.core.errors import AgentrError, HeldError, StoreError
from agentr_lite.runs.stages.waves import Executor
from agentr_lite.store import Store
from agentr_lite.study.jobs.cells import Cell
from agentr_lite.study.jobs.model_digests import ModelDigests
from agentr_lite.study.jobs.outcome import StudyOutcome
from agentr_lite.study.jobs.resolution import resolve_cell
from agentr_lite.study.jobs.run_cell import run_cell
from agentr_lite.study.jobs.run_index import RunIndex


def run_cells(
    store: Store,
    cells: Sequence[Cell],
    *,
    on_finished: Callable[[Cell], None],
    progress: Progress | None = None,
    executor: Executor | None = None,
    mark: str = "",
) -> StudyOutcome:
    """Run cells one after the other.

    A cell that fails is reported, and the next ones are run. A failure of the database ends the
    study.

    Args:
        store: the database.
        cells: in the order in which they are run.
        on_finished: called after each cell that this call finished.
        progress: narration; default: on stderr.
        executor: where waves are done; None: in this process.
        mark: a part of the ids of new runs; see ``create_run``.

    Raises:
        StoreError: the database cannot be used.
        KeyboardInterrupt: passed on; what was committed is kept.
    """
    index, digests, outcome = RunIndex(store), ModelDigests(), StudyOutcome()
    narration = progress or Progress()
    for cell in cells:
        resolution = resolve_cell(store, index, digests, cell)
        if resolution.finished:
            continue
        if resolution.recipe is None:
            outcome.owed[cell.name] = resolution.reason
            continue
        started = time.monotonic()
        try:
            with narration:
                _, result = run_cell(
                    store,
                    cell,
                    narration,
                    index=index,
                    digests=digests,
                    executor=executor,
                    mark=mark,
                )
        except AgentrError as error:
            if isinstance(error, StoreError) and not isinstance(error, HeldError):
                raise
            outcome.failed[cell.name] = error.message
            warn(f"{cell.name} failed: {error.message}", hint=error.hint)
            continue
        outcome.finished.append(cell.name)
        outcome.some_tasks_failed |= result.failed_tasks > 0
        say(f"{cell.name}: finished in {format_duration(time.monotonic() - started)}")
        on_finished(cell)
    return outcome
