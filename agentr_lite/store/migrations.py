"""What turns an empty file, or one of an older release, into the present schema.

Each migration is a small named function. They are applied in order, and ``PRAGMA user_version``
counts how many a file has had. A migration that a release has shipped never changes: a new column
or another form of stored data is a new function at the end.

sqlite-utils has its own migrations. We do not use them, because they record what was applied in
an extra table, which is not STRICT and which every user would see; because they commit one
migration at a time, so that a cut leaves a file between two schemas; and because they do not refuse
a file of a newer release, which ``user_version`` shows at once, even to a reader.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

from agentr_lite.store.schema import APPLICATION_ID, TABLES

Migration = Callable[[sqlite3.Connection], None]
"""Changes tables or rows. It runs inside a transaction and must neither commit nor roll back."""


def create_tables(conn: sqlite3.Connection) -> None:
    """The first schema, in an empty file."""
    run_script(conn, TABLES)


def add_batch_columns(conn: sqlite3.Connection) -> None:
    """Time and size of the batch that a model call was part of.

    A batch is one piece of work, so the time of a single call is unknown. NULL means that it
    was not measured.
    """
    run_script(
        conn,
        """
        ALTER TABLE model_calls ADD COLUMN batch_ms REAL;
        ALTER TABLE model_calls ADD COLUMN batch_size INTEGER;
        """,
    )


def environments_as_list(conn: sqlite3.Connection) -> None:
    """A run's recipe holds its environments as a list, even of one.

    Before, ``env`` was one environment's name, with its options in ``env_options``, or a mapping of
    names to settings. Readers of a stored recipe now meet one form only.
    """
    for run_id, text in conn.execute("SELECT id, recipe FROM runs").fetchall():
        recipe = json.loads(text)
        env, options = recipe.get("env"), recipe.pop("env_options", None) or {}
        if isinstance(env, str):
            env = {env: {"options": options}}
        if isinstance(env, dict):
            recipe["env"] = [_environment(name, own or {}) for name, own in sorted(env.items())]
        new = json.dumps(recipe, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        conn.execute("UPDATE runs SET recipe = ? WHERE id = ?", (new, run_id))


def add_drawn_tokens(conn: sqlite3.Connection) -> None:
    """The tokens of a turn whose text would be tokenized otherwise than the model drew it.

    A JSON array; NULL for nearly all turns. Training learns the tokens that were played.
    """
    conn.execute("ALTER TABLE nodes ADD COLUMN token_ids TEXT")


def add_thinking(conn: sqlite3.Connection) -> None:
    """What a reasoning model thought before a turn. NULL where it did not think."""
    conn.execute("ALTER TABLE nodes ADD COLUMN thinking TEXT")


def add_demonstrations_table(conn: sqlite3.Connection) -> None:
    """Episodes that show how a task is solved, for imitation.

    They belong to the database and not to a run, so that every run can learn from them.
    """
    run_script(
        conn,
        """
        CREATE TABLE demonstrations (
            id INTEGER PRIMARY KEY,
            task_id INTEGER NOT NULL REFERENCES tasks (id),
            -- Who played: the environment's oracle or expert, a person, a file, another model.
            source TEXT NOT NULL CHECK (
                source IN ('solve', 'expert', 'person')
                OR source GLOB 'import:?*' OR source GLOB 'model:?*'
            ),
            reward REAL NOT NULL CHECK (reward BETWEEN 0 AND 1),
            instructions_id INTEGER NOT NULL REFERENCES texts (id),
            observation_id INTEGER NOT NULL REFERENCES texts (id),
            -- As in eval_items.
            steps_json TEXT NOT NULL CHECK (json_valid(steps_json)),
            created_utc TEXT NOT NULL,
            -- Of task, source and steps: the same demonstration is stored once.
            digest BLOB NOT NULL UNIQUE CHECK (length(digest) = 16)
        ) STRICT;
        CREATE INDEX demonstrations_by_task ON demonstrations (task_id);
        """,
    )


def _environment(name: str, own: dict[str, Any]) -> dict[str, Any]:
    empty = {"share": 1.0, "options": {}, "agent": {}, "search": {}, "splice": {}, "eval": {}}
    return {**empty, **own, "name": name}


MIGRATIONS: tuple[Migration, ...] = (
    create_tables,
    add_batch_columns,
    environments_as_list,
    add_drawn_tokens,
    add_thinking,
    add_demonstrations_table,
)
"""In the order in which they are applied; the first one makes schema 1."""

SCHEMA_VERSION = len(MIGRATIONS)
"""``PRAGMA user_version`` of a database that this program wrote."""


def schema_version(conn: sqlite3.Connection) -> int:
    """How many migrations a database has had."""
    return int(conn.execute("PRAGMA user_version").fetchone()[0])


def migrate(conn: sqlite3.Connection, migrations: tuple[Migration, ...] = MIGRATIONS) -> None:
    """Apply what a database has not had yet.

    Args:
        conn: inside a write transaction, so that a failure leaves the file as it was.
        migrations: all of them, from the first.
    """
    # Read inside the transaction: another process may have migrated the file just before.
    applied = schema_version(conn)
    for number, migration in enumerate(migrations[applied:], start=applied + 1):
        migration(conn)
        conn.execute(f"PRAGMA user_version = {number}")
    conn.execute(f"PRAGMA application_id = {APPLICATION_ID}")


def run_script(conn: sqlite3.Connection, script: str) -> None:
    """Execute several SQL statements; ``executescript`` would commit the open transaction."""
    for statement in _statements(script):
        conn.execute(statement)


def _statements(script: str) -> Iterator[str]:
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
