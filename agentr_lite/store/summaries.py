"""Aggregates over a round's trees, and the dump by which two runs are compared."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from agentr_lite.store.database import Store
from agentr_lite.store.trees import list_calls, list_trees, load_tree, tree_opening


def search_counts(
    store: Store, run_id: str, round_index: int, *, env: str | None = None
) -> dict[str, Any]:
    """Counts of a round's search; JSON types.

    Args:
        store: the database.
        run_id: the run.
        round_index: the round.
        env: only the trees of this environment.

    Returns:
        ``trees``, of them ``failed`` (with an error) and ``solved`` (best reward 1);
        ``mean_best_reward`` and ``mean_reward`` (over simulations), both in [0, 1] or None without
        trees; ``nodes``, ``simulations``; ``samples`` (candidates drawn), ``valid_samples``
        (of them understood and possible), ``environment_steps``; ``calls``, ``prompt_tokens``,
        ``cached_tokens``, ``output_tokens``, ``dropped_turns``.
    """
    where = "run_id = :run AND round = :round"
    params = {"run": run_id, "round": round_index, "env": env}
    of_env = "(:env IS NULL OR task_id IN (SELECT id FROM tasks WHERE env = :env))"
    by_tree = store.rows(
        f"""
        SELECT count(*) AS trees, count(error) AS failed,
            coalesce(sum(best_reward >= 1), 0) AS solved, avg(best_reward) AS mean_best_reward,
            coalesce(sum(node_count), 0) AS nodes, coalesce(sum(simulations), 0) AS simulations
        FROM trees WHERE {where} AND {of_env}
        """,
        params,
    )[0]
    by_node = store.rows(
        f"""
        SELECT sum(n.value_sum) FILTER (WHERE n.idx = 0) / sum(n.visits) FILTER (WHERE n.idx = 0)
                AS mean_reward,
            coalesce(sum(n.merged), 0) AS samples,
            coalesce(sum(n.merged) FILTER (WHERE NOT n.invalid), 0) AS valid_samples,
            coalesce(sum(n.kind = 'act'), 0) AS environment_steps
        FROM trees r JOIN nodes n ON n.tree_id = r.id
        WHERE r.run_id = :run AND r.round = :round AND {of_env}
        """,
        params,
    )[0]
    by_call = store.rows(
        f"""
        SELECT count(*) AS calls, coalesce(sum(prompt_tokens), 0) AS prompt_tokens,
            coalesce(sum(cached_tokens), 0) AS cached_tokens,
            coalesce(sum(output_tokens), 0) AS output_tokens,
            coalesce(sum(dropped_turns), 0) AS dropped_turns
        FROM model_calls WHERE {where} AND purpose = 'expand'
            AND (:env IS NULL OR tree_id IN (SELECT id FROM trees WHERE {of_env}))
        """,
        params,
    )[0]
    return {**dict(by_tree), **dict(by_node), **dict(by_call)}


def dump_trees(
    store: Store, run_id: str, round_index: int, *, wave: int | None = None
) -> Iterator[tuple[object, ...]]:
    """Everything about a round's trees that a repeated run must reproduce: no ids, no times.

    Args:
        store: the database.
        run_id: the run.
        round_index: the round.
        wave: only the trees of this wave.
    """
    for tree in list_trees(store, run_id, round_index=round_index):
        if wave not in (None, tree.wave):
            continue
        yield (tree.wave, tree.task.name, tree.best_reward, tree.simulations, tree.error)
        yield tree_opening(store, tree.id)
        for node in load_tree(store, tree.id):
            yield dataclasses.astuple(node)[1:]
        for call in list_calls(store, tree.id):
            yield (call.purpose, call.node_idx, tuple(call.seeds), call.output_tokens)
