"""Two rounds on the same tasks, task by task: which were gained, which were lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from agentr_lite.core.rounds import START, reference_round
from agentr_lite.metrics.evaluation import match
from agentr_lite.store import Store
from agentr_lite.store.evals import list_eval_items, list_evals
from agentr_lite.store.records import EvalItemRow, EvalMode
from agentr_lite.store.runs import get_run

Change = Literal["gained", "lost", "same"]


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
    """The tasks that a round and the one it started from have both played once in one mode.

    Args:
        store: the database.
        run_id: the run.
        round_index: which round is compared with the base.
        mode: ``greedy`` or ``recovery``; a task that is sampled is neither gained nor lost.
        split: whose tasks.
    """
    reference = reference_round(round_index, imitates=get_run(store, run_id).imitates)
    items = []
    for number in (round_index, START if reference is None else reference):
        rows = list_evals(store, run_id, round_index=number, mode=mode)
        row = next((row for row in rows if row.split == split), None)
        items.append(list_eval_items(store, row.id, with_episodes=False) if row else [])
    return [TaskPair(base, now) for now, base in match(items[0], items[1])]
