"""Evaluations and their episodes."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from agentr_lite.core.steps import step_to_json
from agentr_lite.store.database import Store, to_json
from agentr_lite.store.decoding import record, stored_steps
from agentr_lite.store.records import EpisodeStep, EvalItemRow, EvalMode, EvalRow
from agentr_lite.store.runs import task_of


def open_eval(store: Store, run_id: str, round_index: int, mode: EvalMode, split: str) -> int:
    """The id of an evaluation, which is created if it is new.

    Args:
        store: the database.
        run_id: the run.
        round_index: the round whose actor is evaluated; 0 = the base.
        mode: how episodes are played.
        split: whose tasks.
    """
    key = (run_id, round_index, mode, split)
    with store.atomic():
        store.execute(
            "INSERT INTO evals (run_id, round, mode, split) VALUES (?, ?, ?, ?)"
            " ON CONFLICT DO NOTHING",
            key,
        )
        return int(
            store.scalar(
                "SELECT id FROM evals WHERE run_id = ? AND round = ? AND mode = ? AND split = ?",
                key,
            )
        )


def set_eval_summary(store: Store, eval_id: int, summary: Mapping[str, Any]) -> None:
    """Store an evaluation's aggregates; JSON types."""
    store.execute("UPDATE evals SET summary = ? WHERE id = ?", (to_json(dict(summary)), eval_id))


def list_evals(
    store: Store, run_id: str, *, round_index: int | None = None, mode: EvalMode | None = None
) -> list[EvalRow]:
    """Evaluations by round and mode."""
    rows = store.rows(
        """
        SELECT id, run_id, round, mode, split, summary FROM evals
        WHERE run_id = :run AND (:round IS NULL OR round = :round)
            AND (:mode IS NULL OR mode = :mode)
        ORDER BY round, mode, split
        """,
        {"run": run_id, "round": round_index, "mode": mode},
    )
    return [record(EvalRow, dict(row), "evals", decoded=("summary",)) for row in rows]


def save_eval_items(store: Store, eval_id: int, items: Sequence[tuple[int, EvalItemRow]]) -> None:
    """Store episodes in one transaction; one that is there already is replaced.

    Args:
        store: the database.
        eval_id: the evaluation.
        items: (task id from ``runs.task_ids``, episode); the episode's own ``task`` is not read.
    """
    with store.atomic():
        openings = [text for _, item in items for text in (item.instructions, item.observation)]
        texts = store.text_ids(text for text in openings if text is not None)
        store.executemany(
            "INSERT OR REPLACE INTO eval_items (eval_id, task_id, sample, reward, success, steps,"
            " invalid_actions, repeated_actions, reflections, steps_json, error, instructions_id,"
            " observation_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    eval_id,
                    task_id,
                    item.sample,
                    item.reward,
                    item.success,
                    item.steps,
                    item.invalid_actions,
                    item.repeated_actions,
                    item.reflections,
                    to_json([_step_to_json(step) for step in item.episode]),
                    item.error,
                    None if item.instructions is None else texts[item.instructions],
                    None if item.observation is None else texts[item.observation],
                )
                for task_id, item in items
            ],
        )


_WHOLE = "i.steps_json, xi.content AS instructions, xo.content AS observation"
_WHOLE_JOINS = (
    "LEFT JOIN texts xi ON xi.id = i.instructions_id LEFT JOIN texts xo ON xo.id = i.observation_id"
)
_LAST_STEP = """CASE WHEN json_array_length(i.steps_json)
    THEN json_array(json_extract(i.steps_json, '$[#-1]')) ELSE '[]' END AS steps_json"""


def list_eval_items(
    store: Store, eval_id: int, *, with_episodes: bool = True, last_step_only: bool = False
) -> list[EvalItemRow]:
    """Episodes by task and sample.

    Args:
        store: the database.
        eval_id: the evaluation.
        with_episodes: also load the steps, and what the model saw before them; without them
            ``episode`` is empty.
        last_step_only: of the steps, load only each episode's last one.
    """
    steps, joins = "'[]' AS steps_json", ""
    if last_step_only:
        steps = _LAST_STEP
    elif with_episodes:
        steps, joins = _WHOLE, _WHOLE_JOINS
    rows = store.rows(
        f"""
        SELECT i.task_id, k.env, k.name, k.split, k.goal, k.level, i.sample, i.reward, i.success,
            i.steps, i.invalid_actions, i.repeated_actions, i.reflections, {steps}, i.error
        FROM eval_items i JOIN tasks k ON k.id = i.task_id {joins}
        WHERE i.eval_id = ? ORDER BY i.task_id, i.sample
        """,
        (eval_id,),
    )
    return [_item(row) for row in rows]


def get_eval_item(store: Store, eval_id: int, task_id: int, sample: int) -> EvalItemRow | None:
    """One episode with its steps; None where it is not stored."""
    row = store.row(
        f"""
        SELECT i.task_id, k.env, k.name, k.split, k.goal, k.level, i.sample, i.reward, i.success,
            i.steps, i.invalid_actions, i.repeated_actions, i.reflections, {_WHOLE}, i.error
        FROM eval_items i JOIN tasks k ON k.id = i.task_id {_WHOLE_JOINS}
        WHERE i.eval_id = ? AND i.task_id = ? AND i.sample = ?
        """,
        (eval_id, task_id, sample),
    )
    return None if row is None else _item(row)


def _item(row: sqlite3.Row) -> EvalItemRow:
    values = {key: row[key] for key in _ITEM_FIELDS}
    what = f"steps_json of task {row['task_id']}, sample {row['sample']}"
    episode = tuple(
        EpisodeStep(step, given=bool(given.get("given")))
        for step, given in stored_steps(row["steps_json"], what)
    )
    if "instructions" in row.keys():  # noqa: SIM118 - a row iterates over its values
        values |= {"instructions": row["instructions"], "observation": row["observation"]}
    values |= {"success": bool(row["success"]), "episode": episode, "task": task_of(row)}
    return record(EvalItemRow, values, "eval_items")


_ITEM_FIELDS = (
    "sample",
    "reward",
    "steps",
    "invalid_actions",
    "repeated_actions",
    "reflections",
    "error",
)


def _step_to_json(played: EpisodeStep) -> dict[str, Any]:
    return step_to_json(played.step) | ({"given": True} if played.given else {})


def delete_recovery(store: Store, run_id: str, split: str) -> None:
    """Delete all rounds' recovery episodes on a split: the failures they start from are gone."""
    store.execute(
        "DELETE FROM evals WHERE run_id = ? AND split = ? AND mode = 'recovery'", (run_id, split)
    )


def delete_evals(store: Store, run_id: str, round_index: int) -> None:
    """Delete a round's evaluations, because the adapter that they belong to is gone."""
    with store.atomic():
        store.execute("DELETE FROM evals WHERE run_id = ? AND round = ?", (run_id, round_index))
        store.execute(
            "DELETE FROM rounds WHERE run_id = ? AND round = ? AND stage = 'eval'",
            (run_id, round_index),
        )
