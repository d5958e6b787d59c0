"""Demonstrations: episodes that show how training tasks are solved.

They belong to the database and not to a run, so that every run can learn from them.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from agentr_lite.core.errors import UsageError
from agentr_lite.core.steps import Step, step_to_json
from agentr_lite.core.tasks import Task
from agentr_lite.store.database import Store, to_json
from agentr_lite.store.decoding import DamagedError, record, stored_steps
from agentr_lite.store.records import DemonstrationRow
from agentr_lite.store.runs import now_utc, task_ids, task_of

SPLIT = "train"
"""The only split whose tasks may be demonstrated: a model that has seen a dev or test task solved
would be measured on what it was taught."""


@dataclass(frozen=True, slots=True)
class Demonstration:
    """An episode that is to be stored as a demonstration."""

    task: Task
    source: str
    """``solve``, ``expert``, ``person``, ``import:NAME`` or ``model:NAME``."""
    reward: float
    """Of the whole episode, in [0, 1]."""
    instructions: str
    """The environment's full system prompt."""
    opening: str
    """The first observation."""
    steps: Sequence[Step]
    """In order; at least one."""


def add_demonstrations(store: Store, env: str, demonstrations: Iterable[Demonstration]) -> int:
    """Store demonstrations in one transaction; those that are stored already are left as they are.

    Tokens of a model's turns are not stored, because another model may learn from them.

    Args:
        store: the database.
        env: what the environment calls itself.
        demonstrations: of tasks of this environment.

    Returns:
        How many of them are new.

    Raises:
        UsageError: a task is not of the training split. Then nothing is stored.
        ValueError: a demonstration has no steps.
    """
    added = 0
    with store.atomic():
        for demonstration in demonstrations:
            added += _add(store, env, demonstration)
    return added


def _add(store: Store, env: str, demonstration: Demonstration) -> int:
    task = demonstration.task
    if task.split != SPLIT:
        raise UsageError(
            f"'{task.name}' is a {task.split} task; only training tasks may be demonstrated",
            hint="What a model has been shown is no measure of it.",
        )
    if not demonstration.steps:
        raise ValueError(f"the demonstration of '{task.name}' has no steps")
    steps = to_json([step_to_json(replace(step, token_ids=())) for step in demonstration.steps])
    task_id = task_ids(store, env, [task])[task.name]
    texts = store.text_ids([demonstration.instructions, demonstration.opening])
    cursor = store.execute(
        "INSERT INTO demonstrations (task_id, source, reward, instructions_id, observation_id,"
        " steps_json, created_utc, digest) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (digest) DO NOTHING",
        (
            task_id,
            demonstration.source,
            demonstration.reward,
            texts[demonstration.instructions],
            texts[demonstration.opening],
            steps,
            now_utc(),
            demonstration_digest(task_id, demonstration.source, steps),
        ),
    )
    return cursor.rowcount


def demonstration_digest(task_id: int, source: str, steps_json: str) -> bytes:
    """The key of a demonstration within its database: the first 16 bytes of a SHA-256."""
    return hashlib.sha256(to_json([task_id, source, steps_json]).encode()).digest()[:16]


_SELECTED = """
    SELECT d.id, d.task_id, k.env, k.name, k.split, k.goal, k.level, d.source, d.reward,
        d.instructions_id, d.observation_id, d.steps_json, d.created_utc
    FROM demonstrations d JOIN tasks k ON k.id = d.task_id
"""

_WHERE = """
    WHERE (:env IS NULL OR k.env = :env) AND (:split IS NULL OR k.split = :split)
        AND (:task IS NULL OR k.name = :task)
        AND (:source IS NULL OR d.source = :source
            OR substr(d.source, 1, length(:source) + 1) = :source || ':')
"""


def list_demonstrations(
    store: Store,
    env: str | None = None,
    source: str | None = None,
    split: str | None = SPLIT,
    *,
    task: str | None = None,
) -> list[DemonstrationRow]:
    """Demonstrations in the order in which they were stored.

    Args:
        store: the database.
        env: only of this environment, by what it calls itself.
        source: only of this source; ``import`` and ``model`` stand for all files and all models.
        split: only of tasks of this split.
        task: only of the task of this name.
    """
    rows = store.rows(
        f"{_SELECTED} {_WHERE} ORDER BY d.id",
        {"env": env, "source": source, "split": split, "task": task},
    )
    texts = store.texts({row[key] for row in rows for key in ("instructions_id", "observation_id")})
    return [_demonstration(row, texts) for row in rows]


def _demonstration(row: sqlite3.Row, texts: dict[int, str]) -> DemonstrationRow:
    values = {key: row[key] for key in ("id", "source", "reward", "created_utc")}
    steps = stored_steps(row["steps_json"], f"steps_json of demonstration {row['id']}")
    if not steps:
        raise DamagedError(f"demonstration {row['id']} is damaged: it has no steps")
    values |= {
        "task": task_of(row),
        "instructions": texts[row["instructions_id"]],
        "opening": texts[row["observation_id"]],
        "steps": [step for step, _ in steps],
    }
    return record(DemonstrationRow, values, "demonstrations")


def get_demonstration(store: Store, demonstration_id: int) -> DemonstrationRow:
    """One demonstration with its steps.

    Raises:
        KeyError: it is not in the database.
    """
    row = store.row(f"{_SELECTED} WHERE d.id = :id", {"id": demonstration_id})
    if row is None:
        raise KeyError(demonstration_id)
    return _demonstration(row, store.texts({row["instructions_id"], row["observation_id"]}))


def delete_demonstrations(
    store: Store,
    env: str | None = None,
    source: str | None = None,
    *,
    task: str | None = None,
) -> int:
    """Delete demonstrations; returns how many there were.

    Their texts stay until the next run is deleted, which sweeps away what nothing points to.

    Args:
        store: the database.
        env: see ``list_demonstrations``; this and the others together choose which. Without any
            of them, all demonstrations are deleted.
        source: see there.
        task: see there.
    """
    return store.execute(
        "DELETE FROM demonstrations WHERE id IN (SELECT d.id FROM demonstrations d"
        f" JOIN tasks k ON k.id = d.task_id {_WHERE})",
        {"env": env, "source": source, "split": None, "task": task},
    ).rowcount
