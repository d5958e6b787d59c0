"""Read queries for the tree inspector: overviews, a tree's shape, and the texts of a few nodes.

A tree is drawn from its *shape*: numbers of all nodes, no texts. They come as JSON arrays, many
nodes a row, which costs half of what a row a node does (100,000 nodes: 0.15 s against 0.27 s), and
are kept as numpy arrays, 23 bytes a node. Texts are read for the visible nodes only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agentr_lite.store.database import Store
from agentr_lite.store.decoding import DamagedError, from_json, record
from agentr_lite.store.labels import RunLabels, all_labels
from agentr_lite.store.records import (
    EvalMode,
    ModelCallRow,
    NodeKind,
    NodeRow,
    RevisionStatus,
    RunRow,
    TrajectoryRow,
    TreeRow,
)
from agentr_lite.store.runs import list_runs
from agentr_lite.store.trees import _NODE, _NODE_TEXTS, _node, call_of, list_trees

KINDS: tuple[NodeKind, ...] = ("root", "act", "reflect", "none")
"""``TreeShape.kind`` counts these from 0."""

TERMINATED, TRUNCATED, INVALID, DISASTER = 1, 2, 4, 8
"""Bits of ``TreeShape.flags``."""

_IN_LIST = 500
_SHAPE_CHUNK = 10_000
"""Nodes whose numbers come in one row."""


@dataclass(frozen=True, slots=True)
class RunOverview:
    """A run with its counts so far."""

    run: RunRow
    rounds: int
    """The highest round that was started; 0 where only the base was evaluated."""
    stage: str
    """The stage that was started last, e.g. ``search 2``; empty before the first."""
    trees: int
    nodes: int
    tokens: int
    """Decoded prompt tokens and output tokens of all stages."""
    wall_s: float
    success: Sequence[tuple[int, Mapping[str, Any]]] = ()
    """(round, ``{value, low, high, n}``) of the greedy evaluations, by round."""
    labels: RunLabels = field(default_factory=RunLabels)


@dataclass(frozen=True, slots=True)
class TreeOverview:
    """A tree with what splicing made of it."""

    tree: TreeRow
    revisions: int
    accepted: int
    tokens: int
    """Decoded prompt tokens and output tokens of the search."""


@dataclass(frozen=True, slots=True)
class DemonstrationOverview:
    """A demonstration without its texts."""

    id: int
    env: str
    task: str
    """The task's name."""
    goal: str
    level: int
    source: str
    reward: float
    steps: int | None
    """How many; None where its steps are damaged."""


@dataclass(frozen=True, slots=True)
class RevisionOverview:
    """A revision without its conversation."""

    id: int
    round: int
    tree_id: int
    task: str
    goal: str
    status: RevisionStatus
    reason: str
    parting_step: int
    cut_step: int
    revision_length: int
    naive_reward: float | None


@dataclass(slots=True)
class TreeShape:
    """The numbers of a tree's nodes; every column has the shape (nodes,), indexed by ``idx``.

    A column is a ``memoryview`` of a numpy array. Its items are Python's own numbers, which SQLite
    and JSON take, and ``np.asarray(column)`` is the array without a copy.
    """

    parent: Sequence[int] = ()
    """int32; -1 at the root."""
    visits: Sequence[int] = ()
    """The smallest unsigned type that holds them."""
    value: Sequence[float] = ()
    """float64 in [0, 1]: mean reward over the visits; 0 before the first visit."""
    reward: Sequence[float] = ()
    """float64 in [0, 1]."""
    kind: Sequence[int] = ()
    """uint8; index into ``KINDS``."""
    flags: Sequence[int] = ()
    """uint8; see ``TERMINATED`` and the other bits."""

    def __len__(self) -> int:
        return len(self.parent)

    def ended(self, idx: int) -> bool:
        """Whether the episode is over at a node."""
        return bool(self.flags[idx] & (TERMINATED | TRUNCATED))


def data_version(store: Store) -> int:
    """A number that changes whenever another connection has committed."""
    return int(store.scalar("PRAGMA data_version"))


def run_overviews(store: Store) -> list[RunOverview]:
    """All runs, newest first, with their counts."""
    trees = {
        row["run_id"]: row
        for row in store.rows(
            "SELECT run_id, count(*) AS trees, sum(node_count) AS nodes FROM trees GROUP BY run_id"
        )
    }
    costs = {
        row["run_id"]: row
        for row in store.rows(
            "SELECT run_id, max(0, max(round)) AS rounds, sum(wall_s) AS wall_s,"
            " sum(decoded_prompt_tokens + output_tokens) AS tokens FROM rounds GROUP BY run_id"
        )
    }
    stages: dict[str, str] = {}
    for row in store.rows("SELECT run_id, round, stage FROM rounds ORDER BY started_utc, rowid"):
        stages[row["run_id"]] = f"{row['stage']} {row['round']}"
    success: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
    mode: EvalMode = "greedy"
    for row in store.rows(
        "SELECT e.run_id, e.round, json_extract(e.summary, '$.success') AS success"
        " FROM evals e JOIN runs r ON r.id = e.run_id"
        # Another split's figures are no progress over rounds.
        " WHERE e.split = json_extract(r.recipe, '$.eval.split') AND e.mode = ?"
        " AND json_extract(e.summary, '$.success') IS NOT NULL ORDER BY e.run_id, e.round",
        (mode,),
    ):
        what = f"the success of round {row['round']} of {row['run_id']}"
        figures = from_json(row["success"], what, Mapping[str, float])
        success.setdefault(row["run_id"], []).append((row["round"], figures))
    labels = all_labels(store)
    overviews = []
    for run in list_runs(store):
        tree, cost = trees.get(run.id), costs.get(run.id)
        overviews.append(
            RunOverview(
                run,
                rounds=cost["rounds"] if cost else 0,
                stage=stages.get(run.id, ""),
                trees=tree["trees"] if tree else 0,
                nodes=tree["nodes"] if tree else 0,
                tokens=cost["tokens"] if cost else 0,
                wall_s=cost["wall_s"] if cost else 0.0,
                success=success.get(run.id, ()),
                labels=labels.get(run.id, RunLabels()),
            )
        )
    return overviews


def tree_rounds(store: Store, run_id: str) -> list[int]:
    """The rounds of a run that have trees."""
    rows = store.rows("SELECT DISTINCT round FROM trees WHERE run_id = ? ORDER BY round", (run_id,))
    return [row[0] for row in rows]


def tree_overviews(store: Store, run_id: str, round_index: int) -> list[TreeOverview]:
    """One round's trees in the order they were searched, with their revisions counted."""
    counts = {
        row["tree_id"]: (row["revisions"], row["accepted"])
        for row in store.rows(
            "SELECT j.tree_id, count(*) AS revisions, sum(v.status <> 'rejected') AS accepted"
            " FROM revisions v JOIN trajectories j ON j.id = v.bad_id"
            " WHERE v.run_id = ? AND v.round = ? GROUP BY j.tree_id",
            (run_id, round_index),
        )
    }
    tokens = dict(
        tuple(row)
        for row in store.rows(
            "SELECT c.tree_id, sum(c.prompt_tokens - c.cached_tokens + c.output_tokens)"
            " FROM trees r JOIN model_calls c ON c.tree_id = r.id AND c.purpose = 'expand'"
            " WHERE r.run_id = ? AND r.round = ? GROUP BY c.tree_id",
            (run_id, round_index),
        )
    )
    return [
        TreeOverview(tree, *counts.get(tree.id, (0, 0)), tokens.get(tree.id, 0))
        for tree in list_trees(store, run_id, round_index=round_index)
    ]


def tree_shape(store: Store, tree_id: int) -> TreeShape:
    """The numbers of all nodes of a tree; empty where there is no such tree."""
    import numpy as np

    dtypes = (np.int32, np.int32, np.float64, np.float64, np.uint8, np.uint8)
    chunks: list[list[Any]] = [[] for _ in dtypes]
    count = 0
    while True:
        # In chunks, so that Python's lists of numbers never exist for all nodes at once. Parents
        # come before their children, so a tree deleted between two chunks is consistent, too.
        [row] = store.rows(
            """
            SELECT json_group_array(coalesce(parent_idx, -1)), json_group_array(visits),
                json_group_array(CASE WHEN visits > 0 THEN value_sum / visits ELSE 0.0 END),
                json_group_array(reward),
                json_group_array(
                    CASE kind WHEN 'root' THEN 0 WHEN 'act' THEN 1 WHEN 'reflect' THEN 2 ELSE 3 END
                ),
                json_group_array(terminated + 2 * truncated + 4 * invalid + 8 * disaster)
            FROM (SELECT * FROM nodes WHERE tree_id = ? AND idx >= ? ORDER BY idx LIMIT ?)
            """,
            (tree_id, count, _SHAPE_CHUNK),
        )
        for column, dtype, text in zip(chunks, dtypes, row, strict=True):
            column.append(_numbers(text, dtype, tree_id))
        count += len(chunks[0][-1])
        if len(chunks[0][-1]) < _SHAPE_CHUNK:
            break
    if not count:
        return TreeShape()
    parent, visits, value, reward, kind, flags = map(np.concatenate, chunks)
    if parent[0] != -1 or not (parent[1:] >= 0).all() or (parent >= np.arange(count)).any():
        raise DamagedError(f"tree {tree_id} is damaged: a node hangs from none before it")
    if visits.min() < 0:
        raise DamagedError(f"tree {tree_id} is damaged: a node has {visits.min()} visits")
    visits = visits.astype(np.min_scalar_type(visits.max()))
    return TreeShape(*(column.data for column in (parent, visits, value, reward, kind, flags)))


def _numbers(text: str, dtype: Any, tree_id: int) -> Any:
    """A column of a tree's shape as an array.

    Raises:
        DamagedError: it holds something that is no number of this type.
    """
    import numpy as np

    what = f"a column of the nodes of tree {tree_id}"
    values = from_json(text, what, list[float])
    try:
        return np.array(values, dtype)
    except (OverflowError, ValueError, TypeError) as error:
        raise DamagedError(f"{what} is damaged: {error}") from error


def node_labels(store: Store, tree_id: int, idxs: Iterable[int]) -> dict[int, tuple[str, int]]:
    """(action, merged candidates) of some nodes; an absent action is an empty text."""
    return {
        row["idx"]: (row["action"] or "", row["merged"])
        for row in _rows_in(
            store,
            "SELECT idx, action, merged FROM nodes n WHERE n.tree_id = ? AND n.idx IN",
            tree_id,
            idxs,
        )
    }


def load_nodes(store: Store, tree_id: int, idxs: Iterable[int]) -> dict[int, NodeRow]:
    """Some nodes with their texts."""
    rows = _rows_in(
        store,
        f"SELECT {_NODE} FROM nodes n {_NODE_TEXTS} WHERE n.tree_id = ? AND n.idx IN",
        tree_id,
        idxs,
    )
    return {row["idx"]: _node(row) for row in rows}


def find_nodes(store: Store, tree_id: int, needle: str) -> list[int]:
    """``idx`` of the nodes whose turn or observation contains ``needle``, by ``idx``.

    ASCII case is ignored. A text that many nodes share is looked at once.
    """
    rows = store.rows(
        """
        WITH hit (id) AS MATERIALIZED (
            SELECT id FROM texts WHERE id IN (
                SELECT text_id FROM nodes WHERE tree_id = :tree
                UNION SELECT observation_id FROM nodes WHERE tree_id = :tree
            ) AND instr(lower(content), lower(:needle))
        )
        SELECT idx FROM nodes
        WHERE tree_id = :tree AND (text_id IN (SELECT id FROM hit)
            OR observation_id IN (SELECT id FROM hit) OR instr(lower(action), lower(:needle)))
        ORDER BY idx
        """,
        {"tree": tree_id, "needle": needle},
    )
    return [row[0] for row in rows]


def expansion_calls(store: Store, tree_id: int, idxs: Iterable[int]) -> dict[int, ModelCallRow]:
    """The model calls that made some nodes' children, by node; the first where there are more."""
    calls: dict[int, ModelCallRow] = {}
    for row in _rows_in(
        store,
        "SELECT id, purpose, tree_id, node_idx, seeds, prompt_tokens, cached_tokens,"
        " output_tokens, dropped_turns, batch_ms, batch_size FROM model_calls"
        " WHERE tree_id = ? AND purpose = 'expand' AND node_idx IN",
        tree_id,
        idxs,
    ):
        calls.setdefault(row["node_idx"], call_of(row))
    return calls


def newest_tree(store: Store, run_id: str) -> int | None:
    """The tree of a run that was stored last; None where there is none."""
    newest = store.scalar("SELECT max(id) FROM trees WHERE run_id = ?", (run_id,))
    return None if newest is None else int(newest)


def revision_overviews(
    store: Store, run_id: str, *, tree_id: int | None = None
) -> list[RevisionOverview]:
    """A run's revisions in the order they were made, without their conversations.

    Args:
        store: the database.
        run_id: the run.
        tree_id: only this tree's.
    """
    rows = store.rows(
        """
        SELECT v.id, v.round, r.id AS tree_id, k.name AS task, k.goal, v.status, v.reason,
            v.parting_step, v.cut_step, v.revision_length, v.naive_reward
        FROM revisions v JOIN trajectories b ON b.id = v.bad_id JOIN trees r ON r.id = b.tree_id
            JOIN tasks k ON k.id = r.task_id
        WHERE v.run_id = :run AND (:tree IS NULL OR r.id = :tree) ORDER BY v.round, v.id
        """,
        {"run": run_id, "tree": tree_id},
    )
    return [record(RevisionOverview, dict(row), "revisions") for row in rows]


def demonstration_overviews(store: Store) -> list[DemonstrationOverview]:
    """The database's demonstrations, in the order in which they were stored."""
    rows = store.rows(
        """
        SELECT d.id, k.env, k.name AS task, k.goal, k.level, d.source, d.reward,
            CASE WHEN json_valid(d.steps_json) THEN json_array_length(d.steps_json) END AS steps
        FROM demonstrations d JOIN tasks k ON k.id = d.task_id ORDER BY d.id
        """
    )
    return [record(DemonstrationOverview, dict(row), "demonstrations") for row in rows]


def get_trajectory(store: Store, trajectory_id: int) -> TrajectoryRow:
    """A trajectory.

    Raises:
        KeyError: no such trajectory.
    """
    row = store.row(
        "SELECT id, tree_id, leaf_idx, kind, reward, steps FROM trajectories WHERE id = ?",
        (trajectory_id,),
    )
    if row is None:
        raise KeyError(f"no trajectory {trajectory_id} in {store.path}")
    return record(TrajectoryRow, dict(row), "trajectories")


def _rows_in(store: Store, sql: str, tree_id: int, idxs: Iterable[int]) -> list[Any]:
    wanted = list(idxs)
    rows = []
    for start in range(0, len(wanted), _IN_LIST):
        chunk = wanted[start : start + _IN_LIST]
        rows += store.rows(f"{sql} ({', '.join('?' * len(chunk))})", [tree_id, *chunk])
    return rows
