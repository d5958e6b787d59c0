"""Demonstrations in the database: repeated storing, listing, and whose tasks they may be of."""

from __future__ import annotations

import dataclasses
import sqlite3
from pathlib import Path

import pytest

from agentr_lite.core.errors import UsageError
from agentr_lite.core.steps import Step
from agentr_lite.core.tasks import Task
from agentr_lite.store import Store, runs
from agentr_lite.store.demonstrations import (
    Demonstration,
    add_demonstrations,
    delete_demonstrations,
    get_demonstration,
    list_demonstrations,
)
from agentr_lite.store.inspection import demonstration_overviews
from tests.support.store_cases import TASK, new_run

STEPS = [
    Step("Thought: a\nAction: get 1 log", "get 1 log", "Got 1 log", token_ids=(1, 2)),
    Step("Thought: b\nAction: craft", "craft", "Won", reward=1.0, terminated=True),
]
SHOWN = Demonstration(TASK, "expert", 1.0, "Play.", "Goal: craft a stick.", STEPS)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "runs.db")


def test_a_demonstration_comes_back_without_the_tokens_of_its_model(store: Store) -> None:
    assert add_demonstrations(store, "textcraft", [SHOWN]) == 1
    [row] = list_demonstrations(store)
    assert (row.task.env, row.task.name, row.task.split) == ("textcraft", "stick", "train")
    assert (row.source, row.reward) == ("expert", 1.0)
    assert (row.instructions, row.opening) == ("Play.", "Goal: craft a stick.")
    assert row.steps == [dataclasses.replace(step, token_ids=()) for step in STEPS]


def test_one_is_read_alone_and_all_without_their_texts(store: Store) -> None:
    by_person = dataclasses.replace(SHOWN, source="person", steps=STEPS[:1])
    add_demonstrations(store, "textcraft", [SHOWN, by_person])
    first, second = list_demonstrations(store)
    assert get_demonstration(store, second.id) == second
    with pytest.raises(KeyError):
        get_demonstration(store, second.id + 1)
    store.execute("PRAGMA ignore_check_constraints = ON")
    store.execute("UPDATE demonstrations SET steps_json = '[{' WHERE id = ?", (first.id,))
    overviews = demonstration_overviews(store)
    assert [(it.id, it.source, it.steps) for it in overviews] == [
        (first.id, "expert", None),
        (second.id, "person", 1),
    ]
    assert (overviews[0].env, overviews[0].task, overviews[0].reward) == ("textcraft", "stick", 1)
    assert overviews[0].goal == TASK.goal


def test_the_same_demonstration_is_stored_once(store: Store) -> None:
    assert add_demonstrations(store, "textcraft", [SHOWN, SHOWN]) == 1
    assert add_demonstrations(store, "textcraft", [SHOWN]) == 0
    shorter = dataclasses.replace(SHOWN, steps=STEPS[:1])
    by_person = dataclasses.replace(SHOWN, source="person")
    other_task = dataclasses.replace(SHOWN, task=dataclasses.replace(TASK, name="bowl"))
    assert add_demonstrations(store, "textcraft", [shorter, by_person, other_task]) == 3
    assert len(list_demonstrations(store)) == 4


def test_they_are_listed_by_environment_source_and_task(store: Store) -> None:
    sources = ["expert", "person", "import:a.jsonl", "import:b.jsonl", "model:m"]
    shown = [dataclasses.replace(SHOWN, source=source) for source in sources]
    add_demonstrations(store, "textcraft", shown)
    add_demonstrations(store, "other", [SHOWN])

    def listed(**chosen: str) -> list[tuple[str, str]]:
        rows = list_demonstrations(store, **chosen)
        return [(row.task.env, row.source) for row in rows]

    assert listed(env="other") == [("other", "expert")]
    assert listed(env="textcraft") == [("textcraft", source) for source in sources]
    assert listed(source="import") == [("textcraft", s) for s in sources[2:4]]
    assert listed(source="import:a.jsonl") == [("textcraft", "import:a.jsonl")]
    assert listed(source="expert") == [("textcraft", "expert"), ("other", "expert")]
    assert listed(task="nothing") == []


def test_they_are_deleted_by_what_is_chosen(store: Store) -> None:
    shown = [dataclasses.replace(SHOWN, source=source) for source in ("expert", "person")]
    add_demonstrations(store, "textcraft", shown)
    add_demonstrations(store, "other", [SHOWN])
    assert delete_demonstrations(store, "textcraft", "expert") == 1
    assert delete_demonstrations(store, task="nothing") == 0
    rows = [(row.task.env, row.source) for row in list_demonstrations(store)]
    assert rows == [("textcraft", "person"), ("other", "expert")]
    assert delete_demonstrations(store) == 2


@pytest.mark.parametrize("split", ["dev", "test"])
def test_held_out_tasks_are_refused_and_nothing_is_stored(store: Store, split: str) -> None:
    held_out = dataclasses.replace(SHOWN, task=Task("bow", split, "craft a bow"))
    with pytest.raises(UsageError, match=f"'bow' is a {split} task"):
        add_demonstrations(store, "textcraft", [SHOWN, held_out])
    assert list_demonstrations(store, split=None) == []


def test_only_known_sources_are_stored(store: Store) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        add_demonstrations(store, "textcraft", [dataclasses.replace(SHOWN, source="import:")])


def test_deleting_a_run_leaves_demonstrations_and_their_texts(store: Store) -> None:
    add_demonstrations(store, "textcraft", [SHOWN])
    runs.delete_run(store, new_run(store))
    [row] = list_demonstrations(store)
    assert row.opening == "Goal: craft a stick."
