"""What a run has played, as the measures need it."""

from __future__ import annotations

from collections.abc import Mapping

from agentr_lite.metrics.episodes import is_faulty
from agentr_lite.metrics.measures import Played
from agentr_lite.store import Store
from agentr_lite.store.evals import list_eval_items, list_evals
from agentr_lite.store.records import EvalMode
from agentr_lite.store.runs import get_run


def load_rounds(
    store: Store,
    run_id: str,
    tasks: Mapping[int, int] | None = None,
    *,
    split: str | None = None,
) -> dict[tuple[EvalMode, int], list[Played]]:
    """What a run has played on one split; unfinished evaluations are left out.

    Args:
        store: the database.
        run_id: the run.
        tasks: the database's task ids to the numbers by which they go here; None: their own.
        split: which; default: that of the run's recipe.
    """
    split = split or get_run(store, run_id).recipe["eval"]["split"]
    rounds: dict[tuple[EvalMode, int], list[Played]] = {}
    for row in list_evals(store, run_id):
        if row.split != split or not row.whole:
            continue
        items = list_eval_items(store, row.id, with_episodes=row.mode == "greedy")
        rounds[row.mode, row.round] = [
            Played.of(item, item.task.id if tasks is None else tasks[item.task.id])
            for item in items
            if not is_faulty(item)
        ]
    return rounds
