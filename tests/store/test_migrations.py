"""Databases of earlier versions: their content as today's programs read it."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from agentr_lite.recipe.loading import recipe_from_dict
from agentr_lite.store import Store, runs
from agentr_lite.store.database import to_json
from agentr_lite.store.schema import APPLICATION_ID, MIGRATION_1, MIGRATION_2


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
    old = sqlite3.connect(path)
    old.executescript(MIGRATION_1)
    old.executescript(MIGRATION_2)
    old.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    old.execute("PRAGMA user_version = 2")
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
    assert recipe_from_dict(stored).to_dict()["env"] == stored["env"]
    assert text == to_json(stored)
