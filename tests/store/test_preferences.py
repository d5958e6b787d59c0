"""Preferences in the database: read as turns, checked, copied, deleted, and migrated to."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import pytest

from agentr_lite.runs.condition import condition_of
from agentr_lite.runs.removal import remove_run
from agentr_lite.store import Store, runs, splices
from agentr_lite.store.decoding import DamagedError
from agentr_lite.store.migrations import MIGRATIONS, migrate
from agentr_lite.store.preferences import (
    continuations,
    list_preferences,
    preference_counts,
    save_preference,
)
from agentr_lite.store.records import DatasetItemRow, PreferenceRow
from agentr_lite.store.transfer import copy_run, run_digest
from agentr_lite.train.dataset import build_dataset
from tests.support.preference_cases import pair_recipe, planted_run

Run = tuple[Store, str]


@pytest.fixture
def planted(tmp_path: Path) -> Generator[Run]:
    """A run with pairs of every kind."""
    store, run_id = planted_run(tmp_path / "runs.db", pair_recipe())
    with store:
        yield store, run_id


def test_pairs_are_listed_and_counted(planted: Run) -> None:
    store, run_id = planted
    rows = list_preferences(store, run_id)
    assert [row.kind for row in rows[:5]] == ["episode", "episode", "step", "step", "revision"]
    assert {row.env for row in rows} == {"corridor"} and rows[0].task == "t0"
    assert preference_counts(store, run_id, 1) == {"episode": 8, "step": 8, "revision": 4}
    assert preference_counts(store, run_id, 2) == {}
    assert list_preferences(store, run_id, round_index=2) == []
    assert {row.kind for row in list_preferences(store, run_id, kinds=["step"])} == {"step"}
    own = list_preferences(store, run_id, tree_id=rows[0].tree_id)
    assert len(own) == 5 and {row.tree_id for row in own} == {rows[0].tree_id}


def test_a_pair_holds_no_text(planted: Run) -> None:
    store, run_id = planted
    texts = store.scalar("SELECT count(*) FROM texts")
    splices.delete_splices(store, run_id, 1)
    assert store.scalar("SELECT count(*) FROM texts") == texts
    columns = [row["type"] for row in store.rows("PRAGMA table_info(preferences)")]
    assert columns.count("TEXT") == 2  # the run and the kind


def test_the_same_pair_is_stored_once_and_a_worse_one_is_not_preferred(planted: Run) -> None:
    store, run_id = planted
    row = list_preferences(store, run_id)[0]
    values = {
        "run_id": run_id,
        "round_index": 1,
        "tree_id": row.tree_id,
        "kind": row.kind,
        "parting_idx": row.parting_idx,
        "chosen_idx": row.chosen_idx,
        "rejected_idx": row.rejected_idx,
    }
    save_preference(store, **values, chosen_value=0.5, rejected_value=0.25)
    assert len(list_preferences(store, run_id)) == 20
    for wrong in (
        {"chosen_value": 0.0, "rejected_value": 0.5},
        {"chosen_value": 1.0, "rejected_value": 0.5, "revision_id": 1},
    ):
        with pytest.raises(sqlite3.IntegrityError):
            save_preference(store, **values, **wrong)


def damage(planted: Run, kind: str, change: str) -> PreferenceRow:
    store, run_id = planted
    number = store.scalar("SELECT min(id) FROM preferences WHERE kind = ?", (kind,))
    store.execute(f"UPDATE preferences SET {change} WHERE id = ?", (number,))
    [row] = [row for row in list_preferences(store, run_id) if row.id == number]
    return row


@pytest.mark.parametrize(
    ("kind", "change", "said"),
    [
        ("step", "chosen_idx = 99", "has no node 99"),
        ("episode", "parting_idx = chosen_idx", "do not part where it says"),
        ("step", "rejected_idx = parting_idx", "do not part where it says"),
        ("revision", "parting_idx = rejected_idx - 1", "its revision begins elsewhere"),
    ],
)
def test_pairs_that_do_not_fit_their_tree_are_damage(
    planted: Run, kind: str, change: str, said: str
) -> None:
    store, run_id = planted
    assert condition_of(store).sound == [run_id]
    row = damage(planted, kind, change)
    with pytest.raises(DamagedError, match=said):
        continuations(store, row)
    found = condition_of(store).runs[run_id]
    assert any(said in item.what for item in found)


def test_a_copied_run_has_the_same_pairs_and_data_set(planted: Run, tmp_path: Path) -> None:
    store, run_id = planted
    build_dataset(store, run_id, 1, pair_recipe(), {})
    with Store.open(tmp_path / "new.db") as target:
        # Other ids than in the source. A run's own id names its moment, to a twentieth of a second.
        time.sleep(0.2)
        other, _ = planted_run(tmp_path / "other.db", pair_recipe())
        with other:
            copy_run(other, target, runs.list_runs(other)[0].id)
        assert copy_run(store, target, run_id)
        assert run_digest(store, run_id) == run_digest(target, run_id)
        assert target.rows("PRAGMA foreign_key_check") == []
        pairs = [
            (old, new)
            for old, new in zip(
                list_preferences(store, run_id), list_preferences(target, run_id), strict=True
            )
        ]
        assert all(old.id != new.id for old, new in pairs)
        for old, new in pairs:
            assert continuations(store, old) == continuations(target, new)
        [dataset] = splices.list_datasets(target, run_id)
        items = splices.list_dataset_items(target, dataset.id)
        assert {item.preference_id for item in items} == {new.id for _, new in pairs}
        target.execute("UPDATE preferences SET chosen_value = 0.9 WHERE run_id = ?", (run_id,))
        assert run_digest(store, run_id) != run_digest(target, run_id)


def test_pairs_go_with_what_they_are_made_of(planted: Run) -> None:
    store, run_id = planted
    build_dataset(store, run_id, 1, pair_recipe(), {})
    [dataset] = splices.list_datasets(store, run_id)
    store.execute("DELETE FROM revisions")
    assert preference_counts(store, run_id, 1) == {"episode": 8, "step": 8}
    assert len(splices.list_dataset_items(store, dataset.id)) == 16
    tree = list_preferences(store, run_id)[0].tree_id
    splices.delete_splices(store, run_id, 1, tree_id=tree)
    assert preference_counts(store, run_id, 1) == {"episode": 6, "step": 6}
    remove_run(store, run_id)
    assert store.scalar("SELECT count(*) FROM preferences") == 0


def test_data_sets_survive_the_schema_that_allows_pairs(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    before = [migration.__name__ for migration in MIGRATIONS].index("add_preferences_table")
    with closing(sqlite3.connect(path)) as old:
        migrate(old, MIGRATIONS[:before])
        old.executescript(
            """
            INSERT INTO runs (id, created_utc, status, env, seed, recipe, versions)
                VALUES ('r', '2026', 'finished', 'e', 1, '{"env": []}', '{}');
            INSERT INTO datasets (id, run_id, round, settings, created_utc)
                VALUES (4, 'r', 1, '{}', 'c');
            INSERT INTO dataset_items (dataset_id, idx, kind, general_line, split)
                VALUES (4, 0, 'general', 12, 'valid'), (4, 1, 'demonstration', NULL, 'train');
            """
        )
    with Store.open(path) as store:
        assert splices.list_dataset_items(store, 4) == [
            DatasetItemRow(0, "general", "valid", general_line=12),
            DatasetItemRow(1, "demonstration", "train"),
        ]
        assert list_preferences(store, "r") == []
