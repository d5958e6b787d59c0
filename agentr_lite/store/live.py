"""What a running stage does at this moment, so that other processes can show it."""

from __future__ import annotations

from dataclasses import dataclass

from agentr_lite.store.database import Store
from agentr_lite.store.decoding import record
from agentr_lite.store.records import Stage
from agentr_lite.store.runs import now_utc


@dataclass(frozen=True, slots=True)
class LiveRow:
    """The progress of the stage that a process works on; a run has one at most."""

    run_id: str
    round: int
    stage: Stage
    label: str
    """What is counted, e.g. ``round 1 search, simulations``."""
    count: int
    total: int | None
    """None: unknown."""
    note: str
    """What it does now: the task and the step."""
    tokens_per_s: float | None
    """Generated tokens; None where the stage generates none."""
    part_left_s: float | None
    """Seconds until ``total`` is reached; None: unknown."""
    run_left_s: float | None
    """Seconds until the whole run ends; None: unknown."""
    updated_utc: str = ""


def save_live(store: Store, row: LiveRow) -> None:
    """Replace what is stored about a run's present work; its time is now."""
    store.execute(
        "INSERT OR REPLACE INTO live (run_id, round, stage, label, count, total, note,"
        " tokens_per_s, part_left_s, run_left_s, updated_utc)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            row.run_id,
            row.round,
            row.stage,
            row.label,
            row.count,
            row.total,
            row.note,
            row.tokens_per_s,
            row.part_left_s,
            row.run_left_s,
            now_utc(),
        ),
    )


def get_live(store: Store, run_id: str) -> LiveRow | None:
    """What a run's stage does now, as it last said itself; None where no stage is at work."""
    row = store.row("SELECT * FROM live WHERE run_id = ?", (run_id,))
    return None if row is None else record(LiveRow, dict(row), "live")


def clear_live(store: Store, run_id: str) -> None:
    """Forget a run's present work: its stage has ended."""
    store.execute("DELETE FROM live WHERE run_id = ?", (run_id,))
