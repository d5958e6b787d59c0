"""Runs, their stages, models, tasks and metrics."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, get_args

from agentr_lite.core.errors import UsageError
from agentr_lite.core.suggestions import did_you_mean
from agentr_lite.core.tasks import Task
from agentr_lite.core.usage import Usage
from agentr_lite.store.database import Store, to_json
from agentr_lite.store.decoding import record
from agentr_lite.store.labels import known_names, runs_named
from agentr_lite.store.records import MetricRow, RoundRow, RunRow, RunStatus, Stage, TaskRow

_BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"
LONGEST_NAME = 48
"""Characters of what a run's id begins with."""

_RUN = """
SELECT r.*, m.sha256 AS model_sha256, m.path AS model_path, m.description AS model_description
FROM runs r LEFT JOIN models m ON m.id = r.model_id
"""


def now_utc() -> str:
    """The time as the store writes it, e.g. ``2026-11-22T13:48:12.345Z``; sorts as text."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def add_run(
    store: Store,
    *,
    name: str,
    env: str,
    seed: int,
    recipe: Mapping[str, Any],
    model: Mapping[str, Any] | None = None,
    versions: Mapping[str, str] | None = None,
) -> str:
    """Create a run with status ``running``.

    Args:
        store: the database.
        name: what its id begins with; shortened where it is long.
        env: the environments as one text.
        seed: the recipe's.
        recipe: the resolved recipe as JSON types; stored whole.
        model: the actor's ``description``.
        versions: package name to version.

    Returns:
        The run's id: name, date and time of day, so that ids of one name sort by age, e.g.
        ``textcraft-20261122-ar1k``.
    """
    with store.atomic():
        run_id = _free_id(store, name, datetime.now(UTC))
        store.insert(
            "runs",
            {
                "id": run_id,
                "created_utc": now_utc(),
                "status": "running",
                "env": env,
                "model_id": None if model is None else _model_id(store, model),
                "seed": seed,
                "recipe": dict(recipe),
                "versions": dict(versions or {}),
            },
        )
    return run_id


def set_run_model(store: Store, run_id: str, model: Mapping[str, Any]) -> None:
    """Record what actor a run uses, where it was not known when the run began."""
    with store.atomic():
        model_id = _model_id(store, model)
        store.execute("UPDATE runs SET model_id = ? WHERE id = ?", (model_id, run_id))


def set_run_status(
    store: Store, run_id: str, status: RunStatus, *, error: str | None = None
) -> None:
    """Change a run's status; ``finished_utc`` is set unless it runs again.

    Args:
        store: the database.
        run_id: an existing run.
        status: the new status.
        error: one line, for ``failed``.
    """
    finished = None if status == "running" else now_utc()
    store.execute(
        "UPDATE runs SET status = ?, finished_utc = ?, error = ? WHERE id = ?",
        (status, finished, error, run_id),
    )


def list_runs(store: Store, *, env: str | None = None) -> list[RunRow]:
    """Runs, newest first.

    Args:
        store: the database.
        env: only this environment's.
    """
    where, params = ("WHERE r.env = ?", [env]) if env else ("", [])
    rows = store.rows(f"{_RUN} {where} ORDER BY r.created_utc DESC, r.id DESC", params)
    return [_run(row) for row in rows]


def get_run(store: Store, run_id: str) -> RunRow:
    """A run by its id, a unique beginning of it or its name, or the newest one as ``latest``.

    Raises:
        UsageError: no such run, or several begin so.
    """
    runs = list_runs(store)
    if run_id == "latest" and runs:
        return runs[0]
    matches = [run for run in runs if run.id == run_id] or [
        run for run in runs if run_id and run.id.startswith(run_id)
    ]
    if len(matches) == 1:
        return matches[0]
    named = runs_named(store, run_id) if not matches else []
    if len(named) == 1:
        return next(run for run in runs if run.id == named[0])
    if matches:
        raise UsageError(
            f"several runs begin with '{run_id}': {', '.join(run.id for run in matches[:5])}",
            hint="Give the whole id.",
        )
    raise UsageError(
        f"there is no run '{run_id}' in {store.path}"
        f"{did_you_mean(run_id, [*(run.id for run in runs), *known_names(store)])}",
        hint="`agentr-lite runs` lists them.",
    )


def delete_run(store: Store, run_id: str) -> None:
    """Delete a run with all that belongs to it, and texts that nothing else uses.

    Adapter files on disk are not the store's: ``runs.removal`` deletes them.

    Raises:
        UsageError: no such run.
    """
    run = get_run(store, run_id)
    with store.atomic():
        store.execute("DELETE FROM runs WHERE id = ?", (run.id,))
    # Checking each text against every table that points to texts would be quadratic; the query
    # below leaves out what is pointed to. The setting cannot change inside a transaction.
    store.execute("PRAGMA foreign_keys = OFF")
    try:
        with store.atomic():
            store.execute(
                """
                DELETE FROM texts WHERE id NOT IN (
                    SELECT text_id FROM nodes WHERE text_id IS NOT NULL
                    UNION SELECT observation_id FROM nodes
                    UNION SELECT instructions_id FROM trees
                    UNION SELECT observation_id FROM trees
                    UNION SELECT reason_id FROM judgements WHERE reason_id IS NOT NULL
                    UNION SELECT reflection_id FROM revisions
                    UNION SELECT instructions_id FROM demonstrations
                    UNION SELECT observation_id FROM demonstrations
                    UNION SELECT observation_id FROM examples
                    UNION SELECT instructions_id FROM eval_items WHERE instructions_id IS NOT NULL
                    UNION SELECT observation_id FROM eval_items WHERE observation_id IS NOT NULL
                )
                """
            )
    finally:
        store.execute("PRAGMA foreign_keys = ON")


def stage_started(store: Store, run_id: str, round_index: int, stage: Stage) -> None:
    """Start a stage, or continue it where it was cut; a finished one starts again from zero.

    A stage that was cut keeps the time and tokens that it has cost so far. The round's later stages
    depend on this one, so they are no longer finished; they continue from what is left of them.
    """
    order = get_args(Stage)
    later = order[order.index(stage) + 1 :]
    with store.atomic():
        store.executemany(
            "UPDATE rounds SET finished_utc = NULL WHERE run_id = ? AND round = ? AND stage = ?",
            [(run_id, round_index, name) for name in later],
        )
        store.execute(
            "DELETE FROM rounds WHERE run_id = ? AND round = ? AND stage = ?"
            " AND finished_utc IS NOT NULL",
            (run_id, round_index, stage),
        )
        store.execute(
            "INSERT INTO rounds (run_id, round, stage, started_utc) VALUES (?, ?, ?, ?)"
            " ON CONFLICT DO NOTHING",
            (run_id, round_index, stage, now_utc()),
        )


def add_stage_usage(
    store: Store,
    run_id: str,
    round_index: int,
    stage: Stage,
    *,
    usage: Usage | None = None,
    wall_s: float = 0.0,
) -> None:
    """Add to the cost of a stage that was started.

    Call it where work is committed, so that a cut stage knows what its committed part cost.

    Args:
        store: the database.
        run_id: the run.
        round_index: the round.
        stage: the stage.
        usage: what the actor did since the last call (see ``usage_since``).
        wall_s: seconds since the last call.
    """
    usage = usage or Usage()
    store.execute(
        """
        UPDATE rounds SET wall_s = wall_s + ?, model_ms = model_ms + ?,
            prompt_tokens = prompt_tokens + ?,
            decoded_prompt_tokens = decoded_prompt_tokens + ?, output_tokens = output_tokens + ?
        WHERE run_id = ? AND round = ? AND stage = ?
        """,
        (
            wall_s,
            usage.model_ms,
            usage.prompt_tokens,
            usage.decoded_prompt_tokens,
            usage.output_tokens,
            run_id,
            round_index,
            stage,
        ),
    )


def stage_finished(
    store: Store,
    run_id: str,
    round_index: int,
    stage: Stage,
    *,
    usage: Usage | None = None,
    summary: Mapping[str, Any] | None = None,
    wall_s: float = 0.0,
) -> None:
    """Mark a stage as done.

    Args:
        store: the database.
        run_id: the run.
        round_index: the round.
        stage: the stage.
        usage: what the actor did since the last ``add_stage_usage``; added to what is there.
        summary: the stage's counts; JSON types.
        wall_s: seconds since the last ``add_stage_usage``; added to what is there.
    """
    with store.atomic():
        add_stage_usage(store, run_id, round_index, stage, usage=usage, wall_s=wall_s)
        store.execute(
            "UPDATE rounds SET finished_utc = ?, summary = ?"
            " WHERE run_id = ? AND round = ? AND stage = ?",
            (now_utc(), to_json(dict(summary or {})), run_id, round_index, stage),
        )


def set_stage_summary(
    store: Store, run_id: str, round_index: int, stage: Stage, summary: Mapping[str, Any]
) -> None:
    """Store a summary of a stage that was started; ``stage_finished`` replaces it.

    Args:
        store: the database.
        run_id: the run.
        round_index: the round.
        stage: the stage.
        summary: JSON types, e.g. the settings that a resumed stage must share.
    """
    store.execute(
        "UPDATE rounds SET summary = ? WHERE run_id = ? AND round = ? AND stage = ?",
        (to_json(dict(summary)), run_id, round_index, stage),
    )


def stage_status(store: Store, run_id: str, round_index: int, stage: Stage) -> RoundRow | None:
    """A stage's row; None where it was not started."""
    row = store.row(
        "SELECT * FROM rounds WHERE run_id = ? AND round = ? AND stage = ?",
        (run_id, round_index, stage),
    )
    return None if row is None else _round(row)


def list_stages(store: Store, run_id: str) -> list[RoundRow]:
    """All stages of a run by round, in the order in which they were first started."""
    rows = store.rows("SELECT * FROM rounds WHERE run_id = ? ORDER BY round, rowid", (run_id,))
    return [_round(row) for row in rows]


def usage_since(before: Usage, now: Usage) -> Usage:
    """What an actor did between two moments; ``before`` is a copy (``copy.copy(actor.usage)``)."""
    return Usage(
        calls=now.calls - before.calls,
        prompt_tokens=now.prompt_tokens - before.prompt_tokens,
        decoded_prompt_tokens=now.decoded_prompt_tokens - before.decoded_prompt_tokens,
        output_tokens=now.output_tokens - before.output_tokens,
        model_ms=now.model_ms - before.model_ms,
    )


def task_ids(store: Store, env: str, tasks: Sequence[Task]) -> dict[str, int]:
    """Ids of tasks of one split, stored if they are new.

    Returns:
        task name to id.
    """
    with store.atomic():
        store.executemany(
            "INSERT INTO tasks (env, name, split, goal, level) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT DO NOTHING",
            [(env, task.name, task.split, task.goal, task.level) for task in tasks],
        )
        return {
            task.name: store.scalar(
                "SELECT id FROM tasks WHERE env = ? AND split = ? AND name = ?",
                (env, task.split, task.name),
            )
            for task in tasks
        }


def add_metrics(
    store: Store, run_id: str, round_index: int, points: Iterable[tuple[str, int, float]]
) -> None:
    """Store points of series.

    Args:
        store: the database.
        run_id: the run.
        round_index: the round.
        points: (name, step, value); a point that is there already is replaced.
    """
    store.upsert_all(
        "metrics",
        (
            {"run_id": run_id, "round": round_index, "name": name, "step": step, "value": value}
            for name, step, value in points
        ),
        key=("run_id", "round", "name", "step"),
    )


def list_metrics(
    store: Store, run_id: str, *, round_index: int | None = None, name: str | None = None
) -> list[MetricRow]:
    """Points by round, name and step."""
    rows = store.rows(
        """
        SELECT round, name, step, value FROM metrics
        WHERE run_id = :run AND (:round IS NULL OR round = :round)
            AND (:name IS NULL OR name = :name)
        ORDER BY round, name, step
        """,
        {"run": run_id, "round": round_index, "name": name},
    )
    return [record(MetricRow, dict(row), "metrics", finite=False) for row in rows]


def task_of(row: sqlite3.Row) -> TaskRow:
    """The task in a row that joins ``tasks`` with the columns ``task_id, env, name, …``."""
    values = {key: row[key] for key in ("env", "name", "split", "goal", "level")}
    return record(TaskRow, {"id": row["task_id"], **values}, "tasks")


def _free_id(store: Store, name: str, now: datetime) -> str:
    slug = name[:LONGEST_NAME].rstrip("-")
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    moment = int((now - midnight).total_seconds() * 10)
    while True:
        # Tenths of a second fit four digits of base 36 (864,000 of 1,679,616).
        run_id = f"{slug}-{now:%Y%m%d}-{_base36(moment)}"
        if store.scalar("SELECT 1 FROM runs WHERE id = ?", (run_id,)) is None:
            return run_id
        moment += 1


def _base36(number: int) -> str:
    digits = ""
    for _ in range(4):
        number, digit = divmod(number, 36)
        digits = _BASE36[digit] + digits
    return digits


def _model_id(store: Store, description: Mapping[str, Any]) -> int:
    values = {
        "sha256": str(description.get("sha256") or ""),
        "path": str(description.get("path") or ""),
        "description": to_json(dict(description)),
    }
    store.execute(
        "INSERT INTO models (sha256, path, description)"
        " VALUES (:sha256, :path, :description) ON CONFLICT DO NOTHING",
        values,
    )
    return int(
        store.scalar(
            "SELECT id FROM models WHERE sha256 = :sha256 AND description = :description", values
        )
    )


def _run(row: sqlite3.Row) -> RunRow:
    values = {key: row[key] for key in row.keys() if key != "model_id"}  # noqa: SIM118 - a Row
    for key in ("model_sha256", "model_path"):
        values[key] = "" if values[key] is None else values[key]
    if values["model_description"] is None:
        values["model_description"] = "{}"
    return record(RunRow, values, "runs", decoded=("recipe", "versions", "model_description"))


def _round(row: sqlite3.Row) -> RoundRow:
    return record(RoundRow, dict(row), "rounds", decoded=("summary",))
