"""Names, notes and tags are read with one query, however many runs there are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from agentr_lite.core.errors import StoreError
from agentr_lite.recipe.loading import load_recipe
from agentr_lite.runs.creation import create_run
from agentr_lite.store import Store
from agentr_lite.store.labels import (
    RunLabels,
    add_tags,
    all_labels,
    labels_of,
    runs_tagged,
    set_name,
    set_note,
)

TAGS = (["wide", "good"], ["wide"], [], ["late", "good", "wide"])


@pytest.fixture
def runs(db: Path) -> list[str]:
    """Ids of four runs, the oldest first: of one name, one note, and the tags of TAGS."""
    with Store.open(db) as store:
        ids = []
        for at, tags in enumerate(TAGS):
            run = create_run(store, load_recipe("smoke", [f"seed={at + 1}"]))
            # Ids of one second differ by chance: only the dates give an order.
            created = f"2026-01-0{at + 1}T00:00:00.000Z"
            store.execute("UPDATE runs SET created_utc = ? WHERE id = ?", (created, run))
            add_tags(store, run, tags)
            ids.append(run)
        set_name(store, ids[0], "wide search")
        set_note(store, ids[2], "two\nlines")
    return ids


def queries(store: Store, ask: Callable[[], object]) -> list[str]:
    """The statements that a call makes."""
    made: list[str] = []
    store.db.conn.set_trace_callback(made.append)
    ask()
    store.db.conn.set_trace_callback(None)
    return made


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ([], [0, 1, 2, 3]),
        (["wide"], [0, 1, 3]),
        (["good", "wide"], [0, 3]),
        (["good", "good"], [0, 3]),
        (["late", "good", "wide"], [3]),
        (["late", "none"], []),
        (["wi"], []),
    ],
)
def test_runs_with_all_of_some_tags(
    db: Path, runs: list[str], tags: list[str], expected: list[int]
) -> None:
    with Store.open_to_read(db) as store:
        assert runs_tagged(store, tags) == [runs[at] for at in expected]
        assert len(queries(store, lambda: runs_tagged(store, tags))) == 1


def test_the_labels_of_all_runs(db: Path, runs: list[str]) -> None:
    first, second, third, fourth = runs
    with Store.open_to_read(db) as store:
        found = all_labels(store)
        assert found == {
            first: RunLabels("wide search", "", ("good", "wide")),
            second: RunLabels("", "", ("wide",)),
            third: RunLabels("", "two\nlines"),
            fourth: RunLabels("", "", ("good", "late", "wide")),
        }
        assert {run: labels_of(store, run) for run in runs} == found
        assert labels_of(store, "another") == RunLabels()
        assert len(queries(store, lambda: all_labels(store))) == 1
        assert len(queries(store, lambda: labels_of(store, first))) == 1


def test_damaged_labels_are_said_to_be_damaged(db: Path, runs: list[str]) -> None:
    with Store.open(db) as store:
        store.execute("PRAGMA writable_schema = ON")
        store.execute(
            "UPDATE sqlite_master SET sql = replace(sql, 'STRICT, ', '') WHERE name = 'run_tags'"
        )
    with Store.open(db) as store:
        store.execute("UPDATE run_tags SET tag = x'ff' WHERE run_id = ?", (runs[1],))
        with pytest.raises(StoreError, match=r"tags of a row of run_labels .*is damaged"):
            all_labels(store)
