"""The examples that a run shows in its prompts: chosen once, the same in every stage."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from agentr_lite.core.openings import Example
from agentr_lite.core.steps import step_to_json
from agentr_lite.core.tasks import Task
from agentr_lite.store.database import Store, to_json
from agentr_lite.store.decoding import stored_steps
from agentr_lite.store.runs import task_ids


def save_examples(
    store: Store, run_id: str, env: str, examples: Sequence[tuple[Task, Example]]
) -> None:
    """Store the examples of one environment of a run, in their order.

    Args:
        store: the database.
        run_id: the run; it has none for this environment yet.
        env: what the environment calls itself.
        examples: each with its task.
    """
    with store.atomic():
        ids = task_ids(store, env, [task for task, _ in examples])
        texts = store.text_ids([example.observation for _, example in examples])
        store.executemany(
            "INSERT INTO examples (run_id, task_id, position, observation_id, steps_json)"
            " VALUES (?, ?, ?, ?, ?)",
            [
                (
                    run_id,
                    ids[task.name],
                    position,
                    texts[example.observation],
                    to_json([step_to_json(step) for step in example.steps]),
                )
                for position, (task, example) in enumerate(examples)
            ],
        )


def list_examples(store: Store, run_id: str, env: str) -> tuple[Example, ...]:
    """The examples of one environment of a run, in their order; empty where it has none."""
    rows = store.rows(
        "SELECT k.name, t.content, e.steps_json FROM examples e"
        " JOIN tasks k ON k.id = e.task_id JOIN texts t ON t.id = e.observation_id"
        " WHERE e.run_id = ? AND k.env = ? ORDER BY e.position",
        (run_id, env),
    )
    return tuple(_example(row) for row in rows)


def _example(row: sqlite3.Row) -> Example:
    steps = stored_steps(row["steps_json"], f"the example '{row['name']}'")
    return Example(row["name"], row["content"], tuple(step for step, _ in steps))


def examples_key(store: Store, run_id: str) -> list[tuple[int, int, str]]:
    """What tells the examples of two runs apart, all environments together."""
    rows = store.rows(
        "SELECT task_id, position, steps_json FROM examples WHERE run_id = ? ORDER BY 1, 2",
        (run_id,),
    )
    return [tuple(row) for row in rows]
