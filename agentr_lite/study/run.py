"""Runs the cells of a study and writes the tables after each of them."""

from __future__ import annotations

from collections.abc import Sequence

from agentr_lite.console.streams import say, warn
from agentr_lite.core.config import artifacts_dir
from agentr_lite.core.errors import from_os_error
from agentr_lite.runs.claim import claimed
from agentr_lite.runs.stages.waves import Executor
from agentr_lite.store import Store
from agentr_lite.study.jobs.cell_job import CellJob
from agentr_lite.study.jobs.cells import Cell, study_cells
from agentr_lite.study.jobs.outcome import StudyOutcome
from agentr_lite.study.jobs.pool import ProcessPool
from agentr_lite.study.jobs.serial import run_cells
from agentr_lite.study.jobs.status import study_status
from agentr_lite.study.recipe import StudyRecipe
from agentr_lite.study.writeup.writer import Writer


def run_study(
    store: Store,
    study: StudyRecipe,
    cells: Sequence[Cell],
    writer: Writer,
    *,
    job: CellJob,
    processes: int,
    executor: Executor | None = None,
) -> StudyOutcome:
    """Run the cells that are not finished, after ``check_study`` has permitted it.

    Args:
        store: the database; the study is claimed in it, so that only one command works on it.
        study: the whole study.
        cells: the cells to run, in this order.
        writer: writes the tables after each cell.
        job: how another process finds the study and the database.
        processes: how many cells run at once; 1: in this process.
        executor: where the waves of a single process's cells are done; None: in this process.

    Raises:
        AgentrError: another process works on the study, or the database cannot be used.
        KeyboardInterrupt: passed on; what was committed is kept.
    """

    def write_tables(cell: Cell) -> None:
        try:
            writer.write()
        except OSError as error:
            # The tables can be written later; hours of computing must not end here.
            failure = from_os_error(error)
            warn(f"the tables could not be written: {failure.message}", hint=failure.hint)

    claim = f"{study.name}.study"
    with claimed(store, claim, f"study {study.name} in {store.path}"):
        status = study_status(store, study_cells(study), shown=cells)
        say(f"study {study.name}: {status.summary(processes)} · database {store.path}")
        if processes == 1:
            return run_cells(
                store, cells, on_finished=write_tables, executor=executor, mark=job.mark
            )
        return ProcessPool(
            store,
            cells,
            job=job,
            logs=artifacts_dir(store.path, claim) / "logs",
            processes=processes,
            on_finished=write_tables,
        ).run()
