"""The process that runs one cell of a study; ``agentr-lite study --jobs N`` starts it.

The cell comes as one line of JSON on stdin (see ``CellJob``). The pipe stays open after this line.
When the process at its other end is gone, the pipe ends, and this process stops as on Ctrl-C.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from agentr_lite.console.interrupts import terminations_interrupt
from agentr_lite.console.progress import Progress
from agentr_lite.console.streams import say
from agentr_lite.console.text import clean
from agentr_lite.core.errors import (
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_SOME_TASKS_FAILED,
    AgentrError,
    UsageError,
    from_os_error,
)
from agentr_lite.study.jobs.cell_job import CellJob
from agentr_lite.study.jobs.run_cell import run_cell


def main(line: str) -> int:
    """Run the cell that a line of JSON names.

    Args:
        line: a ``CellJob`` as JSON.

    Returns:
        The exit code; the reason for a failure is on stderr.
    """
    try:
        with terminations_interrupt():
            return _run(CellJob.from_json(line))
    except KeyboardInterrupt:
        say("interrupted; what was finished is kept")
        return EXIT_INTERRUPTED
    except (AgentrError, OSError) as error:
        failure = error if isinstance(error, AgentrError) else from_os_error(error)
        say(f"Error: {clean(failure.message, keep='')}")
        if failure.hint:
            say(f"Hint: {clean(failure.hint, keep='')}")
        return failure.exit_code


def _run(job: CellJob) -> int:
    from agentr_lite.store import Store
    from agentr_lite.study.jobs.cells import study_cells
    from agentr_lite.study.recipe import load_study

    study = load_study(job.study, job.overrides, quick=job.quick)
    cells = [cell for cell in study_cells(study) if cell.name == job.cell]
    if not cells:
        raise UsageError(f"study {study.name} has no cell {job.cell}")
    with Store.open(Path(job.db), create=False) as store, Progress() as progress:
        _, result = run_cell(store, cells[0], progress, mark=job.mark)
    return EXIT_SOME_TASKS_FAILED if result.failed_tasks else EXIT_OK


def stop_with_parent() -> None:
    """Interrupt this process at the end of stdin: then no process waits for its result."""

    # A shell that runs a study in the background makes it, and so this process, ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def watch() -> None:
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=watch, daemon=True).start()


def read_job() -> str:
    """The first line of stdin; nothing after it is read."""
    line = bytearray()
    while (byte := os.read(0, 1)) not in (b"", b"\n"):
        line += byte
    return line.decode()


if __name__ == "__main__":
    first_line = read_job()
    stop_with_parent()
    sys.exit(main(first_line))
