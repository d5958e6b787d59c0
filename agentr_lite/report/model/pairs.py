"""Two rounds on the same tasks, task by task: which were gained, which were lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from agentr_lite.console.outcomes import round_name
from agentr_lite.console.text import Styled
from agentr_lite.metrics.evaluation import match
from agentr_lite.report.tables.run import Section
from agentr_lite.report.words import Cell, decimal
from agentr_lite.store import Store
from agentr_lite.store.evals import list_eval_items, list_evals
from agentr_lite.store.records import EvalItemRow, EvalMode

Change = Literal["gained", "lost", "same"]
SHOWN = 20
"""Tasks of each kind in a table."""


@dataclass(frozen=True, slots=True)
class TaskPair:
    """One task as the base played it and as a round did."""

    base: EvalItemRow
    now: EvalItemRow

    @property
    def change(self) -> Change:
        """Whether the round solves what the base does not, or the other way round."""
        if self.base.success == self.now.success:
            return "same"
        return "gained" if self.now.success else "lost"

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        task = self.now.task
        return {
            "env": task.env,
            "task": task.name,
            "level": task.level,
            "change": self.change,
            "base": _side(self.base),
            "now": _side(self.now),
        }


def _side(item: EvalItemRow) -> dict[str, Any]:
    return {"success": item.success, "reward": item.reward, "steps": item.steps}


def task_pairs(
    store: Store, run_id: str, round_index: int, mode: EvalMode, split: str
) -> list[TaskPair]:
    """The tasks that the base and a round have both played once in one mode.

    Args:
        store: the database.
        run_id: the run.
        round_index: which round is compared with the base.
        mode: ``greedy`` or ``recovery``; sampled tasks are neither won nor lost.
        split: whose tasks.
    """
    items = []
    for number in (round_index, 0):
        rows = list_evals(store, run_id, round_index=number, mode=mode)
        row = next((row for row in rows if row.split == split), None)
        items.append(list_eval_items(store, row.id, with_episodes=False) if row else [])
    return [TaskPair(base, now) for now, base in match(items[0], items[1])]


def paired_section(
    pairs: Sequence[TaskPair], round_index: int, *, mode: str, split: str, limit: int = SHOWN
) -> Section:
    """The tasks that changed; no rows where none did.

    Args:
        pairs: from ``task_pairs``.
        round_index: the round.
        mode: how they were played.
        split: whose tasks.
        limit: at most so many tasks gained, and as many lost.
    """
    name = round_name(round_index)
    several = len({pair.now.task.env for pair in pairs}) > 1
    rows: list[list[Cell]] = []
    notes: list[str | Styled] = []
    marks: tuple[tuple[Change, str, str], ...] = (("gained", "+", "green"), ("lost", "−", "red"))
    for change, mark, colour in marks:
        found = [pair for pair in pairs if pair.change == change]
        for pair in found[:limit]:
            task = pair.now.task
            rows.append(
                [
                    Styled(f"{mark} {task.name}", fg=colour),
                    *([task.env] if several else []),
                    task.level,
                    *(cell for item in (pair.base, pair.now) for cell in _cells(item)),
                ]
            )
        if len(found) > limit:
            notes.append(f"… {len(found) - limit} more {change}; --json has all.")
    notes.append(f"+ solved by {name} alone, − by the base alone; {both_sides(pairs)}.")
    columns = ["", *(["environment"] if several else []), "level"]
    columns += ["base", "steps", name, "steps"]
    return Section(f"Tasks that changed on {split}, {mode}", columns, rows, notes)


def both_sides(pairs: Sequence[TaskPair]) -> str:
    """``both solve 14, neither 19``."""
    same = [pair for pair in pairs if pair.change == "same"]
    both = sum(pair.now.success for pair in same)
    return f"both solve {both}, neither {len(same) - both}"


def _cells(item: EvalItemRow) -> list[Cell]:
    return [decimal(item.reward, 2), item.steps]
