"""Databases of earlier releases: how they are migrated, and what becomes of their content."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from agentr_lite.recipe.loading import recipe_from_dict
from agentr_lite.store import Store, runs, splices
from agentr_lite.store.database import to_json
from agentr_lite.store.migrations import MIGRATIONS, SCHEMA_VERSION, migrate
from tests.support.store_cases import new_run


def database_of_schema(path: Path, version: int) -> sqlite3.Connection:
    """An empty database as an earlier release made it."""
    conn = sqlite3.connect(path)
    migrate(conn, MIGRATIONS[:version])
    return conn


@pytest.mark.parametrize(
    ("recipe", "environments"),
    [
        (
            {"env": "textcraft", "env_options": {"recipes_dir": "/ä"}, "seed": 3},
            [{"name": "textcraft", "options": {"recipes_dir": "/ä"}}],
        ),
        ({"env": "jugs.py", "env_options": {}}, [{"name": "jugs.py", "options": {}}]),
        (
            {
                "env": {"hall": {"share": 2.0, "search": {"depth": 7}}, "corridor": {}},
                "env_options": {},
            },
            [
                {"name": "corridor", "options": {}},
                {"name": "hall", "options": {}, "share": 2.0, "search": {"depth": 7}},
            ],
        ),
    ],
)
def test_recipes_of_the_second_schema_become_lists_of_environments(
    tmp_path: Path, recipe: dict[str, Any], environments: list[dict[str, Any]]
) -> None:
    path = tmp_path / "old.db"
    old = database_of_schema(path, 2)
    old.execute(
        "INSERT INTO runs (id, created_utc, status, env, seed, recipe, versions)"
        " VALUES ('r', '2026', 'finished', 'e', 1, ?, '{}')",
        (json.dumps(recipe),),
    )
    old.commit()
    old.close()
    with Store.open_to_read(path) as store:
        stored = runs.get_run(store, "r").recipe
        text = store.scalar("SELECT recipe FROM runs")
    default = {"share": 1.0, "agent": {}, "search": {}, "splice": {}, "eval": {}}
    assert stored["env"] == [{**default, **environment} for environment in environments]
    assert "env_options" not in stored and stored.get("seed") == recipe.get("seed")
    # What a new run would store, and the recipe that the old one stood for.
    assert recipe_from_dict(stored) == recipe_from_dict(recipe)
    # But for a key that came later.
    new = [{**environment, "imitation": {}} for environment in stored["env"]]
    assert recipe_from_dict(stored).to_dict()["env"] == new
    assert text == to_json(stored)


def test_the_first_schema_is_brought_up_to_date_with_its_content(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    old = database_of_schema(path, 1)
    old.execute(
        "INSERT INTO runs (id, created_utc, status, env, seed, recipe, versions)"
        " VALUES ('r', '2026', 'finished', 'e', 1, '{}', '{}')"
    )
    old.execute(
        "INSERT INTO model_calls (run_id, round, purpose, seeds, prompt_tokens, cached_tokens,"
        " output_tokens) VALUES ('r', 1, 'eval', '[]', 1, 0, 1)"
    )
    old.commit()
    old.close()
    # Reading commands must not be stopped by a program update either.
    with Store.open_to_read(path) as store:
        assert store.read_only and [run.id for run in runs.list_runs(store)] == ["r"]
        assert tuple(store.rows("SELECT batch_ms, batch_size FROM model_calls")[0]) == (
            None,
            None,
        )
        assert store.scalar("PRAGMA user_version") == SCHEMA_VERSION
    Store.open(path, read_only=True).close()


def test_each_migration_is_applied_once_and_counted(tmp_path: Path) -> None:
    conn = sqlite3.connect(tmp_path / "new.db")
    seen: list[str] = []

    def rewrite_rows(conn: sqlite3.Connection) -> None:
        seen.append("rows")
        conn.execute('UPDATE runs SET recipe = \'{"name":"new"}\'')

    migrate(conn)
    conn.execute(
        "INSERT INTO runs (id, created_utc, status, env, seed, recipe, versions)"
        " VALUES ('r', '2026', 'finished', 'e', 1, '{}', '{}')"
    )
    for _ in range(2):
        migrate(conn, (*MIGRATIONS, rewrite_rows))
    assert seen == ["rows"]
    assert conn.execute("SELECT recipe FROM runs").fetchone() == ('{"name":"new"}',)
    assert conn.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION + 1,)


def test_a_migration_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    def fails(conn: sqlite3.Connection) -> None:
        conn.execute("DELETE FROM runs")
        raise RuntimeError

    with Store.open(tmp_path / "runs.db") as store:
        run_id = new_run(store)
        with pytest.raises(RuntimeError), store.atomic():
            migrate(store.db.conn, (*MIGRATIONS, fails))
        assert [run.id for run in runs.list_runs(store)] == [run_id]
        assert store.scalar("PRAGMA user_version") == SCHEMA_VERSION


def test_a_migrated_file_has_the_schema_of_a_new_one(tmp_path: Path) -> None:
    old = database_of_schema(tmp_path / "old.db", 1)
    old.commit()
    old.close()
    schemas = []
    for name in ("old.db", "new.db"):
        with Store.open(tmp_path / name) as store:
            schemas.append([tuple(row) for row in store.rows("SELECT sql FROM sqlite_master")])
    assert schemas[0] == schemas[1]


def test_stages_and_data_sets_survive_the_schema_that_allows_imitation(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    before = [migration.__name__ for migration in MIGRATIONS].index("allow_imitation")
    old = database_of_schema(path, before)
    old.executescript(
        """
        INSERT INTO runs (id, created_utc, status, env, seed, recipe, versions)
            VALUES ('r', '2026', 'finished', 'e', 1, '{"env": []}', '{}');
        INSERT INTO rounds (run_id, round, stage, started_utc, wall_s, output_tokens, summary)
            VALUES ('r', 0, 'eval', 'a', 1.5, 7, '{"x": 1}'), ('r', 1, 'train', 'b', 2, 0, '{}');
        INSERT INTO datasets (id, run_id, round, settings, created_utc)
            VALUES (4, 'r', 1, '{}', 'c');
        INSERT INTO dataset_items (dataset_id, idx, kind, general_line, split)
            VALUES (4, 0, 'general', 12, 'valid');
        """
    )
    old.close()
    with Store.open(path) as store:
        stages = runs.list_stages(store, "r")
        [item] = splices.list_dataset_items(store, 4)
        assert not runs.get_run(store, "r").imitates
        runs.stage_started(store, "r", -1, "eval")
        runs.stage_started(store, "r", 0, "imitate")
        with pytest.raises(sqlite3.IntegrityError):
            runs.stage_started(store, "r", -2, "eval")
    assert [(row.round, row.stage, row.wall_s) for row in stages] == [
        (0, "eval", 1.5),
        (1, "train", 2.0),
    ]
    assert (stages[0].output_tokens, stages[0].summary) == (7, {"x": 1})
    assert (item.kind, item.general_line, item.split) == ("general", 12, "valid")
    assert item.demonstration_id is None
