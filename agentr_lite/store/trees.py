"""Trees, their nodes and model calls."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace

from agentr_lite.core.openings import Opening
from agentr_lite.core.steps import Step
from agentr_lite.core.tasks import Task
from agentr_lite.core.usage import ModelCall
from agentr_lite.store.database import Store, encodable, to_json
from agentr_lite.store.decoding import DamagedError, record
from agentr_lite.store.examples import list_examples
from agentr_lite.store.records import CallPurpose, ModelCallRow, NodeRow, TreeRow
from agentr_lite.store.runs import task_ids, task_of

_TREE = """
SELECT r.id, r.run_id, r.round, r.wave, r.best_reward, r.node_count, r.simulations, r.error,
    r.task_id, k.env, k.name, k.split, k.goal, k.level
FROM trees r JOIN tasks k ON k.id = r.task_id
"""

_NODE = """
n.tree_id, n.idx, n.parent_idx, n.depth, n.kind, n.action, t.content AS text,
    o.content AS observation, n.reward, n.terminated, n.truncated, n.invalid, n.disaster,
    n.visits, n.value_sum, n.merged, n.token_ids, n.thinking
"""

_NODE_TEXTS = "LEFT JOIN texts t ON t.id = n.text_id JOIN texts o ON o.id = n.observation_id"


def save_tree(
    store: Store,
    *,
    run_id: str,
    round_index: int,
    wave: int,
    env: str,
    task: Task,
    instructions: str,
    nodes: Sequence[NodeRow],
    calls: Sequence[ModelCall],
    simulations: int,
    error: str | None = None,
) -> int:
    """Store a searched tree in one transaction.

    Args:
        store: the database.
        run_id: the run.
        round_index: the round, from 1.
        wave: the tree's wave within the round, from 0.
        env: the environment's name.
        task: the tree's task.
        instructions: the system prompt; stored once for all trees that share it.
        nodes: by ``idx`` from 0, the root first; their ``tree_id`` is ignored.
        calls: one a ``GenerateRequest``, in the order they were made.
        simulations: simulations that reached a terminal node.
        error: why the tree failed; None where it did not.

    Returns:
        The tree's id.
    """
    best = max((node.reward for node in nodes if node.ended), default=0.0)
    with store.atomic():
        texts = store.text_ids(
            [instructions, *(node.text for node in nodes), *(node.observation for node in nodes)]
        )
        tree_id = store.insert(
            "trees",
            {
                "run_id": run_id,
                "round": round_index,
                "task_id": task_ids(store, env, [task])[task.name],
                "wave": wave,
                "instructions_id": texts[instructions],
                "observation_id": texts[nodes[0].observation],
                "best_reward": best,
                "node_count": len(nodes),
                "simulations": simulations,
                "error": error,
            },
        )
        store.executemany(
            f"INSERT INTO nodes VALUES ({', '.join('?' * 18)})",
            [
                (
                    tree_id,
                    node.idx,
                    node.parent_idx,
                    node.depth,
                    node.kind,
                    None if node.action is None else encodable(node.action),
                    None if node.kind == "root" else texts[node.text],
                    texts[node.observation],
                    node.reward,
                    node.terminated,
                    node.truncated,
                    node.invalid,
                    node.disaster,
                    node.visits,
                    node.value_sum,
                    node.merged,
                    to_json(node.token_ids) if node.token_ids else None,
                    encodable(node.thinking) if node.thinking else None,
                )
                for node in nodes
            ],
        )
        add_calls(store, run_id, round_index, "expand", calls, tree_id=tree_id)
    return tree_id


def add_calls(
    store: Store,
    run_id: str,
    round_index: int,
    purpose: CallPurpose,
    calls: Sequence[ModelCall],
    *,
    tree_id: int | None = None,
) -> None:
    """Store what the actor was asked.

    Args:
        store: the database.
        run_id: the run.
        round_index: the round.
        purpose: what the answers were for.
        calls: in the order they were made.
        tree_id: the tree whose nodes they belong to; without one, ``node_idx`` is not stored.
    """
    store.executemany(
        "INSERT INTO model_calls (run_id, round, purpose, tree_id, node_idx, seeds,"
        " prompt_tokens, cached_tokens, output_tokens, dropped_turns, batch_ms, batch_size)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                run_id,
                round_index,
                purpose,
                tree_id,
                None if tree_id is None else call.node_idx,
                to_json(call.seeds),
                call.prompt_tokens,
                call.cached_tokens,
                call.output_tokens,
                call.dropped_turns,
                call.batch_ms,
                call.batch_size,
            )
            for call in calls
        ],
    )


def list_trees(
    store: Store, run_id: str, *, round_index: int | None = None, task: str | None = None
) -> list[TreeRow]:
    """A run's trees in the order they were searched.

    Args:
        store: the database.
        run_id: the run.
        round_index: only this round's.
        task: only of the task with this name.
    """
    rows = store.rows(
        f"{_TREE} WHERE r.run_id = :run AND (:round IS NULL OR r.round = :round)"
        " AND (:task IS NULL OR k.name = :task) ORDER BY r.round, r.wave, r.id",
        {"run": run_id, "round": round_index, "task": task},
    )
    return [_tree(row) for row in rows]


def get_tree(store: Store, tree_id: int) -> TreeRow:
    """A tree's row.

    Raises:
        KeyError: no such tree.
    """
    row = store.row(f"{_TREE} WHERE r.id = ?", (tree_id,))
    if row is None:
        raise KeyError(f"no tree {tree_id} in {store.path}")
    return _tree(row)


def load_tree(store: Store, tree_id: int) -> list[NodeRow]:
    """All nodes by ``idx``: the root first, parents before children."""
    rows = store.rows(
        f"SELECT {_NODE} FROM nodes n {_NODE_TEXTS} WHERE n.tree_id = ? ORDER BY n.idx",
        (tree_id,),
    )
    nodes = [_node(row) for row in rows]
    _check_shape(tree_id, nodes)
    return nodes


def _check_shape(tree_id: int, nodes: Sequence[NodeRow]) -> None:
    """Refuse a tree that is not whole: code above follows parents and counts steps.

    Raises:
        DamagedError: a node is missing, or does not hang from a node before it.
    """
    for position, node in enumerate(nodes):
        parent = node.parent_idx
        if node.idx != position:
            raise DamagedError(f"node {position} of tree {tree_id} is missing or damaged")
        whole = (
            node.depth == 0 and node.kind == "root"
            if parent is None
            else 0 <= parent < position
            and node.depth == nodes[parent].depth + 1
            and node.kind != "root"
        )
        if not whole or (parent is None) != (position == 0):
            raise DamagedError(f"node {position} of tree {tree_id} has a damaged place in it")


def load_children(
    store: Store, tree_id: int, parent_idx: int, *, limit: int = -1, offset: int = 0
) -> list[NodeRow]:
    """One node's children in the order they were made, for views that open a node at a time.

    Args:
        store: the database.
        tree_id: the tree.
        parent_idx: the node.
        limit: at most so many; -1 = all.
        offset: skip so many.
    """
    rows = store.rows(
        f"SELECT {_NODE} FROM nodes n {_NODE_TEXTS} WHERE n.tree_id = ? AND n.parent_idx = ?"
        " ORDER BY n.idx LIMIT ? OFFSET ?",
        (tree_id, parent_idx, limit, offset),
    )
    return [_node(row) for row in rows]


def child_counts(store: Store, tree_id: int) -> dict[int, int]:
    """Number of children by ``idx``, for the nodes that have any."""
    rows = store.rows(
        "SELECT parent_idx, count(*) FROM nodes WHERE tree_id = ? AND parent_idx IS NOT NULL"
        " GROUP BY parent_idx",
        (tree_id,),
    )
    return {row[0]: row[1] for row in rows}


def path_nodes(store: Store, tree_id: int, leaf_idx: int) -> list[NodeRow]:
    """The nodes from the root to ``leaf_idx``, both included.

    Raises:
        KeyError: no such tree or node.
    """
    # The recursion starts at one node of one tree: a primary-key look-up a level. CROSS JOIN keeps
    # the planner from reading the whole tree first.
    rows = store.rows(
        f"""
        WITH RECURSIVE path (idx) AS (
            SELECT idx FROM nodes WHERE tree_id = :tree AND idx = :leaf
            UNION ALL
            SELECT n.parent_idx FROM path p JOIN nodes n ON n.tree_id = :tree AND n.idx = p.idx
            -- Parents come first; where damage has made a circle, this ends all the same.
            WHERE n.parent_idx < n.idx
        )
        SELECT {_NODE} FROM path p CROSS JOIN nodes n ON n.tree_id = :tree AND n.idx = p.idx
        {_NODE_TEXTS} ORDER BY n.depth
        """,
        {"tree": tree_id, "leaf": leaf_idx},
    )
    if not rows:
        raise KeyError(f"no node {leaf_idx} in tree {tree_id} of {store.path}")
    nodes = [_node(row) for row in rows]
    if [node.depth for node in nodes] != list(range(len(nodes))) or nodes[0].kind != "root":
        raise DamagedError(f"the path to node {leaf_idx} of tree {tree_id} is damaged")
    return nodes


def path_steps(store: Store, tree_id: int, leaf_idx: int) -> list[Step]:
    """The agent's turns from the first to the one that led to ``leaf_idx``.

    Raises:
        KeyError: no such tree or node.
    """
    return [node.to_step() for node in path_nodes(store, tree_id, leaf_idx)[1:]]


def tree_opening(store: Store, tree_id: int) -> Opening:
    """What comes before the agent's first turn.

    Raises:
        KeyError: no such tree.
    """
    row = store.row(
        "SELECT i.content, o.content, r.run_id, k.env FROM trees r"
        " JOIN texts i ON i.id = r.instructions_id JOIN texts o ON o.id = r.observation_id"
        " JOIN tasks k ON k.id = r.task_id WHERE r.id = ?",
        (tree_id,),
    )
    if row is None:
        raise KeyError(f"no tree {tree_id} in {store.path}")
    return Opening(row[0], row[1], list_examples(store, row[2], row[3]))


def run_instructions(store: Store, run_id: str, env: str) -> str:
    """The instructions that a run's searches showed in an environment; empty without a search."""
    text = store.scalar(
        "SELECT i.content FROM trees r JOIN texts i ON i.id = r.instructions_id"
        " JOIN tasks k ON k.id = r.task_id WHERE r.run_id = ? AND k.env = ? ORDER BY r.id LIMIT 1",
        (run_id, env),
    )
    return "" if text is None else str(text)


def list_calls(store: Store, tree_id: int) -> list[ModelCallRow]:
    """A tree's model calls in the order they were made."""
    rows = store.rows(
        "SELECT id, purpose, tree_id, node_idx, seeds, prompt_tokens, cached_tokens,"
        " output_tokens, dropped_turns, batch_ms, batch_size FROM model_calls"
        " WHERE tree_id = ? ORDER BY id",
        (tree_id,),
    )
    return [call_of(row) for row in rows]


def call_of(row: sqlite3.Row) -> ModelCallRow:
    """The model call in a row of ``model_calls`` with the columns of a ``ModelCallRow``."""
    return record(ModelCallRow, dict(row), "model_calls", decoded=("seeds",))


def wave_tasks(store: Store, run_id: str, round_index: int) -> dict[int, list[tuple[str, str]]]:
    """(environment, task) of the trees that are committed, by wave, in the order of the commits."""
    waves: dict[int, list[tuple[str, str]]] = {}
    for tree in list_trees(store, run_id, round_index=round_index):
        waves.setdefault(tree.wave, []).append((tree.task.env, tree.task.name))
    return waves


def delete_trees(store: Store, run_id: str, round_index: int, *, from_wave: int = 0) -> int:
    """Delete trees and what was made from them.

    Args:
        store: the database.
        run_id: the run.
        round_index: the round.
        from_wave: keep the waves before this one.

    Returns:
        How many trees were deleted.
    """
    cursor = store.execute(
        "DELETE FROM trees WHERE run_id = ? AND round = ? AND wave >= ?",
        (run_id, round_index, from_wave),
    )
    return cursor.rowcount


def copy_trees(
    store: Store,
    source_run: str,
    target_run: str,
    round_index: int,
    *,
    wave: int | None = None,
) -> int:
    """Give another run the same trees of one round, so that arms of a study share their search.

    Texts are shared, not copied.

    Args:
        store: the database.
        source_run: the run that has searched.
        target_run: the run that has not; the same environment.
        round_index: the round.
        wave: only the trees of this wave.

    Returns:
        How many trees were copied.
    """
    with store.atomic():
        trees = list_trees(store, source_run, round_index=round_index)
        trees = [tree for tree in trees if wave in (None, tree.wave)]
        for tree in trees:
            copy_id = store.execute(
                "INSERT INTO trees (run_id, round, task_id, wave, instructions_id, observation_id,"
                " best_reward, node_count, simulations, error)"
                " SELECT ?, round, task_id, wave, instructions_id, observation_id,"
                " best_reward, node_count, simulations, error FROM trees WHERE id = ?",
                (target_run, tree.id),
            ).lastrowid
            store.execute(
                "INSERT INTO nodes SELECT ?, idx, parent_idx, depth, kind, action, text_id,"
                " observation_id, reward, terminated, truncated, invalid, disaster, visits,"
                " value_sum, merged, token_ids, thinking FROM nodes WHERE tree_id = ? ORDER BY idx",
                (copy_id, tree.id),
            )
            store.execute(
                "INSERT INTO model_calls (run_id, round, purpose, tree_id, node_idx, seeds,"
                " prompt_tokens, cached_tokens, output_tokens, dropped_turns, batch_ms,"
                " batch_size)"
                " SELECT ?, round, purpose, ?, node_idx, seeds, prompt_tokens, cached_tokens,"
                " output_tokens, dropped_turns, batch_ms, batch_size FROM model_calls"
                " WHERE tree_id = ? AND purpose = 'expand' ORDER BY id",
                (target_run, copy_id, tree.id),
            )
    return len(trees)


def _tree(row: sqlite3.Row) -> TreeRow:
    values = {key: row[key] for key in _TREE_FIELDS}
    return record(TreeRow, {**values, "task": task_of(row)}, "trees")


_TREE_FIELDS = (
    "id",
    "run_id",
    "round",
    "wave",
    "best_reward",
    "node_count",
    "simulations",
    "error",
)


def _node(row: sqlite3.Row) -> NodeRow:
    values = dict(row)
    for flag in ("terminated", "truncated", "invalid", "disaster"):
        values[flag] = bool(values[flag])
    if values["token_ids"] is None:
        values["token_ids"] = ()
    for key in ("thinking", "text"):
        values[key] = "" if values[key] is None else values[key]
    decoded = ("token_ids",) if values["token_ids"] else ()
    node = record(NodeRow, values, "nodes", decoded=decoded)
    return replace(node, token_ids=tuple(node.token_ids)) if decoded else node
