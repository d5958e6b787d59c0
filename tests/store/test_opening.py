"""Opening a database: what is refused; and transactions."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from agentr_lite.core.errors import EXIT_STORE, StoreError
from agentr_lite.store import Store, runs, trees
from agentr_lite.store.migrations import MIGRATIONS, SCHEMA_VERSION, migrate
from tests.support.store_cases import new_run, new_tree


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "runs.db")


class TestOpening:
    def test_new_file_is_wal_strict_and_ours(self, store: Store) -> None:
        assert store.scalar("PRAGMA journal_mode") == "wal"
        assert store.scalar("PRAGMA user_version") == SCHEMA_VERSION
        assert store.scalar("PRAGMA foreign_keys") == 1
        assert all(
            row["strict"]
            for row in store.rows("PRAGMA table_list")
            if row["schema"] == "main"
            and row["type"] == "table"
            and not row["name"].startswith("sqlite_")
        )

    def test_opens_again_with_its_content(self, store: Store) -> None:
        run_id = new_run(store)
        store.close()
        with Store.open(store.path, create=False) as again:
            assert [run.id for run in runs.list_runs(again)] == [run_id]

    def test_makes_missing_folders(self, tmp_path: Path) -> None:
        Store.open(tmp_path / "a" / "b" / "runs.db").close()
        assert (tmp_path / "a" / "b" / "runs.db").exists()

    def test_missing_file_without_create(self, tmp_path: Path) -> None:
        for options in ({"create": False}, {"read_only": True}):
            with pytest.raises(StoreError, match="no database") as caught:
                Store.open(tmp_path / "none.db", **options)
            assert caught.value.exit_code == EXIT_STORE
        assert not (tmp_path / "none.db").exists()

    def test_not_a_database_is_refused_and_left_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "notes.txt"
        path.write_text("dear diary, " * 200)
        with pytest.raises(StoreError, match="not a database") as caught:
            Store.open(path)
        assert caught.value.hint
        assert path.read_text() == "dear diary, " * 200

    def test_foreign_database_is_refused_and_left_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "other.db"
        other = sqlite3.connect(path)
        other.execute("CREATE TABLE photos (id)")
        other.commit()
        other.close()
        before = path.read_bytes()
        with pytest.raises(StoreError, match="not agentr-lite's"):
            Store.open(path)
        assert path.read_bytes() == before

    def test_a_file_whose_making_was_cut_is_a_new_one(self, tmp_path: Path) -> None:
        path = tmp_path / "cut.db"
        cut = sqlite3.connect(path)
        cut.execute("PRAGMA journal_mode = WAL")
        cut.close()
        with Store.open(path) as store:
            assert runs.list_runs(store) == []
        with Store.open_to_read(path) as store:
            assert runs.list_runs(store) == []

    def test_newer_schema_is_refused(self, store: Store) -> None:
        store.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
        store.close()
        with pytest.raises(StoreError, match=f"schema {SCHEMA_VERSION + 1}") as caught:
            Store.open(store.path)
        assert "Upgrade" in caught.value.hint

    def test_corrupt_file_is_refused(self, store: Store) -> None:
        run_id = new_run(store)
        new_tree(store, run_id)
        store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        store.close()
        data = bytearray(store.path.read_bytes())
        data[4096 : len(data)] = os.urandom(len(data) - 4096)
        store.path.write_bytes(data)
        with pytest.raises(StoreError) as caught, Store.open(store.path) as broken:
            runs.list_runs(broken)
            trees.list_trees(broken, run_id)
        assert "aside" in caught.value.hint

    def test_folder_in_place_of_a_file(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match="is a directory"):
            Store.open(tmp_path)

    def test_read_only_reads_beside_a_writer_and_never_writes(self, store: Store) -> None:
        run_id = new_run(store)
        with Store.open(store.path, read_only=True) as reader:
            with store.atomic():
                runs.set_run_status(store, run_id, "failed")
                assert runs.get_run(reader, run_id).status == "running"
            assert runs.get_run(reader, run_id).status == "failed"
            with pytest.raises(StoreError, match="readonly"):
                runs.set_run_status(reader, run_id, "finished")

    def test_read_only_refuses_an_older_schema(self, tmp_path: Path) -> None:
        path = tmp_path / "old.db"
        old = sqlite3.connect(path)
        migrate(old, MIGRATIONS[:3])
        old.commit()
        old.close()
        with pytest.raises(StoreError, match="older"):
            Store.open(path, read_only=True)


class TestTransactions:
    def test_a_failed_block_leaves_nothing(self, store: Store) -> None:
        with pytest.raises(RuntimeError), store.atomic():
            new_run(store)
            raise RuntimeError
        assert runs.list_runs(store) == []

    def test_a_failed_inner_block_spares_the_outer(self, store: Store) -> None:
        with store.atomic():
            kept = new_run(store)
            with pytest.raises(RuntimeError), store.atomic():
                new_run(store)
                raise RuntimeError
        assert [run.id for run in runs.list_runs(store)] == [kept]

    def test_a_locked_database_says_so(self, store: Store) -> None:
        other = Store.open(store.path, busy_timeout_ms=20)
        with store.atomic(), pytest.raises(StoreError, match="locked") as caught, other.atomic():
            pass
        assert "-d" in caught.value.hint

    def test_a_full_disk_says_so_and_loses_nothing(self, store: Store) -> None:
        run_id = new_run(store)
        pages = store.scalar("PRAGMA page_count")
        store.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StoreError, match="full") as caught:
            new_tree(store, run_id, instructions="long " * 100_000)
        assert "space" in caught.value.hint
        assert trees.list_trees(store, run_id) == []
        assert runs.get_run(store, run_id).status == "running"
