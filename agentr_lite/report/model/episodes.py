"""Evaluated episodes: their marks, two rounds' episodes compared, and all of a run by task."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agentr_lite.console.outcomes import (
    BROKEN,
    CUT_EPISODE,
    FAILED,
    FAILED_TWICE,
    FATAL,
    GAINED,
    KEPT,
    LOST,
    ONCE,
    OVERFLOWED,
    PARTIAL,
    SOLVED,
    Mark,
    turn_mark,
)
from agentr_lite.core.rounds import round_name
from agentr_lite.core.steps import Step
from agentr_lite.metrics.episode_pairs import flip, kept
from agentr_lite.metrics.episodes import OVERFLOW, is_faulty
from agentr_lite.store.database import Store
from agentr_lite.store.evals import list_eval_items, list_evals
from agentr_lite.store.records import EvalItemRow, EvalMode, EvalRow, TaskRow
from agentr_lite.store.runs import get_run

Key = tuple[int, int]
"""What an episode is called within its evaluation: (task id, sample)."""
NO_ACTION_TITLE = "(no action)"
"""What stands for the action of a turn without one."""


@dataclass(frozen=True, slots=True)
class Evaluated:
    """All rounds' episodes of one kind of evaluation: one mode on one split."""

    mode: EvalMode
    split: str
    rounds: Sequence[EvalRow]
    """The evaluations, by round."""
    names: Sequence[str]
    """The rounds' names."""
    tasks: Mapping[Key, TaskRow]
    """All tasks that a round has played; those that a reader asks for first come first."""
    played: Sequence[Mapping[Key, EvalItemRow]]
    """The episodes of each round."""

    @property
    def has_several_envs(self) -> bool:
        """Whether the tasks are of more than one environment."""
        return len({task.env for task in self.tasks.values()}) > 1

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Every two rounds, as places in ``rounds``, the earlier one first."""
        return list(itertools.combinations(range(len(self.rounds)), 2))


def load_evaluated(store: Store, run_id: str) -> list[Evaluated]:
    """A run's evaluations with their whole episodes, by mode and split.

    The tasks come in the order in which they tell most: those that the rounds do not agree on,
    those that none solved, the others; within each, by their ids.
    """
    imitates = get_run(store, run_id).imitates
    kinds: dict[tuple[EvalMode, str], list[EvalRow]] = {}
    for row in list_evals(store, run_id):
        kinds.setdefault((row.mode, row.split), []).append(row)
    found = []
    for (mode, split), rows in kinds.items():
        rows.sort(key=lambda row: row.round)
        played: list[dict[Key, EvalItemRow]] = [
            {(item.task.id, item.sample): item for item in list_eval_items(store, row.id)}
            for row in rows
        ]
        tasks = {key: item.task for items in played for key, item in items.items()}
        order = sorted(tasks, key=lambda key: (_rank([items.get(key) for items in played]), key))
        names = [round_name(row.round, imitates=imitates) for row in rows]
        if tasks:
            ordered = {key: tasks[key] for key in order}
            found.append(Evaluated(mode, split, rows, names, ordered, played))
    return found


def _rank(items: Sequence[EvalItemRow | None]) -> int:
    """0 for a task that the rounds do not agree on, 1 for one that none solved, 2 for others."""
    solved = {item.success for item in items if item is not None and not is_faulty(item)}
    return 0 if len(solved) > 1 else 2 if True in solved else 1


def episode_mark(item: EvalItemRow) -> Mark:
    """The mark of an episode in a list: from its reward, and without any from its last step."""
    if is_faulty(item):
        return BROKEN
    if item.success:
        return SOLVED
    if item.reward > 0:
        return PARTIAL
    last = item.episode[-1].step if item.episode else None
    if last is not None and last.disaster:
        return FATAL
    return CUT_EPISODE if last is not None and last.truncated else FAILED


def episode_end(item: EvalItemRow, steps: Sequence[Step]) -> Mark:
    """How an evaluated episode ended: at an end, at a limit, or with a failed environment."""
    if is_faulty(item):
        return BROKEN
    if item.error == OVERFLOW:
        return OVERFLOWED
    if steps and (steps[-1].terminated or steps[-1].disaster):
        return turn_mark(steps[-1])
    # An evaluation goes on until an end or a limit. Older databases do not mark the last step.
    return CUT_EPISODE


def outcome_mark(before: EvalItemRow | None, now: EvalItemRow | None) -> Mark:
    """What became of a task from one round to another."""
    if before is None or now is None:
        return ONCE
    if is_faulty(before) or is_faulty(now):
        return BROKEN
    if flipped := flip(before, now):
        return GAINED if flipped > 0 else LOST
    return KEPT if kept(before, now) else FAILED_TWICE


def difference_sentence(
    names: tuple[str, str],
    left: Sequence[str] | None,
    right: Sequence[str] | None,
    shared: int,
) -> str:
    """Where two episodes of a task part, in a sentence.

    Args:
        names: who played them.
        left: the actions of the earlier round's episode, each in one line and
            ``NO_ACTION_TITLE`` where a turn has none; None: not played.
        right: those of the later round's.
        shared: how many steps are the same in both, see ``same_steps``.
    """
    if left is None or right is None:
        return f"{names[0] if left is None else names[1]} has not played this task."
    if shared == len(left) == len(right):
        return "The two episodes are the same."
    if shared >= min(len(left), len(right)):
        longer = names[0] if len(left) > shared else names[1]
        return f"The same up to step {shared}; only {longer} goes on."
    first, second = left[shared], right[shared]
    begin = f"They differ from step {shared + 1} on"
    if first != second:
        return f"{begin}: {first} against {second}."
    if first == NO_ACTION_TITLE:
        return f"{begin}: neither turn holds an action."
    return f"{begin}: the same action, but the environment answered differently."
