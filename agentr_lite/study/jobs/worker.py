"""The process that runs one cell of a study: what ``agentr-lite study --jobs N`` starts.

The study to work on comes as one line of JSON on stdin. The pipe stays open after it. Its end
means that the process at the other end is gone; this one then stops as on Ctrl-C.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

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
from agentr_lite.study.jobs.work import work_off


def main(order: str) -> int:
    """Work off the cell that ``order`` names.

    Args:
        order: JSON with ``study``, ``overrides``, ``quick``, ``cell`` and ``db``.

    Returns:
        The exit code; what went wrong is on stderr.
    """
    try:
        return _work(json.loads(order))
    except KeyboardInterrupt:
        say("interrupted; what was finished is kept")
        return EXIT_INTERRUPTED
    except (AgentrError, OSError) as error:
        known = error if isinstance(error, AgentrError) else from_os_error(error)
        say(f"Error: {clean(known.message, keep='')}")
        if known.hint:
            say(f"Hint: {clean(known.hint, keep='')}")
        return known.exit_code


def _work(order: dict[str, Any]) -> int:
    from agentr_lite.store import Store
    from agentr_lite.study.jobs.cells import study_cells
    from agentr_lite.study.recipe import load_study

    study = load_study(order["study"], order["overrides"], quick=order["quick"])
    cells = [cell for cell in study_cells(study) if cell.name == order["cell"]]
    if not cells:
        raise UsageError(f"study {study.name} has no cell {order['cell']}")
    with Store.open(Path(order["db"]), create=False) as store, Progress() as progress:
        _, result = work_off(store, cells[0], progress)
    return EXIT_SOME_TASKS_FAILED if result.failed_tasks else EXIT_OK


def leave_with_parent() -> None:
    """Interrupt this process at the end of stdin: nobody is left to collect the work."""

    # A study that runs in the background of a shell has it ignored, and so had this process.
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def watch() -> None:
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=watch, daemon=True).start()


def read_order() -> str:
    """The first line of stdin, read no further than its end."""
    line = bytearray()
    while (byte := os.read(0, 1)) not in (b"", b"\n"):
        line += byte
    return line.decode()


if __name__ == "__main__":
    given = read_order()
    leave_with_parent()
    sys.exit(main(given))
