"""Names, notes and tags of runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agentr_lite.recipe.loading import load_recipe
from agentr_lite.report.model.comparison import gather_compared
from agentr_lite.runs.creation import create_run
from agentr_lite.store import Store
from agentr_lite.store.labels import RunLabels, labels_of
from agentr_lite.store.transfer import copy_run
from tests.support.command_line import Call, one_error


@pytest.fixture
def two(db: Path) -> list[str]:
    """Ids of two runs that differ in their seed."""
    with Store.open(db) as store:
        return [create_run(store, load_recipe("smoke", [f"seed={seed}"])) for seed in (1, 2)]


def test_a_name_stands_in_lists_and_for_the_run(cli: Call, db: Path, two: list[str]) -> None:
    first, second = two
    assert cli("runs", "name", first, " my first ", "-d", db) == (0, "", "")
    assert cli("runs", "note", first, "a wide search\nof all tasks", "-d", db)[0] == 0
    rows = {row["id"]: row for row in json.loads(cli("runs", "-d", db, "--json")[1])}
    assert (rows[first]["name"], rows[second]["name"]) == ("my first", "")
    assert "my first" in cli("runs", "-d", db)[1]
    assert first in cli("runs", "show", "my first", "-d", db)[1]
    assert cli("runs", "note", "my first", "-d", db)[1] == "a wide search\nof all tasks\n"
    report = cli("report", first, "-d", db)[1]
    assert "name my first" in report and "note a wide search of all tasks" in report
    assert cli("runs", "name", first, "", "-d", db)[0] == 0
    assert "my first" not in cli("runs", "-d", db)[1]


def test_a_name_is_of_one_run_only(cli: Call, db: Path, two: list[str]) -> None:
    first, second = two
    cli("runs", "name", first, "wide", "-d", db)
    for name, message in (
        ("wide", "has this name already"),
        ("latest", "means a run already"),
        ("smoke-or-not", None),
        (second[:9], "means a run already"),
        ("two\nlines", "one line"),
        ("x" * 61, "at most 60"),
    ):
        code, _, err = cli("runs", "name", second, name, "-d", db)
        assert code == (2 if message else 0)
        assert message is None or message in one_error(err)


def test_tags_filter_the_list(cli: Call, db: Path, two: list[str]) -> None:
    first, second = two
    cli("runs", "tag", first, "good", "wide", "-d", db)
    cli("runs", "tag", second, "wide", "-d", db)

    def listed(*tags: str) -> set[str]:
        options = [word for tag in tags for word in ("--tag", tag)]
        return {row["id"] for row in json.loads(cli("runs", *options, "-d", db, "--json")[1])}

    assert listed("wide") == {first, second}
    assert listed("wide", "good") == {first}
    assert listed("none") == set()
    cli("runs", "tag", first, "good", "--remove", "-d", db)
    assert listed("good") == set()


def test_a_copied_or_deleted_run_takes_its_labels_along(
    cli: Call, db: Path, two: list[str], tmp_path: Path
) -> None:
    first, second = two
    cli("runs", "name", first, "mine", "-d", db)
    cli("runs", "tag", first, "a", "b", "-d", db)
    with Store.open(db) as store, Store.open(tmp_path / "copy.db") as copy:
        assert copy_run(store, copy, first)
        assert labels_of(copy, first) == RunLabels("mine", "", ("a", "b"))
        # They do not make the run another one.
        assert not copy_run(store, copy, first)
    assert cli("runs", "delete", first, "--yes", "-d", db)[0] == 0
    with Store.open_to_read(db) as store:
        assert store.scalar("SELECT count(*) FROM run_labels") == 0
        assert store.scalar("SELECT count(*) FROM run_tags") == 0
        assert labels_of(store, second) == RunLabels()


def test_a_comparison_calls_runs_by_their_names(cli: Call, db: Path, two: list[str]) -> None:
    first, second = two
    cli("runs", "name", first, "the first try", "-d", db)
    with Store.open_to_read(db) as store:
        labels = [run.label for run in gather_compared([(store, first), (store, second)])]
    assert labels == ["the first try", "seed 2"]
