"""Copying whole runs from one database into another.

Ids of rows differ between databases, so each row is written with the ids of the target. Texts,
tasks, models and demonstrations are shared by all runs of a database and are found by what they
are. ``run_digest`` reads a run without ids, so that two databases can be compared.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from agentr_lite.core.errors import UsageError
from agentr_lite.store.database import Store, to_json
from agentr_lite.store.decoding import DamagedError, from_json
from agentr_lite.store.demonstrations import demonstration_digest
from agentr_lite.store.labels import copy_labels


@dataclass(frozen=True, slots=True)
class _Table:
    """How a run's rows of one table are found, and what they point to."""

    name: str
    where: str
    """Of the rows ``x`` that belong to the run ``:run``."""
    order: str
    points: Mapping[str, str] = field(default_factory=dict)
    """Column to the table that it points to."""
    numbered: bool = False
    """Whether later tables point to its ids."""
    has_id: bool = True


_BY_RUN = "x.run_id = :run"
_BY_TREE = "x.tree_id IN (SELECT id FROM trees WHERE run_id = :run)"
_BY_PATH = (
    "x.trajectory_id IN (SELECT j.id FROM trajectories j JOIN trees r ON r.id = j.tree_id"
    " WHERE r.run_id = :run)"
)

_TABLES = (
    _Table(
        "trees",
        _BY_RUN,
        "x.id",
        {"task_id": "tasks", "instructions_id": "texts", "observation_id": "texts"},
        numbered=True,
    ),
    _Table(
        "nodes",
        _BY_TREE,
        "x.tree_id, x.idx",
        {"tree_id": "trees", "text_id": "texts", "observation_id": "texts"},
        has_id=False,
    ),
    _Table("model_calls", _BY_RUN, "x.id", {"tree_id": "trees"}),
    _Table("trajectories", _BY_TREE, "x.id", {"tree_id": "trees"}, numbered=True),
    _Table("judgements", _BY_PATH, "x.id", {"trajectory_id": "trajectories", "reason_id": "texts"}),
    _Table(
        "revisions",
        _BY_RUN,
        "x.id",
        {"good_id": "trajectories", "bad_id": "trajectories", "reflection_id": "texts"},
        numbered=True,
    ),
    _Table(
        "preferences",
        _BY_RUN,
        "x.id",
        {"tree_id": "trees", "revision_id": "revisions"},
        numbered=True,
    ),
    _Table("datasets", _BY_RUN, "x.id", numbered=True),
    _Table(
        "dataset_items",
        "x.dataset_id IN (SELECT id FROM datasets WHERE run_id = :run)",
        "x.dataset_id, x.idx",
        {
            "dataset_id": "datasets",
            "revision_id": "revisions",
            "trajectory_id": "trajectories",
            "demonstration_id": "demonstrations",
            "preference_id": "preferences",
        },
        has_id=False,
    ),
    _Table("adapters", _BY_RUN, "x.id", {"dataset_id": "datasets"}),
    _Table("evals", _BY_RUN, "x.id", numbered=True),
    _Table(
        "eval_items",
        "x.eval_id IN (SELECT id FROM evals WHERE run_id = :run)",
        # Tasks have other ids in another database, and the same names.
        "x.eval_id, (SELECT k.env || ' ' || k.split || ' ' || k.name FROM tasks k"
        " WHERE k.id = x.task_id), x.sample",
        {
            "eval_id": "evals",
            "task_id": "tasks",
            "instructions_id": "texts",
            "observation_id": "texts",
        },
        has_id=False,
    ),
    _Table(
        "examples",
        _BY_RUN,
        "(SELECT k.env || ' ' || k.name FROM tasks k WHERE k.id = x.task_id)",
        {"task_id": "tasks", "observation_id": "texts"},
        has_id=False,
    ),
    _Table("metrics", _BY_RUN, "x.round, x.name, x.step", has_id=False),
    _Table("rounds", _BY_RUN, "x.rowid", has_id=False),
)

_CHUNK = 2_000
_PLACES = ("mlx_dir", "gguf_path")
"""Columns of ``adapters`` that say where this machine has the files."""


def copy_run(source: Store, target: Store, run_id: str) -> bool:
    """Copy a run with all that belongs to it, in one transaction.

    The paths of adapters stay as they are.

    Args:
        source: holds the run, which is sound.
        target: another database.
        run_id: the whole id.

    Returns:
        False where the target holds the same run already.

    Raises:
        UsageError: the target holds something else under the same name: another run of this id,
            or a task with another goal.
        StoreError: the target cannot be written, or the run is damaged.
    """
    if target.scalar("SELECT 1 FROM runs WHERE id = ?", (run_id,)) is not None:
        if run_digest(source, run_id) == run_digest(target, run_id):
            return False
        raise UsageError(
            f"{target.path} holds another run {run_id}, with other content",
            hint="Copy into another file, or delete one of the two.",
        )
    with target.atomic():
        _Copy(source, target, run_id).copy()
        if run_digest(source, run_id) != run_digest(target, run_id):
            raise DamagedError(f"run {run_id} is not the same after it was copied")
        # They are not part of what makes a run the same.
        copy_labels(source, target, run_id)
    return True


def copy_demonstrations(source: Store, target: Store) -> int:
    """Copy all demonstrations that the target does not have; returns how many.

    Raises:
        UsageError: a task has another goal there.
    """
    before = target.scalar("SELECT count(*) FROM demonstrations")
    ids = [row["id"] for row in source.rows("SELECT id FROM demonstrations ORDER BY id")]
    with target.atomic():
        _Shared(source, target).found("demonstrations", ids)
    return int(target.scalar("SELECT count(*) FROM demonstrations") - before)


def set_adapter_paths(store: Store, run_id: str, paths: Mapping[int, tuple[str, str]]) -> None:
    """Say where the files of a run's adapters are.

    Args:
        store: the database.
        run_id: the run.
        paths: round to the MLX directory and the GGUF file.
    """
    store.executemany(
        "UPDATE adapters SET mlx_dir = ?, gguf_path = ? WHERE run_id = ? AND round = ?",
        [(*places, run_id, number) for number, places in paths.items()],
    )


def run_digest(store: Store, run_id: str) -> str:
    """A digest of all that belongs to a run but ids of rows and places of files.

    Equal digests mean equal runs, whatever database they are in.
    """
    digest = hashlib.sha256()
    names = _Names(store)
    run = store.row(
        "SELECT r.*, m.sha256, m.description FROM runs r LEFT JOIN models m ON m.id = r.model_id"
        " WHERE r.id = ?",
        (run_id,),
    )
    _feed(digest, [value for key, value in dict(run or {}).items() if key != "model_id"])
    for table in _TABLES:
        _feed(digest, [table.name])
        for rows in _chunks(store, table, run_id):
            for place, column in table.points.items():
                names.learn(column, (row[place] for row in rows))
            for row in rows:
                if table.numbered:
                    names.number(table.name, row["id"])
                _feed(digest, _nameless(table, row, names))
    return digest.hexdigest()


def _nameless(table: _Table, row: Mapping[str, Any], names: _Names) -> Iterator[Any]:
    for column, value in row.items():
        if column in table.points:
            yield names.of(table.points[column], value)
        elif column == "summary":
            yield _summary(value, lambda old: names.of("datasets", old))
        elif not (column == "id" and table.has_id) and column not in _PLACES:
            yield value


def _summary(text: str, new_id: Any) -> str:
    """A stage's summary with another id of its data set."""
    summary = from_json(text, "a stage's summary", dict[str, Any])
    if not isinstance(summary.get("dataset_id"), int):
        return text
    return to_json({**summary, "dataset_id": new_id(summary["dataset_id"])})


def _feed(digest: Any, values: Iterable[Any]) -> None:
    shown = [value.hex() if isinstance(value, bytes) else value for value in values]
    digest.update(json.dumps(shown).encode())


def _chunks(store: Store, table: _Table, run_id: str) -> Iterator[list[dict[str, Any]]]:
    """A run's rows of a table, in the order in which they were stored."""
    start = 0
    while True:
        rows = store.rows(
            f"SELECT x.* FROM {table.name} x WHERE {table.where} ORDER BY {table.order}"
            " LIMIT :count OFFSET :start",
            {"run": run_id, "count": _CHUNK, "start": start},
        )
        yield [dict(row) for row in rows]
        start += len(rows)
        if len(rows) < _CHUNK:
            return


class _Names:
    """What rows are called without their ids: by content, or by their place in the run."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[tuple[str, int], Any] = {}

    def number(self, table: str, row_id: int) -> None:
        """Name a row of the run by its place among those of its table."""
        count = self._known.get((table, -1), 0)
        self._known[table, row_id], self._known[table, -1] = count, count + 1

    def learn(self, table: str, ids: Iterable[int | None]) -> None:
        """Look up the names of rows that runs share."""
        query = _NAMES.get(table)
        if query is None:
            return
        unknown = {i for i in ids if i is not None and (table, i) not in self._known}
        for row in rows_in(self._store, query, unknown):
            values = [v.hex() if isinstance(v, bytes) else v for v in tuple(row)[1:]]
            self._known[table, row[0]] = values

    def of(self, table: str, row_id: int | None) -> Any:
        """The name of a row; None for no row."""
        return None if row_id is None else self._known.get((table, row_id), "lost")


_NAMES = {
    "texts": "SELECT id, digest FROM texts WHERE id",
    "tasks": "SELECT id, env, split, name, goal, level FROM tasks WHERE id",
    "demonstrations": (
        "SELECT d.id, k.env, k.split, k.name, d.source, d.steps_json FROM demonstrations d"
        " JOIN tasks k ON k.id = d.task_id WHERE d.id"
    ),
}


def rows_in(store: Store, sql: str, ids: Iterable[int]) -> list[Any]:
    """Rows of a query that ends with ``WHERE id``, for many ids."""
    wanted = sorted(ids)
    rows: list[Any] = []
    for start in range(0, len(wanted), 500):
        chunk = wanted[start : start + 500]
        rows += store.rows(f"{sql} IN ({', '.join('?' * len(chunk))})", chunk)
    return rows


class _Shared:
    """Ids in the target of rows that runs share; what is not there is stored."""

    def __init__(self, source: Store, target: Store) -> None:
        self._source, self._target = source, target
        self._ids: dict[tuple[str, int], int] = {}

    def found(self, table: str, ids: Iterable[int | None]) -> dict[int, int]:
        """Source id to target id."""
        wanted = {i for i in ids if i is not None}
        new = {i for i in wanted if (table, i) not in self._ids}
        if new:
            make = {
                "texts": self._texts,
                "tasks": self._tasks,
                "demonstrations": self._demonstrations,
            }
            self._ids |= {(table, old): now for old, now in make[table](new).items()}
        lost = [i for i in wanted if (table, i) not in self._ids]
        if lost:
            raise DamagedError(f"row {lost[0]} of {table} is missing")
        return {i: self._ids[table, i] for i in wanted}

    def _texts(self, ids: set[int]) -> dict[int, int]:
        contents = self._source.texts(ids)
        stored = self._target.text_ids(contents.values())
        return {i: stored[content] for i, content in contents.items()}

    def _tasks(self, ids: set[int]) -> dict[int, int]:
        found = {}
        for row in rows_in(self._source, "SELECT * FROM tasks WHERE id", ids):
            values = {key: row[key] for key in ("env", "name", "split", "goal", "level")}
            self._target.execute(
                "INSERT INTO tasks (env, name, split, goal, level)"
                " VALUES (:env, :name, :split, :goal, :level) ON CONFLICT DO NOTHING",
                values,
            )
            stored = self._target.row(
                "SELECT id, goal, level FROM tasks"
                " WHERE env = :env AND split = :split AND name = :name",
                values,
            )
            if stored is None or (stored["goal"], stored["level"]) != (row["goal"], row["level"]):
                raise UsageError(
                    f"{self._target.path} has a {row['split']} task '{row['name']}' of"
                    f" {row['env']} with another goal or level",
                    hint="The two databases are of different versions of the environment: copy"
                    " into another file.",
                )
            found[row["id"]] = stored["id"]
        return found

    def _demonstrations(self, ids: set[int]) -> dict[int, int]:
        found = {}
        for row in rows_in(self._source, "SELECT * FROM demonstrations WHERE id", ids):
            texts = self.found("texts", (row["instructions_id"], row["observation_id"]))
            task = self.found("tasks", [row["task_id"]])[row["task_id"]]
            digest = demonstration_digest(task, row["source"], row["steps_json"])
            self._target.execute(
                "INSERT INTO demonstrations (task_id, source, reward, instructions_id,"
                " observation_id, steps_json, created_utc, digest) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (digest) DO NOTHING",
                (
                    task,
                    row["source"],
                    row["reward"],
                    texts[row["instructions_id"]],
                    texts[row["observation_id"]],
                    row["steps_json"],
                    row["created_utc"],
                    digest,
                ),
            )
            found[row["id"]] = self._target.scalar(
                "SELECT id FROM demonstrations WHERE digest = ?", (digest,)
            )
        return found


class _Copy:
    """One run on its way into another database."""

    def __init__(self, source: Store, target: Store, run_id: str) -> None:
        self._source, self._target, self._run_id = source, target, run_id
        self._shared = _Shared(source, target)
        self._ids: dict[str, dict[int, int]] = {}

    def copy(self) -> None:
        """Write all rows; inside a transaction of the target."""
        self._copy_run()
        for table in _TABLES:
            for rows in _chunks(self._source, table, self._run_id):
                self._copy_rows(table, rows)

    def _copy_run(self) -> None:
        row = self._source.row("SELECT * FROM runs WHERE id = ?", (self._run_id,))
        if row is None:
            raise DamagedError(f"run {self._run_id} is missing")
        values = dict(row)
        model = self._source.row("SELECT * FROM models WHERE id = ?", (row["model_id"],))
        if model is not None:
            known = {key: model[key] for key in ("sha256", "path", "description")}
            self._target.execute(
                "INSERT INTO models (sha256, path, description)"
                " VALUES (:sha256, :path, :description) ON CONFLICT DO NOTHING",
                known,
            )
            values["model_id"] = self._target.scalar(
                "SELECT id FROM models WHERE sha256 = :sha256 AND description = :description",
                known,
            )
        self._target.insert("runs", values)
        # In the order of the source: figures of episodes are taken in the order of their tasks.
        tasks = self._source.rows(
            "SELECT task_id FROM trees WHERE run_id = :run UNION SELECT i.task_id FROM evals e"
            " JOIN eval_items i ON i.eval_id = e.id WHERE e.run_id = :run ORDER BY 1",
            {"run": self._run_id},
        )
        self._shared.found("tasks", [row[0] for row in tasks])

    def _copy_rows(self, table: _Table, rows: list[dict[str, Any]]) -> None:
        if not rows:
            return
        for column, name in table.points.items():
            ids = [row[column] for row in rows]
            new = self._ids.get(name)
            if new is None:
                new = self._shared.found(name, ids)
            for row, old in zip(rows, ids, strict=True):
                row[column] = self._new_id(name, new, old)
        olds = [row.pop("id") for row in rows] if table.has_id else []
        for row in rows:
            if "summary" in row:
                row["summary"] = _summary(row["summary"], self._new_dataset)
        names = list(rows[0])
        sql = (
            f"INSERT INTO {table.name} ({', '.join(names)})"
            f" VALUES ({', '.join(':' + name for name in names)})"
        )
        if table.numbered:
            ids_now = self._ids.setdefault(table.name, {})
            for old, row in zip(olds, rows, strict=True):
                ids_now[old] = int(self._target.execute(sql, row).lastrowid or 0)
        else:
            self._target.db.conn.executemany(sql, rows)

    def _new_dataset(self, old: int) -> int | None:
        # A data set that was replaced since is gone, but for its number in a summary.
        return self._ids.get("datasets", {}).get(old)

    def _new_id(self, table: str, ids: Mapping[int, int], old: int | None) -> int | None:
        if old is None:
            return None
        if old not in ids:
            raise DamagedError(f"row {old} of {table}, to which run {self._run_id} points, is lost")
        return ids[old]
