"""Replayed splices: which fail, which hold but are untrue, and what the recovery search found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agentr_lite.core.messages import without_examples
from agentr_lite.store import Store
from agentr_lite.store.inspection import get_trajectory
from agentr_lite.store.splices import list_revisions
from agentr_lite.store.trees import path_steps

_NO_WAY_BACK = "no way back"


@dataclass(frozen=True, slots=True)
class Spliced:
    """One pair whose naive splice was replayed."""

    task: int
    failed: bool
    """It did not earn the reward that a good trajectory must earn."""
    searched: bool
    """A recovery was searched for."""
    recovered: bool
    untrue: bool = False
    """It held, but its text shows an observation that the environment does not give: the text
    lacks what the bad steps had changed."""


@dataclass(frozen=True, slots=True)
class SpliceRound:
    """One round of one run."""

    pairs: Sequence[Spliced]
    calls: int
    """Model calls of the recovery search."""
    output_tokens: int
    """Tokens that these calls generated."""


def splice_rounds(
    store: Store, run_id: str, tasks: Mapping[int, int] | None = None
) -> dict[int, SpliceRound]:
    """A run's replayed pairs by round.

    Args:
        store: the database.
        run_id: the run; one without replays gives nothing.
        tasks: the database's task ids to the numbers by which they go here; None: their own.
    """
    untrue = _untrue(store, run_id)
    pairs: dict[int, list[Spliced]] = {}
    for row in store.rows(
        "SELECT v.id, v.round, v.status, v.reason, r.task_id FROM revisions v"
        " JOIN trajectories b ON b.id = v.bad_id JOIN trees r ON r.id = b.tree_id"
        " WHERE v.run_id = ? AND v.naive_reward IS NOT NULL ORDER BY v.id",
        (run_id,),
    ):
        recovered = row["status"] == "recovered"
        kind = row["reason"].partition(":")[0]
        pairs.setdefault(row["round"], []).append(
            Spliced(
                tasks[row["task_id"]] if tasks is not None else row["task_id"],
                row["status"] != "replayed",
                recovered or (row["status"] == "rejected" and kind == _NO_WAY_BACK),
                recovered,
                row["id"] in untrue,
            )
        )
    spent = {
        row["round"]: (row["calls"], row["tokens"])
        for row in store.rows(
            "SELECT round, count(*) AS calls, sum(output_tokens) AS tokens FROM model_calls"
            " WHERE run_id = ? AND purpose = 'recover' GROUP BY round",
            (run_id,),
        )
    }
    return {number: SpliceRound(of, *spent.get(number, (0, 0))) for number, of in pairs.items()}


def _untrue(store: Store, run_id: str) -> set[int]:
    """Revisions whose replay earned its reward, but showed something else than the joined text."""
    untrue = set()
    for revision in list_revisions(store, run_id, accepted=True):
        if revision.status != "replayed" or revision.messages is None:
            continue
        good = get_trajectory(store, revision.good_id)
        joined = path_steps(store, good.tree_id, good.leaf_idx)[revision.parting_step :]
        # Two messages before the first turn, two a turn; the reflection is turn t'.
        first = 2 + 2 * (revision.cut_step + 1) + 1
        messages, _ = without_examples(revision.messages, revision.loss or ())
        executed = [message["content"] for message in messages[first::2]]
        # The last observation is not part of a conversation that is learnt from.
        if executed != [step.observation for step in joined][: len(executed)]:
            untrue.add(revision.id)
    return untrue
