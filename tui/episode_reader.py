"""Reads evaluated episodes, whole: the steps, and what the model had seen before them."""

from __future__ import annotations

from dataclasses import dataclass

from agentr_lite.console.outcomes import Mark
from agentr_lite.core.errors import UsageError
from agentr_lite.core.rounds import round_name
from agentr_lite.report.model.episodes import Key
from agentr_lite.store import Store
from agentr_lite.store.evals import get_eval_item
from agentr_lite.store.examples import list_examples
from agentr_lite.store.records import EvalItemRow, EvalRow
from agentr_lite.store.runs import get_run
from agentr_lite.store.trees import run_instructions

from .layout.documents import StepView
from .layout.episodes import episode_views


@dataclass(frozen=True, slots=True)
class ReadEpisode:
    """One episode of an evaluation."""

    item: EvalItemRow
    round: str
    """The name of the round that played it."""
    views: list[StepView]
    """The start and the steps in order."""
    end: Mark
    """How it ended."""


def read_episode(store: Store, evaluation: EvalRow, key: Key) -> ReadEpisode:
    """An episode of an evaluation.

    Args:
        store: the database.
        evaluation: the evaluation.
        key: (task id, sample).

    Raises:
        UsageError: the episode is not stored: its round was evaluated again, or has not come to it.
    """
    item = get_eval_item(store, evaluation.id, *key)
    run = get_run(store, evaluation.run_id)
    if item is None:
        raise UsageError("this episode no longer exists: its round was evaluated again")
    env = item.task.env
    views, end = episode_views(
        item,
        examples=list_examples(store, run.id, env),
        instructions=run_instructions(store, run.id, env) if item.instructions is None else "",
    )
    return ReadEpisode(item, round_name(evaluation.round, imitates=run.imitates), views, end)
