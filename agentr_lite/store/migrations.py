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
from agentr_lite.store.views import READABLE_VIEWS, SHORTER_VIEWS

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


def allow_imitation(conn: sqlite3.Connection) -> None:
    """A stage that learns from demonstrations, its data set, and a round before round 0.

    SQLite cannot change a CHECK, so the two tables are made anew; no other table points to them.
    A data set keeps its row where a demonstration is deleted: it was trained on.
    """
    run_script(
        conn,
        """
        CREATE TABLE new_rounds (
            run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
            -- Round 0 is what self-training starts from: the base model, or what imitation made
            -- of it. The base is then round -1.
            round INTEGER NOT NULL CHECK (round >= -1),
            stage TEXT NOT NULL
                CHECK (stage IN ('imitate', 'search', 'splice', 'train', 'eval')),
            started_utc TEXT NOT NULL,
            finished_utc TEXT,
            wall_s REAL NOT NULL DEFAULT 0,
            model_ms REAL NOT NULL DEFAULT 0,
            prompt_tokens INTEGER NOT NULL DEFAULT 0,
            decoded_prompt_tokens INTEGER NOT NULL DEFAULT 0,
            output_tokens INTEGER NOT NULL DEFAULT 0,
            -- Stage-specific counts (trees, nodes, pairs, rejected …) for people and the report.
            summary TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(summary)),
            PRIMARY KEY (run_id, round, stage)
        ) STRICT;
        INSERT INTO new_rounds SELECT run_id, round, stage, started_utc, finished_utc, wall_s,
            model_ms, prompt_tokens, decoded_prompt_tokens, output_tokens, summary FROM rounds;
        DROP TABLE rounds;
        ALTER TABLE new_rounds RENAME TO rounds;

        CREATE TABLE new_dataset_items (
            dataset_id INTEGER NOT NULL REFERENCES datasets (id) ON DELETE CASCADE,
            idx INTEGER NOT NULL,
            kind TEXT NOT NULL CHECK (kind IN ('revision', 'good', 'general', 'demonstration')),
            revision_id INTEGER REFERENCES revisions (id) ON DELETE CASCADE,
            trajectory_id INTEGER REFERENCES trajectories (id) ON DELETE CASCADE,
            -- Line of the general file; its text is not copied.
            general_line INTEGER,
            demonstration_id INTEGER REFERENCES demonstrations (id) ON DELETE SET NULL,
            split TEXT NOT NULL CHECK (split IN ('train', 'valid')),
            PRIMARY KEY (dataset_id, idx)
        ) STRICT, WITHOUT ROWID;
        INSERT INTO new_dataset_items SELECT dataset_id, idx, kind, revision_id, trajectory_id,
            general_line, NULL, split FROM dataset_items;
        DROP TABLE dataset_items;
        ALTER TABLE new_dataset_items RENAME TO dataset_items;
        CREATE INDEX items_by_revision ON dataset_items (revision_id);
        CREATE INDEX items_by_trajectory ON dataset_items (trajectory_id);
        CREATE INDEX items_by_demonstration ON dataset_items (demonstration_id);
        """,
    )


def add_examples_table(conn: sqlite3.Connection) -> None:
    """The demonstrations that a run shows in its prompts.

    They are copied, not pointed to: what a run has shown must not change with what is stored or
    deleted later.
    """
    run_script(
        conn,
        """
        CREATE TABLE examples (
            run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
            task_id INTEGER NOT NULL REFERENCES tasks (id),
            -- From 0, in each environment.
            position INTEGER NOT NULL,
            observation_id INTEGER NOT NULL REFERENCES texts (id),
            -- As in eval_items.
            steps_json TEXT NOT NULL CHECK (json_valid(steps_json)),
            PRIMARY KEY (run_id, task_id)
        ) STRICT, WITHOUT ROWID;
        """,
    )


def add_preferences_table(conn: sqlite3.Connection) -> None:
    """Pairs of a better and a worse continuation, and data sets that hold some.

    A pair names nodes: its texts are the tree's, or its revision's. SQLite cannot change a CHECK,
    so the items of data sets are made anew.
    """
    run_script(
        conn,
        """
        CREATE TABLE preferences (
            id INTEGER PRIMARY KEY,
            run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
            round INTEGER NOT NULL,
            tree_id INTEGER NOT NULL REFERENCES trees (id) ON DELETE CASCADE,
            kind TEXT NOT NULL CHECK (kind IN ('episode', 'step', 'revision')),
            -- The last node that the two share; 0 is the root.
            parting_idx INTEGER NOT NULL,
            -- Where each continuation ends: the leaves of two episodes, or two children of the
            -- parting node. Of a revision, chosen_idx is the leaf of its good trajectory.
            chosen_idx INTEGER NOT NULL,
            rejected_idx INTEGER NOT NULL,
            -- Rewards of the two episodes, or the nodes' mean rewards.
            chosen_value REAL NOT NULL,
            rejected_value REAL NOT NULL CHECK (rejected_value <= chosen_value),
            -- The revision that is preferred; its conversation is there.
            revision_id INTEGER REFERENCES revisions (id) ON DELETE CASCADE,
            CHECK ((kind = 'revision') = (revision_id IS NOT NULL)),
            UNIQUE (tree_id, kind, parting_idx, chosen_idx, rejected_idx)
        ) STRICT;
        CREATE INDEX preferences_by_run ON preferences (run_id, round);
        CREATE INDEX preferences_by_revision ON preferences (revision_id);

        CREATE TABLE new_dataset_items (
            dataset_id INTEGER NOT NULL REFERENCES datasets (id) ON DELETE CASCADE,
            idx INTEGER NOT NULL,
            kind TEXT NOT NULL CHECK (
                kind IN ('revision', 'good', 'general', 'demonstration', 'preference')
            ),
            revision_id INTEGER REFERENCES revisions (id) ON DELETE CASCADE,
            trajectory_id INTEGER REFERENCES trajectories (id) ON DELETE CASCADE,
            -- Line of the general file; its text is not copied.
            general_line INTEGER,
            demonstration_id INTEGER REFERENCES demonstrations (id) ON DELETE SET NULL,
            preference_id INTEGER REFERENCES preferences (id) ON DELETE CASCADE,
            split TEXT NOT NULL CHECK (split IN ('train', 'valid')),
            PRIMARY KEY (dataset_id, idx)
        ) STRICT, WITHOUT ROWID;
        INSERT INTO new_dataset_items SELECT dataset_id, idx, kind, revision_id, trajectory_id,
            general_line, demonstration_id, NULL, split FROM dataset_items;
        DROP TABLE dataset_items;
        ALTER TABLE new_dataset_items RENAME TO dataset_items;
        CREATE INDEX items_by_revision ON dataset_items (revision_id);
        CREATE INDEX items_by_trajectory ON dataset_items (trajectory_id);
        CREATE INDEX items_by_demonstration ON dataset_items (demonstration_id);
        CREATE INDEX items_by_preference ON dataset_items (preference_id);
        """,
    )


def add_late_cuts(conn: sqlite3.Connection) -> None:
    """Where the first error of a bad trajectory is that a revision leaves later.

    NULL where t' is at the first error or at the end of the trajectory, as in all revisions before.
    """
    conn.execute("ALTER TABLE revisions ADD COLUMN first_error INTEGER")


def add_eval_openings(conn: sqlite3.Connection) -> None:
    """What the model had seen before an evaluated episode's first turn.

    NULL where an older release played the episode; readers then say that it was not stored.
    """
    run_script(
        conn,
        """
        ALTER TABLE eval_items ADD COLUMN instructions_id INTEGER REFERENCES texts (id);
        ALTER TABLE eval_items ADD COLUMN observation_id INTEGER REFERENCES texts (id);
        """,
    )


def add_live_table(conn: sqlite3.Connection) -> None:
    """What a running stage does at this moment: one row a run, which the end of a stage deletes.

    It is no result, so it is neither copied with a run nor compared.
    """
    run_script(
        conn,
        """
        CREATE TABLE live (
            run_id TEXT PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
            round INTEGER NOT NULL,
            stage TEXT NOT NULL,
            label TEXT NOT NULL,
            count INTEGER NOT NULL,
            total INTEGER,
            note TEXT NOT NULL,
            -- Generated tokens.
            tokens_per_s REAL,
            part_left_s REAL,
            run_left_s REAL,
            updated_utc TEXT NOT NULL
        ) STRICT;
        """,
    )


def add_run_labels(conn: sqlite3.Connection) -> None:
    """What people call their runs. Separate tables: no result depends on them."""
    run_script(
        conn,
        """
        CREATE TABLE run_labels (
            run_id TEXT PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
            name TEXT NOT NULL DEFAULT '',
            note TEXT NOT NULL DEFAULT ''
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE run_tags (
            run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
            tag TEXT NOT NULL,
            PRIMARY KEY (run_id, tag)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX runs_by_tag ON run_tags (tag);
        """,
    )


def add_readable_views(conn: sqlite3.Connection) -> None:
    """Results, episodes, revisions and first errors as people want to read them."""
    run_script(conn, READABLE_VIEWS)


def shorten_views(conn: sqlite3.Connection) -> None:
    """Rows that fit a screen in Datasette, with the names that people gave to runs."""
    run_script(conn, SHORTER_VIEWS)


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
    allow_imitation,
    add_examples_table,
    add_preferences_table,
    add_late_cuts,
    add_eval_openings,
    add_live_table,
    add_run_labels,
    add_readable_views,
    shorten_views,
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
