"""``runs export`` and ``runs merge`` copy whole runs; ``doctor`` says which are sound."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from agentr_lite.runs.condition import condition_of
from agentr_lite.runs.installation import _database
from agentr_lite.store import Store, runs
from agentr_lite.store.splices import list_adapters
from tests.support import loop_case
from tests.support.command_line import Call, one_error
from tests.support.damages import damaged_index, lost_rows, page, wrong_value


@pytest.fixture
def two_runs(loop: Call, tmp_path: Path) -> Path:
    """A database with two runs; the second began with demonstrations."""
    db = tmp_path / "two.db"
    for name, more in (("first", ""), ("second", loop_case.IMITATION)):
        recipe = loop_case.write_recipe(tmp_path / name, more)
        assert loop("run", recipe, "-d", db)[0] == 0
    return db


def ids(db: Path) -> list[str]:
    """Run ids, oldest first."""
    with Store.open_to_read(db) as store:
        return [run.id for run in reversed(runs.list_runs(store))]


def test_copied_runs_are_the_same_and_can_be_worked_on(
    loop: Call, two_runs: Path, tmp_path: Path
) -> None:
    target = tmp_path / "elsewhere" / "new.db"
    code, _, err = loop("runs", "export", "--to", target, "-d", two_runs)
    assert code == 0 and "Copied 2 runs" in err
    assert ids(target) == ids(two_runs)
    for run in ids(two_runs):
        assert loop_case.contents(target, run) == loop_case.contents(two_runs, run)
        reports = [loop("report", run, "--json", "-d", db)[1] for db in (two_runs, target)]
        assert reports[0] == reports[1]
    shutil.rmtree(two_runs.with_name("two.db-artifacts"))
    with Store.open_to_read(target) as store:
        for run in ids(target):
            adapters = list_adapters(store, run)
            assert adapters and all(Path(row.gguf_path).is_file() for row in adapters)
            assert all(target.parent in Path(row.gguf_path).parents for row in adapters)
        assert store.rows("PRAGMA foreign_key_check") == []
        assert condition_of(store).sound == ids(target)
    assert loop("eval", "latest", "--force", "-d", target)[0] == 0


def test_a_repeated_copy_changes_nothing(loop: Call, two_runs: Path, tmp_path: Path) -> None:
    target = tmp_path / "new.db"
    first, second = ids(two_runs)
    assert loop("runs", "export", second, "--to", target, "-d", two_runs)[0] == 0
    assert ids(target) == [second]
    before = loop_case.contents(target, second)
    code, out, _ = loop("runs", "merge", two_runs, "--json", "-d", target)
    done = json.loads(out)
    assert code == 0 and (done["copied"], done["known"]) == ([first], [second])
    done = json.loads(loop("runs", "merge", two_runs, "--json", "-d", target)[1])
    assert (done["copied"], done["known"]) == ([], [first, second])
    assert loop_case.contents(target, second) == before


def test_what_contradicts_is_refused_whole(loop: Call, two_runs: Path, tmp_path: Path) -> None:
    target = tmp_path / "new.db"
    first, second = ids(two_runs)
    assert loop("runs", "export", second, "--to", target, "-d", two_runs)[0] == 0
    with closing(sqlite3.connect(target)) as conn:
        conn.execute("UPDATE nodes SET visits = visits + 1 WHERE idx = 0")
        conn.commit()
    code, _, err = loop("runs", "export", "--to", target, "-d", two_runs)
    assert code == 2 and f"holds another run {second}" in one_error(err)
    assert ids(target) == [second]
    with closing(sqlite3.connect(target)) as conn:
        conn.execute("DELETE FROM runs")
        conn.execute("UPDATE tasks SET goal = 'another'")
        conn.commit()
    code, _, err = loop("runs", "export", first, "--to", target, "-d", two_runs)
    assert code == 2 and "with another goal" in one_error(err)
    assert ids(target) == []


def test_a_copy_into_itself_is_refused(loop: Call, two_runs: Path) -> None:
    code, _, err = loop("runs", "export", "--to", two_runs, "-d", two_runs)
    assert code == 2 and "is the database itself" in one_error(err)


def test_doctor_names_the_damaged_run_and_export_saves_the_other(
    loop: Call, two_runs: Path, tmp_path: Path
) -> None:
    first, second = ids(two_runs)
    with closing(sqlite3.connect(two_runs)) as conn:
        conn.execute("PRAGMA ignore_check_constraints = ON")
        conn.execute("UPDATE rounds SET summary = '{' WHERE run_id = ?", (first,))
        conn.commit()
    findings = {finding.check: finding for finding in _database(two_runs)}
    assert findings["database"].status == "failed"
    assert "1 of 2 runs are sound" in findings["database"].hint
    assert findings[f"run {first}"].status == "failed"
    assert "no valid JSON" in findings[f"run {first}"].detail
    assert findings[f"run {second}"].status == "ok"
    target = tmp_path / "saved.db"
    code, _, err = loop("runs", "export", first, "--to", target, "-d", two_runs)
    assert code == 4 and f"run {first} is damaged" in one_error(err)
    assert not target.exists()
    code, _, err = loop("runs", "export", "--to", target, "-d", two_runs)
    assert code == 5 and f"run {first} is damaged and was left out" in err
    assert ids(target) == [second]


def test_runs_behind_a_damaged_index_are_saved(loop: Call, two_runs: Path, tmp_path: Path) -> None:
    whole = {run: loop_case.contents(two_runs, run) for run in ids(two_runs)}
    damaged_index("trees_by_run")(two_runs, random.Random(0))
    damage = _database(two_runs)[0]
    assert damage.status == "failed" and "2 of 2 runs are sound" in damage.hint
    target = tmp_path / "saved.db"
    assert loop("runs", "export", "--to", target, "-d", two_runs)[0] == 0
    assert {run: loop_case.contents(target, run) for run in ids(target)} == whole


def test_a_changed_text_is_found_by_its_digest(two_runs: Path) -> None:
    with closing(sqlite3.connect(two_runs)) as conn:
        conn.execute("UPDATE texts SET content = content || '.' WHERE id = 1")
        conn.commit()
    assert any("is not what was stored" in finding.detail for finding in _database(two_runs))


@pytest.mark.parametrize(
    "damage",
    [
        page,
        lost_rows("nodes"),
        lost_rows("texts"),
        lost_rows("tasks"),
        lost_rows("trajectories"),
        wrong_value("nodes", "visits", "many"),
        wrong_value("eval_items", "task_id", 10**6),
    ],
)
def test_doctor_finds_damage(two_runs: Path, damage) -> None:
    damage(two_runs, random.Random(3))
    assert _database(two_runs)[0].status == "failed"


def test_doctor_ends_with_4_for_the_database_alone(cli: Call, tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    path.write_text("no database " * 100)
    code, out, _ = cli("doctor", "--json", "-d", path)
    checks = json.loads(out)["checks"]
    assert [check["check"] for check in checks if check["status"] == "failed"] == ["database"]
    assert code == 4
