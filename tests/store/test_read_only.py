"""Who may read but not write can read; who may not write is told so; nothing half made is seen."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agentr_lite.core.errors import StoreError
from agentr_lite.store import Store, files, runs
from agentr_lite.store.migrations import MIGRATIONS, SCHEMA_VERSION, migrate
from tests.support.store_cases import new_run, new_tree

READERS = [
    ("runs",),
    ("runs", "show"),
    ("trees",),
    ("report",),
    ("report", "--html", "-"),
    ("demos",),
]
WRITERS = [
    ("run", "textcraft", "--recipe", "smoke"),
    ("run", "--resume", "latest"),
    ("splice",),
    ("train", "latest"),
    ("runs", "delete", "latest", "--yes"),
]


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that every user may enter; pytest's own folders are the user's alone."""
    folder = Path(tempfile.mkdtemp(prefix="shared-"))
    folder.chmod(0o755)
    yield folder
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755)
    shutil.rmtree(folder)


@pytest.fixture
def stored(shared: Path) -> Path:
    """A database with a run."""
    with Store.open(shared / "runs.db") as store:
        new_tree(store, new_run(store))
    return shared / "runs.db"


WITHOUT_PRIVILEGES = """
import ctypes, os, sys
if os.geteuid() == 0:
    # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: what lets the superuser pass permissions. They are
    # gone from the program that is started next.
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if prctl(24, 1, 0, 0, 0) or prctl(24, 2, 0, 0, 0):
        sys.exit(99)
os.execv(sys.executable, [sys.executable, "-m", "agentr_lite", *sys.argv[1:]])
"""


def unprivileged(*words: object, home: Path) -> subprocess.CompletedProcess[str]:
    """Run a command as a user whom permissions bind, also where this is the superuser."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_PRIVILEGES, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "AGENTR_LITE_HOME": str(home), "COLUMNS": "120"},
    )
    if done.returncode == 99:
        pytest.skip("the superuser cannot give up its privileges here")
    return done


def beside(path: Path) -> set[str]:
    return {each.name for each in path.parent.iterdir()}


def make_readonly(path: Path) -> None:
    for each in path.parent.iterdir():
        each.chmod(0o444)
    path.parent.chmod(0o555)


@pytest.mark.parametrize("state", ["alone", "live log", "dead log"])
def test_a_colleague_reads_a_shared_file(stored: Path, tmp_path: Path, state: str) -> None:
    """With and without the log of what is not merged yet, and with and without its index."""
    writer = None
    if state != "alone":
        writer = Store.open(stored)
        writer.execute("UPDATE runs SET status = 'failed', error = 'seen in the log'")
    if state == "dead log":
        assert writer is not None
        saved = {name: (stored.parent / name).read_bytes() for name in beside(stored)}
        writer.close()
        for name in ("runs.db", "runs.db-wal"):
            (stored.parent / name).write_bytes(saved[name])
    make_readonly(stored)
    before = {each.name: each.read_bytes() for each in stored.parent.glob("runs.db*")}
    for words in READERS:
        done = unprivileged(*words, "-d", stored, home=tmp_path)
        assert done.returncode == 0, (words, done.stderr)
        if words == ("runs", "show") and state != "alone":
            assert "seen in the log" in done.stdout
    after = {each.name: each.read_bytes() for each in stored.parent.glob("runs.db*")}
    before.pop("runs.db-shm", None)
    assert {name: after[name] for name in before} == before
    if writer is not None and state == "live log":
        writer.close()


def test_an_older_schema_is_read_from_a_migrated_copy(shared: Path, tmp_path: Path) -> None:
    path = shared / "runs.db"
    with closing(sqlite3.connect(path)) as old:
        migrate(old, MIGRATIONS[:3])
        old.execute(
            "INSERT INTO runs (id, created_utc, status, env, seed, recipe, versions) VALUES"
            " ('old-run', '2026', 'finished', 'e', 1, '{\"eval\": {\"split\": \"dev\"}}', '{}')"
        )
        old.commit()
    before = path.read_bytes()
    make_readonly(path)
    copies = set(Path(tempfile.gettempdir()).glob("agentr-lite-*"))
    done = unprivileged("runs", "-d", path, home=tmp_path)
    assert done.returncode == 0 and "old-run" in done.stdout, done.stderr
    assert path.read_bytes() == before
    assert beside(path) == {"runs.db"}
    assert set(Path(tempfile.gettempdir()).glob("agentr-lite-*")) <= copies


@pytest.mark.parametrize("words", [pytest.param(w, id="-".join(w)) for w in WRITERS])
def test_a_writing_command_says_that_it_cannot_write(
    stored: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    make_readonly(stored)
    done = unprivileged(*words, "-d", stored, home=tmp_path)
    assert done.returncode == 4, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1 and "cannot be written" in errors[0] and "readonly" in errors[0]
    assert beside(stored) == {"runs.db"}


def test_a_file_that_may_not_even_be_read(stored: Path, tmp_path: Path) -> None:
    stored.chmod(0)
    done = unprivileged("runs", "-d", stored, home=tmp_path)
    assert done.returncode == 4 and "Traceback" not in done.stderr
    stored.parent.chmod(0)
    done = unprivileged("runs", "-d", stored, home=tmp_path)
    assert done.returncode == 4 and "cannot look for a database" in done.stderr


def test_a_new_database_is_never_seen_half_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "runs.db"
    seen: list[bool] = []

    def migrate_and_look(conn: sqlite3.Connection) -> None:
        for migration in MIGRATIONS:
            migrate(conn, MIGRATIONS[: MIGRATIONS.index(migration) + 1])
            seen.append(path.exists())

    monkeypatch.setattr(files, "migrate", migrate_and_look)
    Store.open(path).close()
    assert seen == [False] * SCHEMA_VERSION
    assert beside(path) == {"runs.db"}
    with Store.open_to_read(path) as store:
        assert runs.list_runs(store) == []


def test_of_two_that_make_the_same_database_one_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "runs.db"
    made: list[str] = []

    def another_is_faster(conn: sqlite3.Connection) -> None:
        migrate(conn)
        monkeypatch.setattr(files, "migrate", migrate)
        with Store.open(path) as other:
            made.append(new_run(other))

    monkeypatch.setattr(files, "migrate", another_is_faster)
    with Store.open(path) as store:
        assert [run.id for run in runs.list_runs(store)] == made


def test_a_database_that_cannot_be_made_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(conn: sqlite3.Connection) -> None:
        raise sqlite3.OperationalError("no such thing")

    monkeypatch.setattr(files, "migrate", fails)
    with pytest.raises(sqlite3.OperationalError):
        Store.open(tmp_path / "runs.db")
    assert list(tmp_path.glob("*runs*")) == []


def test_an_empty_file_is_no_database_to_read(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    path.touch()
    for options in ({"create": False}, {"read_only": True}):
        with pytest.raises(StoreError, match="the file is empty"):
            Store.open(path, **options)
    assert path.stat().st_size == 0
    with Store.open(path) as store:
        assert runs.list_runs(store) == []


@pytest.mark.parametrize("words", [("run", "--resume"), ("eval",), ("search",), ("imitate",)])
@pytest.mark.parametrize("touched", [False, True])
def test_a_refused_command_leaves_no_file(
    cli, tmp_path: Path, words: tuple[str, ...], touched: bool
) -> None:
    folder = tmp_path / "place"
    folder.mkdir()
    path = folder / "empty.db"
    if touched:
        path.touch()
    code, _, err = cli(*words, "latest", "--db", path)
    assert code == 4
    assert "there is no database" in err
    assert beside(path) == ({"empty.db"} if touched else set())
    assert not touched or path.stat().st_size == 0
