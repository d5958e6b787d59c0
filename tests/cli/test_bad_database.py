"""Databases that cannot be used: exit 4, one clear line, and not a byte changed."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from agentr_lite.runs.claim import claimed
from agentr_lite.store import Store, runs
from tests.support import loop_case
from tests.support.command_line import Call, one_error

READERS = [
    ("runs",),
    ("runs", "show"),
    ("runs", "delete", "latest", "--yes"),
    ("trees",),
    ("report",),
    ("export", "-o", "-"),
]
WRITERS = [
    ("run", "corridor", "--set", "rounds=0"),
    ("run", "--resume", "latest"),
    ("search", "corridor"),
    ("splice",),
    ("train", "latest"),
    ("eval", "corridor"),
]
EVERY_VERB = [pytest.param(words, id="-".join(words)) for words in READERS + WRITERS]


class TestDatabases:
    @pytest.fixture
    def refused(self, loop: Call, db: Path) -> Callable[..., str]:
        """Checks that a verb refuses the database with exit 4; gives the error."""

        def check(words: Sequence[str], *, changes: bool = False) -> str:
            before = db.read_bytes() if db.is_file() else b""
            code, out, err = loop(*words, "-d", db)
            assert code == 4, err
            assert out == ""
            assert "Hint: " in err
            assert str(db) in one_error(err)
            if db.is_file() and not changes:
                assert db.read_bytes() == before
            if words[0] != "export":
                code, out, _ = loop(*words, "-d", db, "--json")
                assert code == 4 and json.loads(out)["error"]["kind"] == "store"
            return one_error(err)

        return check

    @pytest.mark.parametrize("words", EVERY_VERB)
    def test_a_newer_schema(
        self, filled: Path, refused: Callable[..., str], words: Sequence[str]
    ) -> None:
        with sqlite3.connect(filled) as conn:
            conn.execute("PRAGMA user_version = 999")
        conn.close()
        assert "has schema 999; this agentr-lite knows up to" in refused(words)

    @pytest.mark.parametrize("words", EVERY_VERB)
    def test_a_text_file(self, db: Path, refused: Callable[..., str], words: Sequence[str]) -> None:
        db.write_text("Dear diary, " * 100)
        assert "file is not a database" in refused(words)

    @pytest.mark.parametrize("words", EVERY_VERB)
    def test_somebody_elses_database(
        self, db: Path, refused: Callable[..., str], words: Sequence[str]
    ) -> None:
        conn = sqlite3.connect(db)
        conn.execute("CREATE TABLE addresses (name TEXT)")
        conn.close()
        assert "is a SQLite database, but not agentr-lite's" in refused(words)

    @pytest.mark.parametrize("words", EVERY_VERB)
    def test_a_directory(self, db: Path, refused: Callable[..., str], words: Sequence[str]) -> None:
        db.mkdir()
        assert "is a directory, not a database" in refused(words)

    @pytest.mark.parametrize("words", EVERY_VERB)
    def test_a_damaged_database(
        self, filled: Path, refused: Callable[..., str], words: Sequence[str]
    ) -> None:
        data = bytearray(filled.read_bytes())
        assert len(data) > 40 * 4096
        # The first page stays, so that it still looks like a database of ours.
        data[4096:] = b"\xa5" * (len(data) - 4096)
        filled.write_bytes(data)
        assert "malformed" in refused(words)

    @pytest.mark.parametrize("words", EVERY_VERB)
    def test_below_a_file(self, loop: Call, tmp_path: Path, words: Sequence[str]) -> None:
        (tmp_path / "file").touch()
        code, out, err = loop(*words, "-d", tmp_path / "file" / "runs.db")
        assert code == 4 and out == ""
        assert str(tmp_path / "file") in one_error(err)

    @pytest.mark.parametrize(
        "words", [w for w in EVERY_VERB if w.values[0] not in (READERS[0], *WRITERS)]
    )
    def test_none_yet(self, db: Path, refused: Callable[..., str], words: Sequence[str]) -> None:
        assert "there is no database" in refused(words)
        assert not db.exists()

    @pytest.mark.parametrize("words", [pytest.param(w, id="-".join(w)) for w in WRITERS])
    def test_locked(
        self,
        filled: Path,
        refused: Callable[..., str],
        words: Sequence[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        opened = Store.open.__func__  # type: ignore[attr-defined]
        monkeypatch.setitem(opened.__kwdefaults__, "busy_timeout_ms", 20)
        conn = sqlite3.connect(filled, isolation_level=None)
        conn.execute("BEGIN IMMEDIATE")
        conn.execute("UPDATE runs SET status = status")
        if words[0] in ("train", "splice"):
            words = (*words, "--redo")
        error = refused(words, changes=True)
        assert "database is locked" in error
        conn.execute("ROLLBACK")
        conn.close()
        assert json.loads(loop_case.contents(filled)[0]) == "finished"

    @pytest.mark.parametrize(
        "words",
        [
            ("run", "--resume", "latest"),
            ("search", "latest", "--round", "1"),
            ("splice", "latest"),
            ("train", "latest"),
            ("eval", "latest"),
            ("runs", "delete", "latest", "--yes"),
        ],
    )
    def test_a_run_that_another_process_works_on(
        self, loop: Call, filled: Path, refused: Callable[..., str], words: tuple[str, ...]
    ) -> None:
        """Two processes on one run would do the same work twice and trip over each other."""
        before = loop_case.contents(filled)
        with Store.open(filled) as store:
            run = runs.get_run(store, "latest").id
            with claimed(store, run):
                code, out, err = loop(*words, "-d", filled)
                assert code == 4 and out == ""
                assert f"({os.getpid()}) is working on run {run}" in one_error(err)
                assert loop("report", "-d", filled)[0] == 0
        assert loop_case.contents(filled) == before
        assert loop(*words, "-d", filled)[0] == 0

    def test_deleting_a_run_deletes_its_files_unless_they_are_kept(
        self, loop: Call, filled: Path
    ) -> None:
        artifacts = filled.parent / f"{filled.name}-artifacts"
        [folder] = artifacts.iterdir()
        words = ("runs", "delete", "latest", "--yes", "-d", filled)
        assert loop(*words, "--keep-files")[0] == 0
        assert sorted(path.name for path in folder.iterdir()) == ["round-1", "round-2"]
        assert loop("eval", "corridor", "--tasks", "1", "-d", filled)[0] == 0
        [other] = set(artifacts.iterdir()) - {folder}
        assert loop(*words)[0] == 0
        assert not other.exists() and folder.exists()

    def test_readers_do_not_mind_a_lock(self, loop: Call, filled: Path) -> None:
        conn = sqlite3.connect(filled, isolation_level=None)
        conn.execute("BEGIN IMMEDIATE")
        for words in (("runs",), ("trees",), ("report",), ("runs", "show"), ("export", "-o", "-")):
            assert loop(*words, "-d", filled)[0] == 0
        conn.close()

    def test_a_read_only_file(self, loop: Call, filled: Path) -> None:
        if os.geteuid() == 0:
            pytest.skip("file permissions do not bind the superuser")
        filled.chmod(0o400)
        code, _, err = loop("run", "corridor", "-d", filled)
        assert code == 4 and "readonly" in one_error(err)

    def test_the_variable_and_the_flag_are_treated_alike(
        self, loop: Call, db: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        db.mkdir()
        monkeypatch.setenv("AGENTR_LITE_DB", str(db))
        assert loop("runs")[0] == loop("runs", "-d", db)[0] == 4
