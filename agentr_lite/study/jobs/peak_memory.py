"""The most memory that a process held during each stage of a cell, recorded with the stage."""

from __future__ import annotations

import sys
from pathlib import Path

from agentr_lite.store import Store
from agentr_lite.store.records import Stage
from agentr_lite.store.runs import stage_status

PEAK = "peak_memory_bytes"
"""Its name among a stage's counts."""
_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"
"""What Linux takes there to begin the peak anew; see proc(5)."""


class PeakMemory:
    """Measures the stages that this process works on.

    Only this process counts, without those that it starts, such as a game's own.
    """

    def __init__(self, store: Store, run_id: str) -> None:
        self._store = store
        self._run_id = run_id
        self._measures = False

    def begin(self, number: int, stage: Stage) -> None:
        """Begin a stage; one that is finished already keeps what was measured."""
        row = stage_status(self._store, self._run_id, number, stage)
        self._measures = row is None or not row.finished
        reset_peak()

    def end(self, number: int, stage: str) -> None:
        """Record the peak of a stage that has just been finished."""
        if self._measures:
            self._store.execute(
                f"UPDATE rounds SET summary = json_set(summary, '$.{PEAK}', ?)"
                " WHERE run_id = ? AND round = ? AND stage = ?",
                (peak_bytes(), self._run_id, number, stage),
            )


def reset_peak() -> bool:
    """Begin the peak anew; False where the system cannot: it then is that since the start."""
    try:
        _CLEAR.write_text(_RESET_PEAK)
    except OSError:
        return False
    return True


def peak_bytes() -> int:
    """The most memory that this process held since ``reset_peak``."""
    if _STATUS.exists():
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS counts bytes, the others count units of 1024.
    return peak if sys.platform == "darwin" else peak * 1024
