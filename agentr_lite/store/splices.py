"""What splicing and training make: trajectories, judgements, revisions, datasets, adapters."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from agentr_lite.core.messages import Message
from agentr_lite.store.database import Store, to_json
from agentr_lite.store.decoding import DamagedError, from_json, record
from agentr_lite.store.records import (
    AdapterRow,
    DatasetItemRow,
    DatasetRow,
    JudgementRow,
    RevisionRow,
    RevisionStatus,
    TrajectoryKind,
    TrajectoryRow,
)
from agentr_lite.store.runs import now_utc

_REVISION = """
SELECT v.id, v.run_id, v.round, v.good_id, v.bad_id, v.parting_step, v.cut_step,
    x.content AS reflection, v.revision_length, v.naive_reward, v.status, v.reason, v.messages,
    v.first_error, k.name AS task, k.env AS env
FROM revisions v JOIN texts x ON x.id = v.reflection_id
    JOIN trajectories b ON b.id = v.bad_id JOIN trees r ON r.id = b.tree_id
    JOIN tasks k ON k.id = r.task_id
"""


def save_trajectory(
    store: Store,
    tree_id: int,
    leaf_idx: int,
    *,
    kind: TrajectoryKind,
    reward: float,
    steps: int,
) -> int:
    """Store a root-to-leaf path; returns its id. One that is there already is kept as it is."""
    with store.atomic():
        store.execute(
            "INSERT INTO trajectories (tree_id, leaf_idx, kind, reward, steps)"
            " VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (tree_id, leaf_idx, kind, reward, steps),
        )
        return int(
            store.scalar(
                "SELECT id FROM trajectories WHERE tree_id = ? AND leaf_idx = ?",
                (tree_id, leaf_idx),
            )
        )


def list_trajectories(
    store: Store,
    run_id: str,
    *,
    round_index: int | None = None,
    tree_id: int | None = None,
    kind: TrajectoryKind | None = None,
) -> list[TrajectoryRow]:
    """Trajectories by tree and leaf."""
    rows = store.rows(
        """
        SELECT j.id, j.tree_id, j.leaf_idx, j.kind, j.reward, j.steps
        FROM trajectories j JOIN trees r ON r.id = j.tree_id
        WHERE r.run_id = :run AND (:round IS NULL OR r.round = :round)
            AND (:tree IS NULL OR j.tree_id = :tree) AND (:kind IS NULL OR j.kind = :kind)
        ORDER BY r.round, r.wave, j.tree_id, j.leaf_idx
        """,
        {"run": run_id, "round": round_index, "tree": tree_id, "kind": kind},
    )
    return [record(TrajectoryRow, dict(row), "trajectories") for row in rows]


def delete_splices(
    store: Store, run_id: str, round_index: int, *, tree_id: int | None = None
) -> None:
    """Delete trajectories, judgements, revisions, preferences and their calls, so that they can be
    made again.

    Args:
        store: the database.
        run_id: the run.
        round_index: the round.
        tree_id: only this tree's.
    """
    params = {"run": run_id, "round": round_index, "tree": tree_id}
    trees = (
        "tree_id IN (SELECT id FROM trees WHERE run_id = :run AND round = :round"
        " AND (:tree IS NULL OR id = :tree))"
    )
    with store.atomic():
        store.execute(f"DELETE FROM preferences WHERE {trees}", params)
        store.execute(f"DELETE FROM trajectories WHERE {trees}", params)
        store.execute(
            f"DELETE FROM model_calls WHERE {trees} AND purpose IN ('judge', 'recover')", params
        )


def save_judgements(store: Store, judgements: Sequence[JudgementRow]) -> None:
    """Store verdicts in one transaction; one for the same step is replaced."""
    with store.atomic():
        reasons = store.text_ids(row.reason for row in judgements if row.reason is not None)
        store.executemany(
            "INSERT OR REPLACE INTO judgements"
            " (trajectory_id, step, node_idx, verdict, critic, scores, reason_id)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    row.trajectory_id,
                    row.step,
                    row.node_idx,
                    row.verdict,
                    row.critic,
                    None if row.scores is None else to_json(list(row.scores)),
                    None if row.reason is None else reasons[row.reason],
                )
                for row in judgements
            ],
        )


def list_judgements(
    store: Store,
    run_id: str,
    *,
    round_index: int | None = None,
    trajectory_id: int | None = None,
    tree_id: int | None = None,
) -> list[JudgementRow]:
    """Verdicts by trajectory and step."""
    rows = store.rows(
        """
        SELECT u.trajectory_id, u.step, u.node_idx, u.verdict, u.critic, u.scores,
            x.content AS reason
        FROM judgements u JOIN trajectories j ON j.id = u.trajectory_id
            JOIN trees r ON r.id = j.tree_id LEFT JOIN texts x ON x.id = u.reason_id
        WHERE r.run_id = :run AND (:round IS NULL OR r.round = :round)
            AND (:trajectory IS NULL OR u.trajectory_id = :trajectory)
            AND (:tree IS NULL OR j.tree_id = :tree)
        ORDER BY u.trajectory_id, u.step
        """,
        {"run": run_id, "round": round_index, "trajectory": trajectory_id, "tree": tree_id},
    )
    return [record(JudgementRow, dict(row), "judgements", decoded=("scores",)) for row in rows]


def save_revision(
    store: Store,
    *,
    run_id: str,
    round_index: int,
    good_id: int,
    bad_id: int,
    parting_step: int,
    cut_step: int,
    reflection: str,
    revision_length: int,
    naive_reward: float | None,
    status: RevisionStatus,
    reason: str,
    messages: Sequence[Message] | None = None,
    loss: Sequence[bool] | None = None,
    first_error: int | None = None,
) -> int:
    """Store a pair's outcome; returns its id. One for the same pair is replaced.

    Args:
        store: the database.
        run_id: the run.
        round_index: the round.
        good_id: the good trajectory.
        bad_id: the bad trajectory.
        parting_step: steps that the two share.
        cut_step: t'.
        reflection: the revision signal.
        revision_length: bad steps from the parting node up to and including t'.
        naive_reward: what the naive splice earned on replay; None where it was not replayed.
        status: what became of it.
        reason: why, in a few words that can be counted.
        messages: the conversation; None where rejected.
        loss: one flag a message.
        first_error: of a late cut, what t' is at the first error.

    Raises:
        ValueError: ``messages`` without as many ``loss`` flags.
    """
    content = None
    if messages is not None:
        if loss is None or len(loss) != len(messages):
            raise ValueError("a revision's messages need one loss flag each")
        content = to_json({"messages": list(messages), "loss": [bool(flag) for flag in loss]})
    with store.atomic():
        return store.insert(
            "revisions",
            {
                "run_id": run_id,
                "round": round_index,
                "good_id": good_id,
                "bad_id": bad_id,
                "parting_step": parting_step,
                "cut_step": cut_step,
                "reflection_id": store.text_id(reflection),
                "revision_length": revision_length,
                "naive_reward": naive_reward,
                "status": status,
                "reason": reason,
                "messages": content,
                "first_error": first_error,
            },
            replace=True,
        )


def list_revisions(
    store: Store,
    run_id: str,
    *,
    round_index: int | None = None,
    tree_id: int | None = None,
    accepted: bool | None = None,
) -> list[RevisionRow]:
    """Revisions in the order they were made.

    Args:
        store: the database.
        run_id: the run.
        round_index: only this round's.
        tree_id: only this tree's.
        accepted: True: only those with a conversation; False: only the rejected ones.
    """
    rows = store.rows(
        f"""
        {_REVISION} WHERE v.run_id = :run AND (:round IS NULL OR v.round = :round)
            AND (:tree IS NULL OR r.id = :tree)
            AND (:accepted IS NULL OR (v.status <> 'rejected') = :accepted)
        ORDER BY v.round, v.id
        """,
        {"run": run_id, "round": round_index, "tree": tree_id, "accepted": accepted},
    )
    return [_revision(row) for row in rows]


def get_revision(store: Store, revision_id: int) -> RevisionRow:
    """A revision.

    Raises:
        KeyError: no such revision.
    """
    row = store.row(f"{_REVISION} WHERE v.id = ?", (revision_id,))
    if row is None:
        raise KeyError(f"no revision {revision_id} in {store.path}")
    return _revision(row)


def save_dataset(
    store: Store,
    run_id: str,
    round_index: int,
    *,
    settings: Mapping[str, Any],
    items: Sequence[DatasetItemRow],
) -> int:
    """Store a training set in one transaction; returns its id.

    Args:
        store: the database.
        run_id: the run.
        round_index: the round.
        settings: what it was built with; JSON types.
        items: the examples in training order.
    """
    with store.atomic():
        dataset_id = store.insert(
            "datasets",
            {
                "run_id": run_id,
                "round": round_index,
                "settings": dict(settings),
                "created_utc": now_utc(),
            },
        )
        store.executemany(
            "INSERT INTO dataset_items"
            " (dataset_id, idx, kind, revision_id, trajectory_id, general_line,"
            " demonstration_id, preference_id, split) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    dataset_id,
                    item.idx,
                    item.kind,
                    item.revision_id,
                    item.trajectory_id,
                    item.general_line,
                    item.demonstration_id,
                    item.preference_id,
                    item.split,
                )
                for item in items
            ],
        )
    return dataset_id


def list_datasets(store: Store, run_id: str, *, round_index: int | None = None) -> list[DatasetRow]:
    """Training sets, oldest first."""
    rows = store.rows(
        """
        SELECT d.id, d.run_id, d.round, d.settings, d.created_utc,
            (SELECT count(*) FROM dataset_items i WHERE i.dataset_id = d.id) AS items
        FROM datasets d WHERE d.run_id = :run AND (:round IS NULL OR d.round = :round)
        ORDER BY d.round, d.id
        """,
        {"run": run_id, "round": round_index},
    )
    return [record(DatasetRow, dict(row), "datasets", decoded=("settings",)) for row in rows]


def list_dataset_items(store: Store, dataset_id: int) -> list[DatasetItemRow]:
    """A training set's examples in order."""
    rows = store.rows(
        "SELECT idx, kind, split, revision_id, trajectory_id, general_line, demonstration_id,"
        " preference_id FROM dataset_items WHERE dataset_id = ? ORDER BY idx",
        (dataset_id,),
    )
    return [record(DatasetItemRow, dict(row), "dataset_items") for row in rows]


def save_adapter(
    store: Store,
    *,
    run_id: str,
    round_index: int,
    dataset_id: int,
    mlx_dir: str,
    gguf_path: str,
    gguf_sha256: str,
    summary: Mapping[str, Any],
) -> int:
    """Record a round's adapter in place of an earlier one; returns its id."""
    return store.insert(
        "adapters",
        {
            "run_id": run_id,
            "round": round_index,
            "dataset_id": dataset_id,
            "mlx_dir": mlx_dir,
            "gguf_path": gguf_path,
            "gguf_sha256": gguf_sha256,
            "summary": dict(summary),
        },
        replace=True,
    )


def delete_adapter(store: Store, run_id: str, round_index: int) -> bool:
    """Delete a round's adapter from the database; its files stay. Returns whether there was one."""
    cursor = store.execute(
        "DELETE FROM adapters WHERE run_id = ? AND round = ?", (run_id, round_index)
    )
    return cursor.rowcount > 0


def get_adapter(store: Store, run_id: str, round_index: int) -> AdapterRow | None:
    """A round's adapter; None where none was trained."""
    row = store.row("SELECT * FROM adapters WHERE run_id = ? AND round = ?", (run_id, round_index))
    return None if row is None else _adapter(row)


def list_adapters(store: Store, run_id: str) -> list[AdapterRow]:
    """A run's adapters by round."""
    rows = store.rows("SELECT * FROM adapters WHERE run_id = ? ORDER BY round", (run_id,))
    return [_adapter(row) for row in rows]


def _adapter(row: sqlite3.Row) -> AdapterRow:
    return record(AdapterRow, dict(row), "adapters", decoded=("summary",))


def _revision(row: sqlite3.Row) -> RevisionRow:
    values = {**dict(row), "messages": None, "loss": None}
    if row["messages"] is not None:
        what = f"messages of revision {row['id']}"
        content = from_json(row["messages"], what, Mapping[str, Any])
        if not 0 < len(content.get("messages") or ()) == len(content.get("loss") or ()):
            raise DamagedError(f"{what} is damaged: it needs messages with a loss flag each")
        values |= {"messages": content["messages"], "loss": content["loss"]}
    return record(RevisionRow, values, "revisions")
